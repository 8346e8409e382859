"""What may go wrong around a worker, done to the real program."""

import array
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.launcher.places import Place
from tests.support import PATIENCE, small_disk, started, until, zombies_below

from longshore.models import OutcomeKind
from longshore.staging import files

pytestmark = pytest.mark.thorough

MIB = 1024**2


@pytest.fixture
def tight(program: Path, tmp_path: Path) -> Iterator[Place]:
    """A place on a disk of 1 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a small disk needs Linux and root (mount -t tmpfs)")
    directory = tmp_path / "ls-small-1"
    directory.mkdir()
    with small_disk(directory), Place(program, directory, install=False) as place:
        yield place


def fill(place: Place) -> None:
    """Leave not one byte of the disk."""
    with (place.directory / "filling").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_a_log_that_fills_the_disk_costs_neither_the_worker_nor_its_status(tight: Place) -> None:
    launcher = tight.sh(
        "seq 500000; echo last; exit 0", popen={"stdout": subprocess.PIPE}, log_cap=10 * MIB
    )
    passed, _ = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 0
    assert passed.endswith(b"last\n")
    end = tight.end()
    assert end.outcome is not None
    assert (end.outcome.kind, end.outcome.exit_code) == (OutcomeKind.EXITED, 0)
    assert "no space left on device" in end.message
    log = tight.log()
    kept = log.partition(b"\n[longshore: ")[0]
    assert passed.startswith(kept)
    assert len(passed) - len(kept) == end.log_cut


def test_a_disk_that_the_worker_filled_is_named(tight: Place) -> None:
    launcher = tight.sh("cat /dev/zero > $HOME/all; exit 1")
    assert launcher.wait(PATIENCE) == 1
    end = tight.end()
    assert end.outcome is not None
    assert (end.outcome.exit_code, end.outcome.reason) == (1, "disk")


def test_a_disk_that_was_full_before_starts_no_worker(tight: Place) -> None:
    tight.give_go()
    fill(tight)
    launcher = tight.run("/bin/echo", "ready", go=False, popen={"stderr": subprocess.PIPE})
    _, words = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 125
    assert b"no space left on device" in words
    assert tight.log() == b""


def test_a_disk_that_fills_while_it_waits_loses_no_status(tight: Place) -> None:
    launcher = tight.sh("echo lost; exit 3", go=False)
    until(lambda: (tight.directory / files.ATTEMPT).exists() and tight.records(), "the launcher")
    (tight.directory / files.SCRATCH).mkdir()
    (tight.directory / files.LOG).touch()
    draft = tight.directory / "draft"
    draft.write_text(f"{tight.key}\n")
    fill(tight)
    draft.rename(tight.directory / files.GO)
    assert launcher.wait(PATIENCE) == 3
    end = tight.end()
    assert end.outcome is not None
    assert (end.outcome.exit_code, end.outcome.reason) == (3, "disk")


def test_launcher_and_worker_killed_at_once_are_lost(place: Place) -> None:
    launcher = place.sh("echo $$ > $HOME/pid; echo ready; exec sleep 1000")
    place.said()
    worker = place.pid("pid")
    launcher.kill()
    launcher.wait(PATIENCE)
    end = place.end()
    assert end.outcome is not None
    assert (end.outcome.kind, end.outcome.exit_code) == (OutcomeKind.LOST, None)
    assert end.started_at is not None
    until(lambda: started(worker) is None, "the worker to end with its launcher")


def test_one_that_was_asked_to_stop_and_then_killed_was_stopped(place: Place) -> None:
    launcher = place.sh("trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done")
    place.said()
    launcher.terminate()
    place.said(b"asked")
    launcher.kill()
    launcher.wait(PATIENCE)
    end = place.end()
    assert end.outcome is not None
    assert (end.outcome.kind, end.outcome.by) == (OutcomeKind.STOPPED, "stop")
    assert end.outcome.exit_code is None


def test_fifty_children_in_sessions_of_their_own_are_gone(place: Place) -> None:
    script = "for i in $(seq 50); do setsid sleep 1000 & echo $!; done > $HOME/pids; exit 4"
    launcher = place.sh(script)
    assert launcher.wait(PATIENCE) == 4
    pids = (place.directory / files.SCRATCH / "pids").read_text().split()
    assert len(pids) == 50
    assert [pid for pid in pids if started(int(pid))] == []


def test_orphans_are_taken_in_while_the_worker_runs(place: Place) -> None:
    launcher = place.sh("for i in 1 2 3 4 5; do (sleep 0 &); done; echo ready; exec sleep 1000")
    place.said()
    until(lambda: not zombies_below([launcher.pid]), "the orphans to be taken in")
    assert launcher.poll() is None


def test_whoever_else_holds_the_pipe_does_not_hang_it(place: Place, tmp_path: Path) -> None:
    address = f"\0longshore-launcher-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        server.settimeout(PATIENCE)
        launcher = place.python(
            "import socket, array\n"
            "s = socket.socket(socket.AF_UNIX); s.connect(" + repr(address) + ")\n"
            "s.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [1]))])\n"
            "print('last', flush=True)\n"
        )
        connection, _ = server.accept()
        with connection:
            _, extra, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(4))
            held = array.array("i", extra[0][2])[0]
            try:
                begin = time.monotonic()
                assert launcher.wait(PATIENCE) == 0
                assert time.monotonic() - begin < 10
            finally:
                os.close(held)
    assert place.log() == b"last\n"
    assert place.end().log_cut == 0


def test_a_reader_that_goes_away_costs_the_worker_nothing(place: Place) -> None:
    launcher = place.sh("seq 200000; exit 6", popen={"stdout": subprocess.PIPE})
    assert launcher.stdout is not None
    launcher.stdout.close()
    assert launcher.wait(PATIENCE) == 6
    assert place.log().endswith(b"200000\n")


def test_a_reader_that_does_not_read_costs_the_log_nothing(place: Place) -> None:
    launcher = place.python(
        "print('x' * 500_000); print('last')", popen={"stdout": subprocess.PIPE}
    )
    assert launcher.wait(PATIENCE) == 0
    assert len(place.log()) == 500_006
    assert place.log().endswith(b"last\n")


def test_a_hundred_megabytes_are_copied_whole(place: Place, count: Callable[[str], None]) -> None:
    block = bytes(range(256)) * 4096
    script = (
        "import os\nblock = bytes(range(256)) * 4096\n"
        "for _ in range(100):\n view = memoryview(block)\n"
        " while view: view = view[os.write(1, view):]\n"
    )
    digest = hashlib.sha256()
    begin = time.monotonic()
    launcher = place.python(script, log_cap=200 * MIB, popen={"stdout": subprocess.PIPE})
    assert launcher.stdout is not None
    while chunk := launcher.stdout.read(MIB):
        digest.update(chunk)
    assert launcher.wait(PATIENCE) == 0
    seconds = time.monotonic() - begin
    wanted = hashlib.sha256(block * 100).digest()
    assert digest.digest() == wanted
    assert hashlib.sha256(place.log()).digest() == wanted
    count(f"100 MiB into the log and onward in {seconds:.2f} s, with the worker's start")


def test_a_pipe_in_the_place_of_a_request_is_no_request(place: Place) -> None:
    launcher = place.sh(f"mkfifo {place.directory}/{files.STOP}; echo ready; exit 3")
    assert launcher.wait(PATIENCE) == 3


def test_as_process_one_it_cannot_be_killed_by_its_worker(place: Place) -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "-pf", "true"], check=False).returncode:
        pytest.skip("a process namespace needs root and unshare")
    place.give_go()
    script = "kill -9 1; kill -STOP 1; (setsid sleep 1000 &); exit 4"
    launcher = place.start(
        Path("/usr/bin/unshare"),
        *("--pid", "--fork", "--mount-proc", "--kill-child"),
        *(place.program, "run", "--dir", place.directory, "--", "/bin/sh", "-c", script),
    )
    assert launcher.wait(PATIENCE) == 4
    end = place.end()
    assert end.outcome is not None
    assert end.outcome.exit_code == 4


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_at_whatever_moment_it_is_ended_a_worker_that_ran_is_never_said_not_to_have_run(
    program: Path, tmp_path: Path, number: signal.Signals, count: Callable[[str], None]
) -> None:
    kinds: Counter[str] = Counter()
    for step in range(80):
        with Place(program, tmp_path / f"ls-job-{step}", install=False) as place:
            place.give_go()
            begin = time.monotonic()
            launcher = place.sh("echo ran > $HOME/ran; sleep 0.01; exit 3", go=False)
            until(lambda: time.monotonic() > begin + step * 0.0004, "the moment")  # noqa: B023 - of this round
            launcher.send_signal(number)
            code = launcher.wait(PATIENCE)
            has_ran = (place.directory / files.SCRATCH / "ran").exists()
            if not (place.directory / files.ATTEMPT).exists() or not place.records():
                kinds["not begun"] += 1
                assert not has_ran
                continue
            outcome = place.end().outcome
            kinds[outcome.kind if outcome else "never ran"] += 1
            if outcome is None:
                assert not has_ran
            elif outcome.kind is OutcomeKind.EXITED:
                assert outcome.exit_code == 3
                assert has_ran
            if outcome is not None and outcome.exit_code is not None:
                # it may be killed when all is written down
                assert code in {outcome.exit_code, -number}
    count(", ".join(f"{kind}: {times}" for kind, times in sorted(kinds.items())))
