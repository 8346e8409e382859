"""`longshore run`: what goes to the provider, what comes back, and the exit code."""

import gzip
import io
import json
import os
import signal
import tarfile
from pathlib import Path
from typing import Any

import pytest

JOB = "01k9x3v0c8e6h4y2t7r5w1q9za"
FAILED = {
    "state": "FAILED",
    "exitCode": 3,
    "reason": {
        "code": "nonzero-exit",
        "fault": "app",
        "message": "the worker ended with a non-zero exit code",
        "hint": "read the log",
    },
}


def request(longshore: Any) -> Any:
    return longshore.calls("submit")[0]["request"]


def test_run_uploads_follows_and_downloads(longshore: Any, text: Path) -> None:
    done = longshore("run", "wordcount", "-i", f"text={text}")
    assert done.returncode == 0
    assert done.stdout == "counting\n"
    assert longshore.received("text").read_bytes() == text.read_bytes()
    assert (longshore.directory / JOB / "counts").read_bytes() == b'{"words": 3}\n'
    told = done.stderr.splitlines()
    assert told[0] == f"job {JOB}"
    assert [line for line in told if line.isupper()] == ["QUEUED", "STAGING_IN", "RUNNING"]
    assert told[-2:] == ["SUCCEEDED after 2.5 s", f"{JOB}/counts  13 B"]
    calls = [call["call"] for call in longshore.calls()]
    assert calls[:5] == ["open", "workflow", "submit", "put_input", "start"]
    assert calls[-1] == "close"


def test_outputs_go_where_they_are_wanted(longshore: Any) -> None:
    assert longshore("run", "nothing", "-d", "deep/er").returncode == 0
    assert (longshore.directory / "deep/er/counts").exists()


def test_a_failed_worker_gives_its_own_code_and_the_reason_is_told(longshore: Any) -> None:
    done = longshore("run", "nothing", end=FAILED)
    assert done.returncode == 3
    assert "the worker ended with a non-zero exit code [nonzero-exit, app]" in done.stderr
    assert "hint: read the log" in done.stderr
    # partial outputs are kept
    assert (longshore.directory / JOB / "counts").exists()


@pytest.mark.parametrize("code", [None, 0])
def test_a_job_that_failed_without_the_worker_failing_gives_1(
    longshore: Any, code: int | None
) -> None:
    assert longshore("run", "nothing", end={**FAILED, "exitCode": code}).returncode == 1


def test_a_canceled_job_gives_130(longshore: Any) -> None:
    assert longshore("run", "nothing", end={"state": "CANCELED", "exitCode": 143}).returncode == 130


def test_values_have_the_types_that_the_workflow_declares(longshore: Any, text: Path) -> None:
    done = longshore(
        "run", "wordcount", "-i", f"text={text}",
        "-p", "top=5", "-p", "title=5", "-p", "weights=[1, 2.5]", "-p", "unknown=5",
    )  # fmt: skip
    assert done.returncode == 0
    expected = {"top": 5, "title": "5", "weights": [1, 2.5], "unknown": "5"}
    assert request(longshore)["parameters"] == expected


@pytest.mark.parametrize(
    ("given", "value"),
    [("@a text.txt", "one two three\n"), ("@@home", "@home"), ("a=b", "a=b"), ("", "")],
)
def test_a_value_may_be_the_text_of_a_file(
    longshore: Any, text: Path, given: str, value: str
) -> None:
    assert longshore("run", "wordcount", "-i", f"text={text}", "-p", f"title={given}")
    assert request(longshore)["parameters"] == {"title": value}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-p", "top=five"], "-p top: 'five' is not JSON for integer"),
        (["-p", "weights=x"], "is not JSON for array or null"),
        (["-p", "title=@missing"], "-p title: missing cannot be read"),
        (["-p", "top"], "-p 'top' is not of the form NAME=VALUE"),
        (["-p", "top=1", "-p", "top=2"], "-p top is given twice"),
        (["-i", "=x"], "-i '=x' is not of the form NAME=VALUE"),
        (["-i", "words=x"], "workflow wordcount has no input 'words'; its inputs: text, stop"),
        (["-i", "stop=missing"], "-i stop: missing cannot be read: No such file"),
        (["-i", "stop=."], "-i stop: . is a directory, a file is wanted"),
    ],
)
def test_a_mistake_in_the_arguments_is_named_before_a_job_is_made(
    longshore: Any, text: Path, arguments: list[str], said: str
) -> None:
    done = longshore("run", "wordcount", "-i", f"text={text}", *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert longshore.calls("submit") == []


def test_a_missing_input_is_named_with_the_option_that_gives_it(longshore: Any) -> None:
    done = longshore("run", "wordcount")
    assert done.returncode == 2
    assert "input 'text' is missing: add -i text=FILE" in done.stderr


def test_an_input_may_come_from_standard_input(longshore: Any) -> None:
    assert longshore("run", "wordcount", "-i", "text=-", stdin=b"typed\0\xff").returncode == 0
    assert longshore.received("text").read_bytes() == b"typed\0\xff"


def test_an_input_may_be_a_pipe(longshore: Any) -> None:
    fifo = longshore.directory / "fifo"
    os.mkfifo(fifo)
    process = longshore.start("run", "wordcount", "-i", "text=fifo")
    fifo.write_bytes(b"poured")
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert longshore.received("text").read_bytes() == b"poured"


@pytest.fixture
def tree(longshore: Any) -> Path:
    root: Path = longshore.directory / "tree"
    (root / "inner").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "inner" / "a.txt").write_text("A")
    (root / "run.sh").write_text("B")
    (root / "run.sh").chmod(0o755)
    (root / "again").symlink_to("inner/a.txt")
    return root


def test_a_directory_is_packed_where_an_archive_is_wanted(longshore: Any, tree: Path) -> None:
    assert longshore("run", "tree", "-i", f"data={tree}").returncode == 0
    packed = gzip.decompress(longshore.received("data").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = {member.name: member for member in archive}
        assert set(members) == {"again", "empty", "inner", "inner/a.txt", "run.sh"}
        assert all(member.isfile() or member.isdir() for member in members.values())
        assert members["run.sh"].mode == 0o755
        assert {member.uid for member in members.values()} == {0}
        content = archive.extractfile("again")
        assert content is not None
        assert content.read() == b"A"


def test_a_link_out_of_a_packed_directory_is_refused(longshore: Any, tree: Path) -> None:
    (tree / "secret").symlink_to("/etc/passwd")
    done = longshore("run", "tree", "-i", f"data={tree}")
    assert done.returncode == 2
    assert "link to /etc/passwd" in " ".join(done.stderr.split())
    assert longshore.calls("submit") == []


def test_detach_prints_the_id_and_leaves(longshore: Any, text: Path) -> None:
    done = longshore("run", "wordcount", "-i", f"text={text}", "--detach", hang=True)
    assert (done.returncode, done.stdout) == (0, f"{JOB}\n")
    names = [call["call"] for call in longshore.calls()]
    assert "start" in names
    assert not {"logs", "cancel", "download"} & set(names)


def test_as_json_standard_output_is_one_document(longshore: Any) -> None:
    done = longshore("run", "nothing", "-o", "json")
    document = json.loads(done.stdout)
    assert (document["id"], document["state"]) == (JOB, "SUCCEEDED")
    assert document["outputs"][0]["path"] == f"{JOB}/counts"
    assert "counting" in done.stderr
    detached = longshore("run", "nothing", "-o", "json", "--detach", hang=True)
    assert json.loads(detached.stdout)["id"] == JOB


def test_a_key_goes_with_the_request_and_a_job_that_already_runs_is_not_started(
    longshore: Any,
) -> None:
    done = longshore("run", "nothing", "--key", "k1", job={"state": "RUNNING"})
    assert done.returncode == 0
    assert longshore.calls("submit")[0]["key"] == "k1"
    assert longshore.calls("start") == []


def test_a_job_whose_inputs_did_not_arrive_is_canceled(longshore: Any, text: Path) -> None:
    failing = {"put_input": "retry"}
    done = longshore("run", "wordcount", "-i", f"text={text}", fail=failing)
    assert done.returncode == 1
    assert f"job {JOB} is canceled: its inputs did not arrive" in done.stderr
    assert len(longshore.calls("cancel")) == 1


def test_with_a_key_a_failed_upload_leaves_the_job_for_the_next_try(
    longshore: Any, text: Path
) -> None:
    failing = {"put_input": "retry"}
    assert longshore("run", "wordcount", "-i", f"text={text}", "--key", "k", fail=failing)
    assert longshore.calls("cancel") == []


def test_a_log_that_may_not_be_read_is_no_reason_to_miss_the_end(longshore: Any) -> None:
    done = longshore("run", "nothing", fail={"logs": "request"})
    assert done.returncode == 0
    assert "no log: " in done.stderr
    assert (longshore.directory / JOB / "counts").exists()


def test_the_log_is_piped_as_its_very_bytes(longshore: Any) -> None:
    assert longshore("run", "nothing", log=["\x1b[2J\xff\0\r", "x"]).stdout == "\x1b[2J\xff\0\rx"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_where_nobody_can_be_asked_a_signal_detaches_and_the_job_goes_on(
    longshore: Any, read_until: Any, number: signal.Signals
) -> None:
    process = longshore.start("run", "nothing", hang=True)
    read_until(process, "RUNNING")
    process.send_signal(number)
    told = read_until(process, "detached")
    assert f"longshore status {JOB}" in told
    assert process.wait(20) == 128 + number
    assert longshore.calls("cancel") == []
    assert longshore.calls()[-1]["call"] == "close"


def test_a_reader_that_goes_away_ends_the_command_quietly(longshore: Any) -> None:
    process = longshore.start("logs", "-f", JOB, endless=100_000)
    assert process.stdout.readline() == b"counting\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == 128 + signal.SIGPIPE
