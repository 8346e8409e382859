"""One contract for the files of an attempt, kept by the launcher and by the local runner."""

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import attrs
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from tests.launcher.places import Place
from tests.support import PATIENCE, end_processes_of, started, until

from longshore.backends.local import Isolation, LocalSettings, keeping, lines, open_local
from longshore.clock import Clock, SystemClock
from longshore.models import JobSpec, OutcomeKind, Resources, RunRef
from longshore.staging import files
from longshore.storages.local import LocalStorage
from longshore.testing.lab import Lab
from longshore_mover.worker_end import Watch, WorkerEnd


class Side(Protocol):
    """Whoever runs a worker."""

    key: str

    @property
    def directory(self) -> Path:
        """The attempt's directory."""

    def begin(
        self, *argv: str, walltime: float = 3600, grace: float = 30, cap: int = 2**20
    ) -> None:
        """Start a worker."""

    def stop(self, grace: float) -> None:
        """Ask for its end."""


class ByLauncher:
    def __init__(self, place: Place) -> None:
        self._place = place
        self.key = place.key

    @property
    def directory(self) -> Path:
        return self._place.directory

    def begin(
        self, *argv: str, walltime: float = 3600, grace: float = 30, cap: int = 2**20
    ) -> None:
        self._place.run(*argv, walltime=walltime, grace=grace, log_cap=cap)

    def stop(self, grace: float) -> None:
        self._place.ask_to_stop(grace)


@attrs.frozen(kw_only=True)
class Context:
    state: Path
    instance: str = "lab"
    clock: Clock = attrs.field(factory=SystemClock)


class ByLocalRunner:
    def __init__(self, lab: Lab, portal: BlockingPortal, state: Path) -> None:
        self._lab, self._portal, self._state = lab, portal, state
        self.key = ""  # the worker's sandbox has nothing of the attempt's file
        self._ref: RunRef | None = None

    @property
    def directory(self) -> Path:
        assert self._ref is not None
        return self._state / "attempts" / self._ref.name

    def begin(
        self, *argv: str, walltime: float = 3600, grace: float = 30, cap: int = 2**20
    ) -> None:
        limits = Resources(walltime=timedelta(seconds=walltime))
        spec = JobSpec(
            workflow="contract",
            command=argv,
            resources=limits,
            grace=timedelta(seconds=grace),
            log_cap=cap,
        )
        self._ref, _ = self._portal.call(self._lab.begin, spec)

    def stop(self, grace: float) -> None:
        assert self._ref is not None
        backend, ref = self._lab.backend, self._ref
        self._portal.call(lambda: backend.stop(ref, grace=timedelta(seconds=grace)))


@contextlib.contextmanager
def local_runner(directory: Path) -> Iterator[ByLocalRunner]:
    state = directory / "state"
    settings = LocalSettings(isolation=Isolation.NONE, slots=2)
    lab = Lab(
        open_backend=lambda: open_local(settings, Context(state=state)),
        storage=LocalStorage(directory / "storage"),
        patience=PATIENCE,
    )
    with start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(lab):
            portal.call(lab.list)
            yield ByLocalRunner(lab, portal, state)
        end_processes_of(state)


@pytest.fixture(params=["launcher", "local runner"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    if request.param == "launcher":
        yield ByLauncher(request.getfixturevalue("place"))
        return
    with local_runner(tmp_path) as runner:
        yield runner


def end_of(side: Side) -> WorkerEnd:
    with Watch(side.directory, side.directory.name, side.key) as watch:
        end = until(watch.look, "the worker's end")
    assert end is not None
    return end


def log_of(side: Side) -> bytes:
    path = side.directory / files.LOG
    return path.read_bytes() if path.exists() else b""


def has_said(side: Side, text: bytes = b"ready") -> None:
    until(lambda: text in log_of(side), f"{text!r} in the log")


def is_locked(side: Side) -> bool:
    with Watch(side.directory, side.directory.name) as watch:
        assert watch.look() is None  # it opens the file
        return not watch._is_unlocked()


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -SEGV $$", 139)],
)
def test_an_end_has_the_code_that_a_shell_would_say(side: Side, script: str, code: int) -> None:
    side.begin("/bin/sh", "-c", script)
    end = end_of(side)
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.EXITED
    assert end.outcome.exit_code == code
    assert end.started_at is not None
    assert end.ended_at is not None
    assert end.started_at <= end.ended_at


@pytest.mark.parametrize(
    ("command", "code", "reason", "words"),
    [
        ("/nowhere/there", 127, "command-not-found", "no such file or directory"),
        ("nobody-has-this", 127, "command-not-found", "no such file or directory"),
        ("/etc/passwd", 126, "command-not-executable", "permission denied"),
    ],
)
def test_a_command_that_cannot_be_executed_has_ended_and_the_log_says_why(
    side: Side, command: str, code: int, reason: str, words: str
) -> None:
    side.begin(command, "argument")
    end = end_of(side)
    assert end.outcome is not None
    assert (end.outcome.exit_code, end.outcome.reason) == (code, reason)
    assert log_of(side).decode().lower() == f"{command}: {words}\n"


def test_the_lock_is_held_and_nothing_is_said_while_the_worker_runs(side: Side) -> None:
    side.begin("/bin/sh", "-c", "echo ready; exec sleep 1000")
    has_said(side)
    assert is_locked(side)
    side.stop(0)
    end_of(side)


def test_the_log_has_every_byte_in_order_of_both_outputs(side: Side) -> None:
    script = r"printf 'a\000\377\n'; printf 'b\r' >&2; printf 'c\033[0m'; printf 'no line feed' >&2"
    side.begin("/bin/sh", "-c", script)
    end_of(side)
    assert log_of(side) == b"a\0\xff\nb\rc\033[0mno line feed"


def test_a_log_beyond_its_cap_keeps_its_beginning_and_has_the_size_of_its_cap(side: Side) -> None:
    cap = 100_000
    side.begin("/bin/sh", "-c", "seq 100000; exit 0", cap=cap)
    assert end_of(side).outcome is not None
    log = log_of(side)
    expected = "".join(f"{number}\n" for number in range(1, 30_000)).encode()
    assert len(log) == cap
    assert log[: cap - files.LOG_NOTE] == expected[: cap - files.LOG_NOTE]


def test_walltime_stops_the_worker_and_is_named(side: Side) -> None:
    side.begin("/bin/sh", "-c", "trap 'exit 5' TERM; sleep 1000 & wait", walltime=0.3)
    end = end_of(side)
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.STOPPED
    assert (end.outcome.by, end.outcome.reason) == ("walltime", "walltime")
    assert end.outcome.exit_code == 5


def test_the_file_stop_stops_the_worker_and_is_named(side: Side) -> None:
    side.begin("/bin/sh", "-c", "trap 'exit 6' TERM; echo ready; sleep 1000 & wait")
    has_said(side)
    side.stop(20)
    end = end_of(side)
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.STOPPED
    assert (end.outcome.by, end.outcome.reason, end.outcome.exit_code) == ("stop", None, 6)


def test_a_worker_that_ignores_to_be_stopped_is_killed_after_the_grace(side: Side) -> None:
    side.begin("/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    has_said(side)
    side.stop(0.2)
    end = end_of(side)
    assert end.outcome is not None
    assert (end.outcome.by, end.outcome.exit_code) == ("stop", 137)


def test_nothing_of_the_worker_runs_when_its_end_is_said(side: Side) -> None:
    script = (
        "setsid sh -c 'trap \"\" TERM; echo $$ > $HOME/one; exec sleep 1000' & "
        "sh -c 'echo $$ > $HOME/two; exec sleep 1000' & "
        "until [ -s $HOME/one ] && [ -s $HOME/two ]; do :; done"
    )
    side.begin("/bin/sh", "-c", script)
    end = end_of(side)
    assert end.outcome is not None
    assert end.outcome.exit_code == 0
    scratch = side.directory / files.SCRATCH
    assert [started(int((scratch / name).read_text())) for name in ("one", "two")] == [None, None]


def test_home_and_tmpdir_are_the_scratch_and_standard_input_is_empty(side: Side) -> None:
    side.begin("/bin/sh", "-c", 'echo "$HOME $TMPDIR"; touch $HOME/mine; cat')
    end = end_of(side)
    assert end.outcome is not None
    assert end.outcome.exit_code == 0
    scratch = side.directory / files.SCRATCH
    assert log_of(side).decode() == f"{scratch} {scratch}\n"
    assert (scratch / "mine").exists()


def test_no_descriptor_but_the_three_reaches_the_worker(side: Side) -> None:
    side.begin(
        "/bin/sh", "-c", "for f in /proc/self/fd/*; do readlink $f; done | grep -F attempt.jsonl"
    )
    end = end_of(side)
    assert end.outcome is not None
    assert end.outcome.exit_code == 1, log_of(side)


#: what nobody who starts a service, and nothing between it and a worker, may have a worker ignore
HEARD = {
    signal.Signals[f"SIG{name}"]
    for name in ("TERM", "INT", "QUIT", "HUP", "PIPE", "CHLD", "XFSZ", "USR1", "USR2")
}
STATUS = "grep -E 'Sig(Ign|Blk)' /proc/self/status"


@pytest.fixture
def as_in_the_background() -> Iterator[None]:
    """What is started now ignores what a shell and nohup let a program behind ``&`` ignore."""
    numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ignored_by_a_worker(side: Side) -> set[int]:
    side.begin("/bin/sh", "-c", STATUS)
    end_of(side)
    blocked, ignored = (int(line.split()[1], 16) for line in log_of(side).decode().splitlines())
    assert blocked == 0
    return {number for number in signal.valid_signals() if ignored >> (number - 1) & 1}


def test_a_worker_hears_every_signal_also_where_the_service_was_told_to_ignore_some(
    as_in_the_background: None, side: Side
) -> None:
    own = subprocess.run(["sh", "-c", STATUS], capture_output=True, check=True, text=True).stdout
    assert int(own.split()[-1], 16) & 0b111 == 0b111  # else nobody was told to ignore anything
    assert ignored_by_a_worker(side) & HEARD == set()


def test_negative_control_a_worker_that_is_given_what_its_runner_ignores_is_noticed(
    as_in_the_background: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgetful = "from longshore.backends.local import worker; worker._IGNORED = (); main("
    monkeypatch.setattr(keeping, "_PROGRAM", keeping._PROGRAM.replace("main(", forgetful))
    with local_runner(tmp_path) as side:
        assert {signal.SIGINT, signal.SIGQUIT} <= ignored_by_a_worker(side)


def test_limits_of_the_worker_are_those_of_any_program(side: Side) -> None:
    script = "ulimit -Sn; ulimit -Hn; umask"
    side.begin("/bin/sh", "-c", script)
    end_of(side)
    own = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    assert log_of(side) == own


def test_the_attempts_file_has_its_size_and_whole_lines_that_name_the_attempt(side: Side) -> None:
    side.begin("/bin/sh", "-c", "exit 0")
    end_of(side)
    content = (side.directory / files.ATTEMPT).read_bytes()
    assert len(content) == files.ATTEMPT_SIZE == lines.SIZE
    found = content.rstrip(b"\0").splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in found)
    assert {json.loads(line)[0] for line in found} == {side.directory.name}
    assert lines.unseal(side.directory.name, found[0].rstrip(b"\n")) is not None
    if not side.key:  # of a launcher, only what comes before the key is sealed without one
        assert lines.last_body(side.directory.name, b"".join(found)) is not None


@pytest.fixture
def break_lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def break_it() -> None:
        monkeypatch.setattr(Watch, "_is_unlocked", lambda _: True)

    return break_it


def test_negative_control_a_reader_that_does_not_ask_the_lock_takes_the_living_for_killed(
    side: Side, break_lock: Callable[[], None]
) -> None:
    side.begin("/bin/sh", "-c", "echo ready; exec sleep 1000")
    has_said(side)
    break_lock()
    end: Any = end_of(side)
    assert end.outcome.kind is OutcomeKind.LOST
    side.stop(0)
