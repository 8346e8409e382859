"""R10: whatever of launcher, worker and mover is killed at whatever point, no job runs twice.

What the worker had written is kept, and nothing of it is readable before it is committed.
"""

import signal
from pathlib import Path

import pytest
from tests.faultproxy import FaultProxy
from tests.launcher.conftest import changed, rebuilt
from tests.mover.attempts import Attempt, problems
from tests.mover.conftest import Begin
from tests.mover.faults import COPY, DATA, EVERYWHERE, RESULT, Readers, at_share, runs
from tests.mover.objects import Objects
from tests.support import PATIENCE, kill, started, until

from longshore.models import OutcomeKind
from longshore.staging import files

pytestmark = [pytest.mark.kill, pytest.mark.thorough]


def carry(attempt: Attempt) -> None:
    """Start movers, as their container does, until one says that it is done."""
    while (code := attempt.movers[-1].wait(PATIENCE)) != 0:
        assert code == -signal.SIGKILL, attempt.errors()
        assert len(attempt.movers) < 3
        attempt.begin()


@EVERYWHERE
@pytest.mark.parametrize("with_mover", [False, True], ids=["launcher", "launcher and mover"])
def test_killed_while_the_inputs_come_a_worker_is_said_never_to_have_run(
    begin: Begin, objects: Objects, proxy: FaultProxy, share: float, *, with_mover: bool
) -> None:
    attempt = begin(objects, RESULT, inputs={"text": DATA})
    launcher = attempt.worker(COPY)
    until((attempt.place.directory / files.ATTEMPT).exists, "the launcher")
    until(attempt.place.records, "its first line")

    def act() -> None:
        launcher.kill()
        if with_mover:
            attempt.movers[-1].kill()

    proxy.choose = at_share(share, up=False, size=len(DATA), act=act)
    with Readers(attempt.readable) as readers:
        attempt.begin()
        carry(attempt)
    assert readers.found == set()
    assert len(attempt.movers) == 1 + with_mover
    manifest = attempt.manifest()
    assert (manifest.outcome, manifest.outputs) == (None, ())
    assert problems(manifest) == {"worker": "internal"}
    check_that_it_runs_no_more(attempt, before=0)


@EVERYWHERE
@pytest.mark.parametrize(
    "killed",
    [("launcher",), ("launcher", "worker"), ("launcher", "worker", "mover"), ("worker",)],
    ids=" ".join,
)
def test_killed_while_it_writes_a_worker_is_lost_and_what_it_wrote_is_kept(
    begin: Begin, objects: Objects, share: float, killed: tuple[str, ...]
) -> None:
    size = int(share * len(DATA))
    attempt = begin(objects, RESULT, inputs={"text": DATA})
    pids = {"launcher": attempt.worker(writes(size)).pid, "mover": attempt.begin().pid}
    with Readers(attempt.readable) as readers:
        attempt.place.said()
        pids["worker"] = attempt.place.pid("pid")
        kill(pids[name] for name in killed)
        carry(attempt)
    assert readers.found == set()
    assert len(attempt.movers) == 1 + ("mover" in killed)
    assert started(pids["worker"]) is None
    outcome = attempt.manifest().outcome
    assert outcome is not None
    if "launcher" in killed:
        assert (outcome.kind, outcome.exit_code) == (OutcomeKind.LOST, None)
    else:
        assert (outcome.kind, outcome.exit_code) == (OutcomeKind.EXITED, 137)
    assert attempt.commit() == {"result": DATA[:size], "log": b"ready\n"}
    check_that_it_runs_no_more(attempt, before=1)


def writes(size: int) -> str:
    """Return a worker that has written so much of its result when it is ready."""
    result = f"head -c {size} in/0/text > out/result"
    return f"echo ran >> $HOME/ran; echo $$ > $HOME/pid; {result}; echo ready; exec sleep 1000"


def check_that_it_runs_no_more(attempt: Attempt, *, before: int) -> None:
    """The property: whoever starts the launcher of this attempt again starts no worker."""
    attempt.place.sh(COPY, popen={"cwd": attempt.place.directory}).wait(PATIENCE)
    assert runs(attempt) == before


def test_control_a_launcher_that_begins_an_attempt_again_runs_its_worker_again(
    begin: Begin, objects: Objects, tmp_path: Path
) -> None:
    attempt = begin(objects, RESULT, inputs={"text": DATA})
    launcher = attempt.worker(writes(100))
    attempt.begin()
    attempt.place.said()
    launcher.kill()
    carry(attempt)
    check_that_it_runs_no_more(attempt, before=1)
    attempt.place.program = rebuilt(tmp_path, changed("attempt.go", "first[0] != 0", "false"))
    with pytest.raises(AssertionError):
        check_that_it_runs_no_more(attempt, before=1)
