"""R8: a request to stop ends an attempt, whatever it is doing, exactly once and in time."""

import os
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from longshore.models import Input, OutcomeKind, Phase

pytestmark = [pytest.mark.anyio, pytest.mark.kill]
SOON = timedelta(seconds=0.2)
LONG = timedelta(seconds=60)


async def test_a_worker_is_asked_first(both: Any) -> None:
    async with both.open() as backend:
        ref = await both.submit(
            backend, "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.05; done"
        )
        await both.started(backend, ref)
        await backend.stop(ref, grace=LONG)
        seen = await both.over(backend, ref)
        assert (seen.outcome.kind, seen.outcome.exit_code) == (OutcomeKind.STOPPED, 4)
        assert (await both.log(backend, ref)).endswith(b"bye\n")


async def test_a_worker_that_ignores_it_is_killed_after_the_grace(both: Any) -> None:
    async with both.open() as backend:
        ref = await both.submit(backend, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
        await both.started(backend, ref)
        await backend.stop(ref, grace=SOON)
        await backend.stop(ref, grace=SOON)
        seen = await both.over(backend, ref, seconds=10)
    assert (seen.outcome.kind, seen.outcome.exit_code) == (OutcomeKind.STOPPED, 137)
    assert both.processes(ref) == []


async def test_an_attempt_that_waits_never_starts(lab: Any) -> None:
    async with lab.open(slots=1) as backend:
        busy = await lab.submit(backend, "echo ready; sleep 1000")
        await lab.started(backend, busy)
        ref = await lab.submit(backend, "echo started")
        await backend.stop(ref, grace=LONG)
        seen = await lab.see(backend, ref)  # at once, though no runner has time
        assert (seen.phase, seen.outcome, seen.reason) == (Phase.ENDED, None, "canceled")
        await backend.stop(busy, grace=SOON)
        await lab.over(backend, busy)
        await lab.run(backend, "true")
        assert await lab.log(backend, ref) == b""


async def test_stage_in_is_broken_off(lab: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless")
    async with lab.open() as backend:
        ref = lab.ref()
        spec = lab.spec("echo started", inputs=(Input(name="text"),))
        plan = await lab.plan(ref, spec, {"text": b"x"})
        stored = lab.directory / "storage" / "objects" / ref.name / "inputs" / "text"
        stored.unlink()
        os.mkfifo(stored)  # a storage that does not answer
        await backend.submit(ref, spec, plan)
        await lab.until(backend, ref, Phase.STAGING_IN)
        await backend.stop(ref, grace=LONG)
        seen = await lab.over(backend, ref, seconds=10)
        assert (seen.outcome, seen.reason) == (None, "canceled")
        assert await lab.log(backend, ref) == b""


async def test_stopping_what_ended_or_never_was_changes_nothing(lab: Any) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, "exit 3")
        seen = await lab.over(backend, ref)
        await backend.stop(ref, grace=SOON)
        assert await lab.see(backend, ref) == seen
        await backend.stop(lab.ref(), grace=SOON)
        assert len((await backend.snapshot()).observations) == 1


async def test_a_stop_that_races_with_the_end_leaves_one_true_end(both: Any) -> None:
    rng = random.Random(8)
    kinds = []
    async with both.open(slots=8) as backend:

        async def one() -> None:
            ref = await both.submit(backend, "exit 3")
            await anyio.sleep(rng.uniform(0, 0.03))
            await backend.stop(ref, grace=SOON)
            seen = await both.over(backend, ref)
            again = await both.see(backend, ref)
            assert again == seen
            if seen.outcome is None:
                assert seen.reason == "canceled"
                assert await both.log(backend, ref) == b""
            elif seen.outcome.kind is OutcomeKind.EXITED:
                assert seen.outcome.exit_code == 3
            else:
                assert seen.outcome.kind is OutcomeKind.STOPPED
            kinds.append(seen.outcome and seen.outcome.kind)
            await backend.remove(ref)

        for _ in range(6):
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(one)
    assert len(kinds) == 48


async def test_control_without_the_kill_after_the_grace_it_never_ends(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "longshore.backends.local.keeping._PROGRAM",
        "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
        "from longshore.backends.local import keeper, processes; "
        "signal_all = processes.kill; "
        "processes.kill = lambda pids, number=None: number and signal_all(pids, number); "
        "keeper.main(sys.argv[1])",
    )
    async with lab.open() as backend:
        ref = await lab.submit(backend, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
        worker = await lab.started(backend, ref)
        await backend.stop(ref, grace=SOON)
        with pytest.raises(TimeoutError):
            await lab.over(backend, ref, seconds=2)
        lab.kill(worker)
        await lab.over(backend, ref)
