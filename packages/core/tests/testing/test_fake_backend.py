"""The fake engine keeps the contract, and breaks what it is told to."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from pathlib import Path

import anyio
import attrs
import pytest

from longshore.backends.abc import WorkflowBackend
from longshore.errors import BackendUnavailable
from longshore.hookspecs import PluginContext, WorkflowBackendPlugin, hookimpl
from longshore.host import open_host
from longshore.models import (
    JobRequest,
    JobSpec,
    JobState,
    Outcome,
    OutcomeKind,
    Phase,
    RunRef,
    Workflow,
)
from longshore.registry import load_plugins
from longshore.settings import parse_settings
from longshore.storages.local import LocalStorage
from longshore.testing import FakeClock, FakeWorkflowBackend, WorkflowBackendContract
from longshore.testing.fake_backend import Hints, Script, hold
from longshore.testing.lab import Lab, OpenBackend

pytestmark = pytest.mark.anyio
SPEC = JobSpec(workflow="fake", command=())


class TestTheFake(WorkflowBackendContract):
    hints = Hints.SEND

    @pytest.fixture
    async def open_backend(self, tmp_path: Path, commands: Script) -> AsyncIterator[OpenBackend]:
        async with FakeWorkflowBackend(tmp_path / "engine", script=commands) as engine:
            engine.hints = self.hints

            def open_backend() -> AbstractAsyncContextManager[WorkflowBackend]:
                return nullcontext(engine)

            self._engine = tmp_path / "engine"
            yield open_backend

    async def trace(self, ref: RunRef) -> bool:
        return (self._engine / ref.name).exists()


class TestTheFakeThatSaysEverythingTwice(TestTheFake):
    hints = Hints.DUPLICATE


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeWorkflowBackend]:
    async with FakeWorkflowBackend(tmp_path / "engine", script=hold, slots=1) as engine:
        yield engine


@pytest.fixture
async def lab(tmp_path: Path, engine: FakeWorkflowBackend) -> AsyncIterator[Lab]:
    lab = Lab(
        open_backend=lambda: nullcontext(engine),
        storage=LocalStorage(tmp_path / "storage"),
        patience=10.0,
    )
    async with lab:
        yield lab


async def phase(lab: Lab, ref: RunRef) -> Phase | None:
    seen = await lab.see(ref)
    return seen.phase if seen else None


async def running(lab: Lab) -> RunRef:
    ref, _ = await lab.begin(SPEC)

    async def runs() -> bool:
        return await phase(lab, ref) is Phase.RUNNING

    await lab.until(runs, "the worker to run")
    return ref


async def heard(engine: FakeWorkflowBackend) -> list[Phase]:
    """Return what an observer hears until nothing more is said."""
    phases: list[Phase] = []
    with anyio.move_on_after(0.2):
        async for seen in engine.observe():
            phases.append(seen.phase)  # noqa: PERF401 - what was heard until the end counts
    return phases


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(kind=OutcomeKind.EXITED, exit_code=137, reason="oom"),
        Outcome(kind=OutcomeKind.LOST),
    ],
)
async def test_a_worker_ends_in_any_way_that_a_test_wants(
    lab: Lab, engine: FakeWorkflowBackend, outcome: Outcome
) -> None:
    ref = await running(lab)
    engine.end(ref, outcome)
    assert (await lab.over(ref)).outcome == outcome


async def test_an_attempt_that_is_lost_is_in_no_list(lab: Lab, engine: FakeWorkflowBackend) -> None:
    ref = await running(lab)
    engine.lose(ref)
    assert await phase(lab, ref) is None


async def test_an_attempt_waits_for_a_slot_and_may_be_taken_away(
    lab: Lab, engine: FakeWorkflowBackend
) -> None:
    await running(lab)
    ref, _ = await lab.begin(SPEC)
    assert await phase(lab, ref) is Phase.WAITING
    engine.take(ref)
    seen = await lab.over(ref)
    assert (seen.phase, seen.outcome) == (Phase.TAKEN, None)


async def test_calls_fail_as_often_as_a_test_wants(lab: Lab, engine: FakeWorkflowBackend) -> None:
    engine.unavailable = 2
    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            await engine.snapshot()
    assert (await engine.snapshot()).observations == ()


async def test_calls_get_no_answer_until_a_test_wants(
    lab: Lab, engine: FakeWorkflowBackend
) -> None:
    engine.stop_answering()
    with anyio.move_on_after(0.05):
        await engine.snapshot()
        pytest.fail("there was an answer")
    engine.answer()
    assert (await engine.snapshot()).observations == ()


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        (Hints.SEND, [Phase.WAITING, Phase.STAGING_IN, Phase.RUNNING]),
        (Hints.DROP, []),
        (Hints.DELAY, []),
        (Hints.DUPLICATE, [Phase.WAITING] * 2 + [Phase.STAGING_IN] * 2 + [Phase.RUNNING] * 2),
    ],
)
async def test_hints_are_sent_dropped_delayed_or_duplicated(
    lab: Lab, engine: FakeWorkflowBackend, hints: Hints, expected: list[Phase]
) -> None:
    engine.hints = hints
    await running(lab)
    assert await heard(engine) == expected


async def test_delayed_hints_come_when_they_are_released(
    lab: Lab, engine: FakeWorkflowBackend
) -> None:
    engine.hints = Hints.DELAY
    await running(lab)
    engine.release_hints()
    assert await heard(engine) == [Phase.WAITING, Phase.STAGING_IN, Phase.RUNNING]


async def test_a_job_comes_to_its_end_though_the_engine_is_away_and_no_hint_arrives(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    async with FakeWorkflowBackend(tmp_path / "engine", clock=clock) as engine:
        engine.unavailable = 5
        engine.hints = Hints.DROP
        job = await _run_in_a_host(tmp_path / "home", engine, clock)
    assert job is JobState.SUCCEEDED
    assert engine.unavailable == 0


@attrs.frozen
class Settings:
    """Nothing can be set."""


async def _run_in_a_host(home: Path, engine: FakeWorkflowBackend, clock: FakeClock) -> JobState:
    class Plugin:
        @hookimpl
        def longshore_workflow_backends(self) -> list[WorkflowBackendPlugin]:
            return [WorkflowBackendPlugin(name="fake", settings=Settings, open=open_fake)]

    def open_fake(_: Settings, __: PluginContext) -> AbstractAsyncContextManager[WorkflowBackend]:
        return nullcontext(engine)

    table = {"workflows": {"shipped": False}, "backends": {"fake": {}}}
    plugins = load_plugins(installed=False, extra=[Plugin()])
    workflow = Workflow(id="any", command=("any",))
    async with open_host(
        parse_settings(table), home, workflows=[workflow], clock=clock, plugins=plugins
    ) as host:
        job = (await host.service.submit("acme", JobRequest(workflow="any"))).job
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.supervise)
            with anyio.fail_after(20):
                while not (job := await host.service.job("acme", job.id)).is_final:
                    await clock.advance(timedelta(seconds=5))
            tasks.cancel_scope.cancel()
    return job.state
