"""Backends that each break one sentence of the contract, and the test that must find it.

No test module: ``test_contracts.py`` runs it, and expects that everything here fails.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from longshore.backends.abc import WorkflowBackend
from longshore.errors import AttemptGone
from longshore.models import JobSpec, Observation, Outcome, OutcomeKind, RunRef, Snapshot
from longshore.testing import FakeWorkflowBackend, WorkflowBackendContract
from longshore.testing.fake_backend import FakeWorker, Script
from longshore.testing.lab import OpenBackend
from longshore.transfer import TransferPlan

#: a class of tests by the name of the test in it that finds what is broken
BROKEN: dict[str, type[WorkflowBackendContract]] = {}


def found_by(test: str) -> Callable[[type[FakeWorkflowBackend]], type[FakeWorkflowBackend]]:
    """Let a broken backend be tested, by that test alone."""

    def add(kind: type[FakeWorkflowBackend]) -> type[FakeWorkflowBackend]:
        name = f"Test{kind.__name__}"
        BROKEN[f"{name}::{test}"] = globals()[name] = type(name, (Broken,), {"kind": kind})
        return kind

    return add


class Broken(WorkflowBackendContract):
    __test__ = False
    patience = 1.0
    kind: type[FakeWorkflowBackend]

    def __init_subclass__(cls) -> None:
        cls.__test__ = True

    @pytest.fixture
    async def open_backend(self, tmp_path: Path, commands: Script) -> AsyncIterator[OpenBackend]:
        self._engine = tmp_path / "engine"
        async with self.kind(self._engine, script=commands) as engine:

            def open_backend() -> AbstractAsyncContextManager[WorkflowBackend]:
                return nullcontext(engine)

            yield open_backend

    async def trace(self, ref: RunRef) -> bool:
        return (self._engine / ref.name).exists()


@found_by("test_a_repeated_submission_starts_no_second_worker")
class StartsTwice(FakeWorkflowBackend):
    async def submit(self, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:
        known = self._attempts.get(ref.name)
        await super().submit(ref, spec, plan)
        if known is not None:
            known.scope = anyio.CancelScope()
            self._tasks.start_soon(self._carry_out, known)


@found_by("test_a_repeated_submission_replaces_neither_spec_nor_plan")
class ReplacesPlans(FakeWorkflowBackend):
    async def submit(self, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:
        await super().submit(ref, spec, plan)
        self._attempts[ref.name].plan = plan


@found_by("test_an_attempt_is_carried_out_while_the_backend_is_closed")
class NeedsFurtherCalls(FakeWorkflowBackend):
    def _stage_out(self, _: Any) -> None:
        """Leave it to a call that never comes."""


@found_by("test_renewing_creates_no_attempt")
class RenewsAnything(FakeWorkflowBackend):
    async def renew(self, ref: RunRef, plan: TransferPlan) -> None:
        try:
            await super().renew(ref, plan)
        except AttemptGone:
            return


@found_by("test_a_renewed_plan_is_used_from_then_on")
class RenewsNothing(FakeWorkflowBackend):
    async def renew(self, ref: RunRef, _: TransferPlan) -> None:
        await super().renew(ref, self._attempts[ref.name].plan)


@found_by("test_a_worker_that_is_stopped_may_finish_within_its_grace")
class StopsWithoutGrace(FakeWorkflowBackend):
    async def stop(self, ref: RunRef, *, grace: timedelta) -> None:
        await super().stop(ref, grace=grace * 0)


@found_by("test_a_worker_that_does_not_end_is_killed_after_its_grace")
class NeverKills(FakeWorkflowBackend):
    async def _kill(self, *_: Any) -> None:
        """Ask only."""


@found_by("test_a_worker_that_had_ended_keeps_its_outcome")
class StopsTheDead(FakeWorkflowBackend):
    async def stop(self, ref: RunRef, *, grace: timedelta) -> None:
        await super().stop(ref, grace=grace)
        stopped = Outcome(kind=OutcomeKind.STOPPED, exit_code=143)
        self._tell(self._attempts[ref.name], outcome=stopped)


@found_by("test_a_worker_is_stopped_at_its_walltime")
class HasNoLimits(FakeWorkflowBackend):
    async def _limit(self, _: Any) -> None:
        """Let it run."""


@found_by("test_hints_never_lie")
class Lies(FakeWorkflowBackend):
    async def observe(self) -> AsyncIterator[Observation]:
        async for seen in super().observe():
            fine = Outcome(kind=OutcomeKind.EXITED, exit_code=0)
            yield attrs.evolve(seen, outcome=fine)


@found_by("test_a_list_has_every_attempt_that_was_accepted_before_it_began")
class ListsBeforeItSays(FakeWorkflowBackend):
    async def snapshot(self) -> Snapshot:
        snapshot = await super().snapshot()
        await anyio.sleep(0.02)
        return Snapshot(self._clock.now(), snapshot.observations)


@found_by("test_a_log_begins_where_it_is_asked_to")
class LogsFromTheBeginning(FakeWorkflowBackend):
    async def logs(self, ref: RunRef, *, start: int = 0) -> AsyncIterator[bytes]:
        async for chunk in super().logs(ref, start=min(start, 1)):
            yield chunk


@found_by("test_the_bytes_of_a_live_log_never_change")
class ShowsTheEndOfALog(FakeWorkflowBackend):
    async def logs(self, ref: RunRef, *, start: int = 0) -> AsyncIterator[bytes]:
        async for chunk in super().logs(ref, start=start):
            yield chunk[-500:]


@found_by("test_a_log_ends_at_its_cap")
class LogsWithoutEnd(FakeWorkflowBackend):
    async def logs(self, ref: RunRef, *, start: int = 0) -> AsyncIterator[bytes]:
        yield self._attempts[ref.name].worker.log.read_bytes()[start:]


@found_by("test_two_attempts_at_one_job_do_not_disturb_each_other")
class RemovesWholeJobs(FakeWorkflowBackend):
    async def remove(self, ref: RunRef) -> None:
        for attempt in (1, 2):
            await super().remove(attrs.evolve(ref, attempt=attempt))


@found_by("test_removal_leaves_no_trace")
class ForgetsInsteadOfRemoving(FakeWorkflowBackend):
    async def remove(self, ref: RunRef) -> None:
        if ref.name in self._attempts:
            self.lose(ref)


@found_by("test_the_environment_of_the_backend_does_not_reach_the_worker")
class LeaksItsEnvironment(FakeWorkflowBackend):
    def __init__(self, directory: Path, *, script: Script) -> None:
        super().__init__(directory, script=changed(script, lambda given: {**os.environ, **given}))


@found_by("test_values_reach_the_worker_as_whole_strings")
class ExpandsValues(FakeWorkflowBackend):
    def __init__(self, directory: Path, *, script: Script) -> None:
        def expand(given: dict[str, str]) -> dict[str, str]:
            return {name: os.path.expandvars(value) for name, value in given.items()}

        super().__init__(directory, script=changed(script, expand))


def changed(script: Script, change: Callable[[dict[str, str]], dict[str, str]]) -> Script:
    """Return a script whose workers get another environment."""

    async def play(worker: FakeWorker) -> Outcome:
        spec = attrs.evolve(worker.spec, environment=change(dict(worker.spec.environment)))
        return await script(attrs.evolve(worker, spec=spec))

    return play
