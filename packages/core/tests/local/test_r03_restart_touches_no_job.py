"""R3: no death of ours touches a running job, and its true end is known wherever it can be."""

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from longshore.backends.local import attempts, keeper, processes
from longshore.backends.local.lines import seal
from longshore.backends.local.processes import Process
from longshore.codec import to_json
from longshore.models import OutcomeKind, Phase, RunRef

pytestmark = [pytest.mark.anyio, pytest.mark.kill]
#: says that it runs, waits to be told to go on, and ends with a code of its own
WAITER = "echo ready; read x < {fifo}; echo over; exit 7"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


async def go_on(fifo: Path) -> None:
    await anyio.to_thread.run_sync(fifo.write_text, "x\n")


async def begun(lab: Any, backend: Any, fifo: Path) -> tuple[RunRef, int]:
    if lab.default == "bubblewrap":
        fifo_line = "while [ ! -e {}/go ]; do sleep 0.01; done".format("/tmp")
        script = f"echo ready; {fifo_line}; echo over; exit 7"
    else:
        script = WAITER.format(fifo=fifo)
    ref = await lab.submit(backend, script)
    return ref, await lab.started(backend, ref)


async def finish(lab: Any, ref: RunRef, fifo: Path) -> None:
    if lab.default == "bubblewrap":
        (lab.path(ref) / "tmp" / "go").touch()
    else:
        await go_on(fifo)


async def test_another_service_finds_the_job_running_and_sees_it_end(both: Any, fifo: Path) -> None:
    async with both.open() as backend:
        ref, worker = await begun(both, backend, fifo)
    async with both.open() as backend:
        assert (await both.see(backend, ref)).phase is Phase.RUNNING
        assert both.is_running(worker)
        await finish(both, ref, fifo)
        seen = await both.over(backend, ref)
        assert seen.outcome.exit_code == 7
        assert await both.log(backend, ref) == b"ready\nover\n"
    assert (await both.manifest(ref)).outcome == seen.outcome


async def test_a_job_ends_while_no_service_is_there(both: Any, fifo: Path) -> None:
    async with both.open() as backend:
        ref, _ = await begun(both, backend, fifo)
    await finish(both, ref, fifo)
    await both.eventually(lambda: both.record(ref).is_over)
    async with both.open() as backend:
        assert (await both.see(backend, ref)).outcome.exit_code == 7


async def test_the_end_is_known_after_the_runner_was_killed(both: Any, fifo: Path) -> None:
    async with both.open() as backend:
        ref, worker = await begun(both, backend, fifo)
        runner = both.runner(ref)
        both.kill(runner)
        await both.eventually(lambda: both.runner(ref) != runner)
        assert both.is_running(worker)
        await finish(both, ref, fifo)
        seen = await both.over(backend, ref)
    assert (seen.outcome.kind, seen.outcome.exit_code) == (OutcomeKind.EXITED, 7)
    assert await both.stored(ref, "log") == b"ready\nover\n"


async def test_the_end_is_known_when_runner_and_worker_are_killed_at_once(lab: Any) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, "echo ready; sleep 1000")
        worker = await lab.started(backend, ref)
        lab.kill(lab.runner(ref), worker)
        seen = await lab.over(backend, ref)
    assert (seen.outcome.kind, seen.outcome.exit_code) == (OutcomeKind.EXITED, 137)


async def test_a_job_can_be_stopped_after_its_runner_was_killed(both: Any) -> None:
    async with both.open() as backend:
        ref = await both.submit(
            backend, "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
        )
        await both.started(backend, ref)
        both.kill(both.runner(ref))
        await backend.stop(ref, grace=timedelta(seconds=10))
        seen = await both.over(backend, ref)
    assert (seen.outcome.kind, seen.outcome.exit_code) == (OutcomeKind.STOPPED, 9)


async def test_the_end_is_known_after_the_keeper_was_killed(both: Any, fifo: Path) -> None:
    async with both.open() as backend:
        ref, worker = await begun(both, backend, fifo)
        both.kill(both.parent(both.runner(ref)))
        assert (await both.run(backend, "exit 5")).outcome.exit_code == 5  # by another keeper
        assert both.is_running(worker)
        await finish(both, ref, fifo)
        assert (await both.over(backend, ref)).outcome.exit_code == 7


async def test_keeper_and_runner_killed_the_worker_lives_and_its_end_is_lost(
    both: Any, fifo: Path
) -> None:
    async with both.open() as backend:
        ref, worker = await begun(both, backend, fifo)
        runner = both.runner(ref)
        keeper_pid = both.parent(runner)
        os.kill(keeper_pid, signal.SIGSTOP)  # else it has taken over before it is killed
        both.kill(runner, keeper_pid)
        await both.eventually(lambda: both.runner(ref) != runner)
        assert (await both.see(backend, ref)).phase is Phase.RUNNING
        assert both.is_running(worker)
        await finish(both, ref, fifo)
        seen = await both.over(backend, ref)
    assert (seen.phase, seen.outcome.kind) == (Phase.ENDED, OutcomeKind.LOST)
    assert await both.stored(ref, "log") == b"ready\nover\n"


async def test_the_groups_of_killed_runners_are_removed_by_the_next_keeper(lab: Any) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, "true")
        await lab.over(backend, ref)
        runner = lab.runner(ref)
        keeper_pid = lab.parent(runner)
        os.kill(keeper_pid, signal.SIGSTOP)
        lab.kill(runner, keeper_pid)
    async with lab.open() as backend:
        await lab.run(backend, "true")
        group = backend._group
    assert group
    await lab.eventually(lambda: not _groups(group))


def _groups(group: str) -> list[Path]:
    return [path for path in Path("/sys/fs/cgroup").glob(f"*/{group}/*") if path.is_dir()]


async def test_a_lost_worker_leaves_no_descendant(lab: Any) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, "(setsid sleep 1000 &); echo ready; sleep 1000")
        worker = await lab.started(backend, ref)
        runner = lab.runner(ref)
        keeper_pid = lab.parent(runner)
        os.kill(keeper_pid, signal.SIGSTOP)
        lab.kill(runner, keeper_pid, worker)
        assert (await lab.over(backend, ref)).outcome.kind is OutcomeKind.LOST
    assert lab.processes(ref) == []


async def cut_off(lab: Any, **changes: Any) -> RunRef:
    """Leave an attempt as if everything had died in the middle of it; return its name."""
    async with lab.open() as backend:
        ref: RunRef = await lab.submit(backend, "echo ready; sleep 1000")
        worker = await lab.started(backend, ref)
        record = lab.record(ref)
        await backend.remove(ref)  # ends the worker
        spec = lab.spec("echo ready; sleep 1000")
        assert not lab.is_running(worker)
    lab.path(ref).mkdir()
    seen = to_json(record.observation)
    care = to_json(attrs.evolve(record.care, **changes))
    order = to_json(lab.order(ref, spec, await lab.plan(ref, spec)))
    bodies = (order, f"[{seen},{care}]")
    lines = b"".join(seal(ref.name, body) for body in bodies)
    (lab.path(ref) / attempts.FILE).write_bytes(lines)
    return ref


async def test_after_a_reboot_a_pid_says_nothing(lab: Any) -> None:
    innocent = Process(os.getpid(), processes.start_time(os.getpid()) or "")
    ref = await cut_off(lab, boot="another boot", worker=innocent)
    async with lab.open() as backend:
        assert (await lab.over(backend, ref)).outcome.kind is OutcomeKind.LOST
    # and this test still runs


async def test_a_pid_that_is_used_again_is_another_process(lab: Any) -> None:
    ref = await cut_off(lab, worker=Process(os.getpid(), "12345"))
    async with lab.open() as backend:
        await backend.stop(ref, grace=timedelta(0))
        assert (await lab.over(backend, ref)).outcome.kind is OutcomeKind.LOST


async def test_an_attempt_marked_but_never_recorded_as_started_is_lost_not_repeated(
    lab: Any,
) -> None:
    ref = await cut_off(lab, worker=None)
    async with lab.open() as backend:
        assert (await lab.over(backend, ref)).outcome.kind is OutcomeKind.LOST
        assert await lab.log(backend, ref) == b""


async def test_an_attempt_that_was_not_started_is_started_after_all(lab: Any) -> None:
    ref = await cut_off(lab, marked=False, worker=None)
    async with lab.open() as backend:
        await lab.started(backend, ref)
        await backend.remove(ref)


async def test_runners_that_die_before_the_start_give_the_attempt_back(lab: Any) -> None:
    ref = await cut_off(lab, marked=False, worker=None, claims=3)
    async with lab.open() as backend:
        seen = await lab.over(backend, ref)
    assert (seen.phase, seen.outcome) == (Phase.TAKEN, None)


async def test_control_a_keeper_that_writes_no_exit_down_loses_the_end(
    lab: Any, fifo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # the keeper is another process: take the line out there
    monkeypatch.setattr(
        "longshore.backends.local.keeping._PROGRAM",
        "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
        "from longshore.backends.local import attempts, keeper; "
        "attempts.write_exit = lambda *_: None; keeper.main(sys.argv[1])",
    )
    assert hasattr(attempts, "write_exit")
    assert callable(keeper.main)
    async with lab.open() as backend:
        ref, _ = await begun(lab, backend, fifo)
        runner = lab.runner(ref)
        lab.kill(runner)
        await lab.eventually(lambda: lab.runner(ref) != runner)
        await go_on(fifo)
        assert (await lab.over(backend, ref)).outcome.kind is OutcomeKind.LOST
