"""``longshore-mover`` beside the real launcher: what it does, says and leaves behind."""

import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from tests.faultproxy import Fault, FaultProxy
from tests.mover.attempts import Attempt, problems
from tests.mover.conftest import Begin
from tests.mover.objects import MIB, Objects
from tests.support import until

from longshore.models import Input, InputKind, OutcomeKind, Output, OutputKind
from longshore.staging import files

pytestmark = pytest.mark.thorough

DATA = os.urandom(5 * MIB)
RESULT = Output(name="result", max_size=20 * MIB)
COPY = "cat in/0/text > out/result; echo said"


def test_a_job_is_carried_from_its_input_to_its_manifest(begin: Begin, objects: Objects) -> None:
    attempt = begin(objects, RESULT, inputs={"text": DATA})
    launcher = attempt.worker(COPY)
    assert attempt.serve() == 0, attempt.errors()
    assert launcher.wait(10) == 0
    assert attempt.readable() == set()
    assert attempt.commit() == {"result": DATA, "log": b"said\n"}
    said = attempt.said()
    assert [line["what"] for line in said if line["what"] not in {"stage-in", "stage-out"}] == [
        "staged",
        "go",
        "worker-ended",
        "done",
    ]
    assert {"what": "stage-in", "name": "text", "done": len(DATA), "total": len(DATA)} in [
        {name: line[name] for name in line if name != "at"} for line in said
    ]
    sent = [line["name"] for line in said if line["what"] == "stage-out"]
    assert sent == ["result", "log", "manifest"]


def test_what_a_mover_says_holds_no_secret(begin: Begin, objects: Objects) -> None:
    attempt = begin(objects, RESULT, inputs={"text": b"1"})
    objects.valid = set()
    attempt.options = {"outage": timedelta(seconds=0.2)}
    attempt.write_plan()
    attempt.serve()
    said = json.dumps(attempt.said()) + attempt.errors()
    assert "generation" not in said
    assert attempt.place.key not in said


def test_the_manifest_says_how_a_worker_failed(begin: Begin, objects: Objects) -> None:
    attempt = begin(objects, RESULT)
    attempt.worker("exit 3")
    assert attempt.serve() == 0
    manifest = attempt.manifest()
    assert manifest.outcome is not None
    assert (manifest.outcome.kind, manifest.outcome.exit_code) == (OutcomeKind.EXITED, 3)
    assert problems(manifest) == {"result": "output-missing"}
    assert manifest.started_at is not None


@pytest.mark.parametrize(
    ("changes", "declared", "code"),
    [
        ({"sha256": "0" * 64}, Input(name="text"), "input-checksum"),
        ({"size": 1}, Input(name="text"), "input-checksum"),
        ({}, Input(name="text", max_size=1), "input-too-large"),
        ({}, Input(name="text", kind=InputKind.ARCHIVE), "archive-refused"),
    ],
)
def test_without_its_inputs_a_worker_never_starts(
    begin: Begin, objects: Objects, changes: dict[str, object], declared: Input, code: str
) -> None:
    attempt = begin(objects, RESULT, inputs={"text": DATA}, changes=changes, declared=[declared])
    launcher = attempt.worker("touch out/ran")
    assert attempt.serve() == 0
    assert launcher.wait(10) == 143
    assert not attempt.at("ran").exists()
    # another mover says the same, and does not try again
    before = len(objects.asked)
    assert attempt.serve() == 0
    assert "GET" not in {method for method, _ in objects.asked[before:]}
    manifest = attempt.manifest()
    assert manifest.outcome is None
    assert problems(manifest) == {"text": code}


def test_outputs_of_every_size_and_kind_are_carried(begin: Begin, objects: Objects) -> None:
    tree = Output(name="tree", kind=OutputKind.ARCHIVE, max_size=50 * MIB)
    outputs = [
        Output(name="empty"),
        Output(name="large", max_size=1000),
        tree,
        Output(name="link"),
        Output(name="none", required=False),
    ]
    attempt = begin(objects, *outputs)
    attempt.worker(
        "cd out; : > empty; head -c 1001 /dev/zero > large; ln -s empty link; mkdir tree;"
        "i=0; while [ $i -lt 10000 ]; do echo $i > tree/$i; i=$((i+1)); done"
    )
    assert attempt.serve() == 0
    manifest = attempt.manifest()
    assert problems(manifest) == {"large": "output-too-large", "link": "output-refused"}
    sent = {entry.name: entry for entry in manifest.outputs}
    assert set(sent) == {"empty", "tree"}
    assert sent["empty"].size == 0
    objects.commit(attempt.uploads["tree"], sent["tree"].parts)
    packed = objects.get(attempt.key("tree")) or b""
    assert hashlib.sha256(packed).hexdigest() == sent["tree"].sha256
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert len(archive.getnames()) == 10_000


def test_a_log_exchanged_for_a_link_is_refused(begin: Begin, objects: Objects) -> None:
    attempt = begin(objects)
    (attempt.home / "secret").write_text("secret")
    attempt.worker(f"rm log; ln -s {attempt.home}/secret log")
    assert attempt.serve() == 0
    manifest = attempt.manifest()
    assert manifest.log is None
    assert problems(manifest) == {"log": "output-refused"}


def test_on_a_batch_system_each_half_is_a_call_of_its_own(begin: Begin, objects: Objects) -> None:
    attempt = begin(objects, RESULT, inputs={"text": DATA})
    assert attempt.serve("stage-in") == 0
    assert attempt.worker(COPY).wait(20) == 0
    assert attempt.serve("stage-out") == 0
    assert attempt.commit()["result"] == DATA


def test_of_a_launcher_that_never_began_that_is_said(begin: Begin, objects: Objects) -> None:
    attempt = begin(objects, RESULT)
    assert attempt.serve("stage-out") == 0
    assert problems(attempt.manifest()) == {"worker": "internal"}


def test_a_plan_replaced_while_it_is_carried_out_is_taken_over(
    begin: Begin, objects: Objects
) -> None:
    attempt = begin(objects, RESULT, inputs={"text": DATA})
    attempt.worker("cat in/0/text > out/result; until [ -e tmp/end ]; do sleep 0.02; done")
    mover = attempt.begin()
    attempt.until_said("go")
    objects.valid = {2}  # whatever was signed is refused from now on
    objects.generation = 2
    (attempt.place.directory / files.SCRATCH / "end").touch()
    attempt.until_said("worker-ended")
    until(lambda: ("PUT", f"/uploads/{attempt.uploads['result']}/1") in objects.asked, "a refusal")
    attempt.write_plan()
    assert mover.wait(20) == 0
    assert attempt.commit()["result"] == DATA


def test_a_plan_of_another_attempt_is_not_taken_over(begin: Begin, objects: Objects) -> None:
    attempt, other = begin(objects, RESULT), begin(objects, RESULT)
    objects.valid = set()
    attempt.options = {"outage": timedelta(seconds=1)}
    attempt.write_plan()
    attempt.worker("echo 1 > out/result")
    mover = attempt.begin()
    attempt.until_said("worker-ended")
    objects.generation, objects.valid = 2, {2}
    text = other.plan.read_text().replace('"attempt":1', '"attempt":2')
    (attempt.home / "other").write_text(text.replace('"generation":1', '"generation":2'))
    (attempt.home / "other").rename(attempt.plan)
    assert mover.wait(20) == 4
    assert not objects.uploads[other.uploads["result"]].parts


def test_two_attempts_at_once_do_not_disturb_each_other(begin: Begin, objects: Objects) -> None:
    attempts = [begin(objects, RESULT, inputs={"text": DATA[n:]}) for n in range(2)]
    for attempt in attempts:
        attempt.worker(COPY)
    movers = [attempt.begin() for attempt in attempts]
    assert [mover.wait(20) for mover in movers] == [0, 0]
    assert [attempt.commit()["result"] for attempt in attempts] == [DATA, DATA[1:]]


@pytest.mark.kill
class TestKilled:
    def test_a_launcher_that_is_killed_with_its_worker_is_said_to_be_lost(
        self, begin: Begin, objects: Objects
    ) -> None:
        attempt = begin(objects, RESULT)
        launcher = attempt.worker("echo begun > out/result; echo ready; sleep 100")
        mover = attempt.begin()
        attempt.place.said()
        launcher.kill()
        assert mover.wait(20) == 0
        manifest = attempt.manifest()
        assert manifest.outcome is not None
        assert manifest.outcome.kind is OutcomeKind.LOST
        assert [entry.name for entry in manifest.outputs] == ["result"]

    def test_a_mover_killed_while_the_worker_runs_gives_the_word_only_once(
        self, begin: Begin, objects: Objects
    ) -> None:
        attempt = begin(objects, RESULT, inputs={"text": DATA})
        attempt.worker("echo ready; cat > out/result < in/0/text; read line < tmp/pipe")
        scratch = attempt.place.directory / files.SCRATCH
        scratch.mkdir(exist_ok=True)
        os.mkfifo(scratch / "pipe")
        mover = attempt.begin()
        attempt.place.said()
        mover.kill()
        mover.wait(10)
        again = attempt.begin()
        (scratch / "pipe").write_text("end\n")
        assert again.wait(20) == 0
        assert not (attempt.place.directory / files.GO).exists()
        assert attempt.commit()["result"] == DATA

    def test_a_mover_killed_before_the_word_was_given_gives_it_the_next_time(
        self, begin: Begin, objects: Objects
    ) -> None:
        attempt = begin(objects, RESULT, inputs={"text": DATA})
        assert attempt.serve("stage-in") == 0
        (attempt.place.directory / files.GO).unlink()  # as if it had been killed just before
        attempt.worker(COPY)
        assert attempt.serve() == 0
        assert attempt.commit()["result"] == DATA


class TestTerminated:
    def test_before_the_word_the_worker_never_starts(
        self, begin: Begin, objects: Objects, proxy: FaultProxy
    ) -> None:
        proxy.choose = lambda _: Fault(up=False, pause=20)
        attempt = begin(objects, RESULT, inputs={"text": DATA})
        launcher = attempt.worker("touch out/ran")
        mover = attempt.begin()
        until(lambda: proxy.seen, "a request")
        mover.terminate()
        assert mover.wait(10) == 143
        assert launcher.wait(10) == 143
        assert not attempt.at("ran").exists()

    def test_while_the_worker_runs_its_end_is_awaited_and_the_log_comes_first(
        self, begin: Begin, objects: Objects
    ) -> None:
        attempt = begin(objects, RESULT)
        launcher = attempt.worker(
            "trap 'echo stopped > out/result; exit 0' TERM; echo ready;while :; do sleep 0.02; done"
        )
        mover = attempt.begin()
        attempt.place.said()
        mover.terminate()
        launcher.send_signal(signal.SIGTERM)
        assert mover.wait(20) == 0
        sent = [line["name"] for line in attempt.said() if line["what"] == "stage-out"]
        assert sent == ["log", "result", "manifest"]
        assert attempt.commit()["result"] == b"stopped\n"

    def test_in_the_middle_of_a_large_output_the_log_and_the_manifest_are_sent_in_time(
        self, begin: Begin, objects: Objects, proxy: FaultProxy
    ) -> None:
        attempt = begin(objects, RESULT)
        attempt.options = {"grace": timedelta(seconds=4)}
        attempt.write_plan()
        result = attempt.uploads["result"]
        proxy.choose = lambda asked: Fault(pause=30) if result in asked.target else None
        attempt.worker("echo said; head -c 5000000 /dev/zero > out/result")
        mover = attempt.begin()
        until(lambda: any(result in asked.target for asked in proxy.seen), "the output")
        mover.terminate()
        assert mover.wait(10) == 0
        manifest = attempt.manifest()
        assert problems(manifest) == {"result": "output-unavailable"}
        assert manifest.log is not None
        assert manifest.outcome is not None
        assert manifest.outcome.exit_code == 0

    def test_of_a_worker_that_does_not_end_the_log_is_sent(
        self, begin: Begin, objects: Objects
    ) -> None:
        attempt = begin(objects, RESULT)
        attempt.options = {"grace": timedelta(seconds=1)}
        attempt.write_plan()
        attempt.worker("echo ready; sleep 100")
        mover = attempt.begin()
        attempt.place.said()
        mover.terminate()
        assert mover.wait(10) == 0
        manifest = attempt.manifest()
        assert problems(manifest) == {"result": "output-unavailable"}
        assert manifest.log is not None


class TestClosed:
    def test_the_word_is_given_when_nothing_answers_any_more(
        self, begin: Begin, objects: Objects
    ) -> None:
        with ExitStack() as opened:
            listening = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in "12"]
            attempt = self._begin(begin, objects, listening)
            launcher = attempt.worker(COPY)
            mover = attempt.begin()
            attempt.until_said("staged")
            listening[0].close()
            assert launcher.poll() is None  # one is not both
            assert "go" not in {line["what"] for line in attempt.said()}
        assert mover.wait(20) == 0
        assert attempt.commit()["result"] == DATA
        assert "closed" in {line["what"] for line in attempt.said()}

    def test_of_a_network_that_stays_open_that_is_said(
        self, begin: Begin, objects: Objects
    ) -> None:
        with ExitStack() as opened:
            listening = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in "12"]
            attempt = self._begin(begin, objects, listening, closing=timedelta(seconds=0.2))
            launcher = attempt.worker("touch out/ran")
            assert attempt.serve() == 0
            assert launcher.wait(10) == 143
        assert not attempt.at("ran").exists()
        assert problems(attempt.manifest()) == {"network": "isolation-unavailable"}

    def test_what_never_answered_proves_nothing(self, begin: Begin, objects: Objects) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            attempt = self._begin(begin, objects, [listening])
            attempt.options = {"closed": (*attempt.options["closed"], "127.0.0.1:1")}
            attempt.write_plan()
            assert attempt.serve("stage-in") == 3

    @staticmethod
    def _begin(
        begin: Begin, objects: Objects, listening: list[socket.socket], **options: object
    ) -> Attempt:
        targets = tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in listening)
        return begin(objects, RESULT, inputs={"text": DATA}, options={"closed": targets, **options})


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_full_while_staging_in_is_named(
    begin: Begin, objects: Objects, tmp_path: Path
) -> None:
    attempt = begin(objects, RESULT, inputs={"text": DATA})
    small = attempt.at("text").parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=True)
    try:
        assert attempt.serve() == 0
    finally:
        subprocess.run(["umount", small], check=True)
    assert problems(attempt.manifest()) == {"text": "disk"}


def test_it_needs_no_home_no_writable_root_and_no_certain_user(
    begin: Begin, objects: Objects, tmp_path: Path
) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not here")
    attempt = begin(objects, RESULT, inputs={"text": DATA})
    attempt.wrapped = [
        *("bwrap", "--unshare-user", "--uid", "12345", "--gid", "12345", "--ro-bind", "/", "/"),
        *("--bind", str(tmp_path), str(tmp_path), "--unsetenv", "HOME"),
    ]
    attempt.worker(COPY)
    assert attempt.serve() == 0, attempt.errors()
    assert attempt.commit()["result"] == DATA


@pytest.mark.parametrize(
    "arguments", [[], ["serve"], ["fly", "plan"], ["serve", "missing"], ["serve", "/dev/null"]]
)
def test_a_wrong_call_is_told(arguments: list[str]) -> None:
    argv = [sys.executable, "-m", "longshore_mover.command", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "longshore-mover" in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_has_to_read_what_it_says(begin: Begin, objects: Objects) -> None:
    attempt = begin(objects, RESULT)
    attempt.worker("echo 1 > out/result")
    argv = [sys.executable, "-m", "longshore_mover.command", "serve", str(attempt.plan)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as mover:
        assert mover.stdout is not None
        mover.stdout.close()
        assert mover.wait(20) == 0
    assert threading.active_count() < 50
