"""The contract of a workflow backend, as tests to inherit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import attrs
import pytest

from longshore.backends.abc import SupportsCapacity, SupportsProbe
from longshore.errors import AttemptGone
from longshore.models import Input, Observation, Outcome, OutcomeKind, Output, Phase
from longshore.reasons import REASONS
from longshore.testing.lab import HOUR, MOMENT, OBEDIENT, OVER, STUBBORN, UPPER, Lab
from longshore.testing.workflow_results import WorkflowResults

_ORDER = {phase: number for number, phase in enumerate(Phase)}


class WorkflowBackendContract(WorkflowResults):
    """What every workflow backend does. Inherit it as ``class TestMine(WorkflowBackendContract)``.

    Supply the fixture ``open_backend``: a function without arguments that opens the backend, each
    time on the same state, as an asynchronous context manager. The rest has defaults: ``storage``
    where a plan's requests are not for this machine alone, ``make_spec`` where a worker needs an
    image, ``trace`` where the engine can be looked at, ``patience`` where it is slow, ``observes``
    where it has to be asked.
    """

    # submit

    async def test_an_accepted_attempt_is_in_every_later_list(self, lab: Lab) -> None:
        ref, _ = await lab.begin(self.make_spec(OBEDIENT))
        assert await lab.see(ref) is not None
        assert await self.trace(ref) in {True, None}
        await lab.reopen()
        assert await lab.see(ref) is not None

    async def test_an_attempt_is_carried_out_while_the_backend_is_closed(self, lab: Lab) -> None:
        spec = self.make_spec(
            UPPER, inputs=(Input(name="text"),), outputs=(Output(name="my-result"),)
        )
        ref, planned = await lab.begin(spec, {"text": b"alone"})
        await lab.close()
        await lab.until(planned.manifest, "the manifest")
        assert (await planned.results())["my-result"] == b"ALONE"
        await lab.open()
        assert (await lab.over(ref)).outcome == Outcome(kind=OutcomeKind.EXITED, exit_code=0)

    async def test_a_repeated_submission_starts_no_second_worker(self, lab: Lab) -> None:
        ref, spec = lab.ref(), self.make_spec("echo once")
        planned = await lab.plan(ref, spec)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(lab.submit, ref, spec, planned.plan)
        first = await lab.over(ref)
        await lab.submit(ref, spec, planned.plan)
        await lab.reopen()
        await lab.submit(ref, spec, planned.plan)
        await lab.run(self.make_spec("true"))  # what they did would be done before
        assert await lab.see(ref) == first
        assert await lab.log(ref) == b"once\n"
        assert (await planned.results())["log"] == b"once\n"

    async def test_a_repeated_submission_replaces_neither_spec_nor_plan(self, lab: Lab) -> None:
        ref, planned = await lab.begin(self.make_spec(OBEDIENT))
        await lab.said(ref)
        other = self.make_spec("echo other")
        later = await lab.plan(ref, other)
        await lab.submit(ref, other, later.plan)
        await lab.backend.stop(ref, grace=HOUR)
        await lab.over(ref)
        assert (await planned.results())["log"] == b"ready\n"
        assert await later.manifest() is None

    # renew

    async def test_a_renewed_plan_is_used_from_then_on(self, lab: Lab) -> None:
        spec = self.make_spec(OBEDIENT)
        ref, planned = await lab.begin(spec)
        await lab.said(ref)
        later = await lab.plan(ref, spec)
        await lab.backend.renew(ref, attrs.evolve(later.plan, generation=2))
        await lab.reopen()
        await lab.backend.stop(ref, grace=HOUR)
        await lab.over(ref)
        assert (await later.results())["log"] == b"ready\n"
        assert await planned.manifest() is None

    async def test_renewing_creates_no_attempt(self, lab: Lab) -> None:
        ref = lab.ref()
        planned = await lab.plan(ref, self.make_spec("true"))
        with pytest.raises(AttemptGone):
            await lab.backend.renew(ref, planned.plan)
        assert await lab.see(ref) is None
        assert await self.trace(ref) in {False, None}

    # stop

    async def test_a_worker_that_is_stopped_may_finish_within_its_grace(self, lab: Lab) -> None:
        script = "trap 'sleep 0.3; echo rest > \"$LS_OUTPUT_REST\"; exit 5' TERM; echo ready; "
        spec = self.make_spec(f"{script} sleep 1000 & wait", outputs=(Output(name="rest"),))
        ref, planned = await lab.begin(spec)
        await lab.said(ref)
        for _ in range(3):
            await lab.backend.stop(ref, grace=HOUR)
        seen = await lab.over(ref)
        assert seen.outcome is not None
        assert (seen.outcome.kind, seen.outcome.exit_code) == (OutcomeKind.STOPPED, 5)
        assert await planned.results() == {"rest": b"rest\n", "log": b"ready\n"}

    async def test_a_worker_that_does_not_end_is_killed_after_its_grace(self, lab: Lab) -> None:
        ref, planned = await lab.begin(self.make_spec(STUBBORN))
        await lab.said(ref)
        await lab.backend.stop(ref, grace=MOMENT)
        seen = await lab.over(ref)
        assert seen.outcome is not None
        assert (seen.outcome.kind, seen.outcome.exit_code) == (OutcomeKind.STOPPED, 137)
        # the shell may live long enough to say that its child was killed
        assert (await planned.results())["log"].startswith(b"ready\n")

    async def test_a_request_to_stop_is_kept_when_the_backend_is_closed(self, lab: Lab) -> None:
        ref, planned = await lab.begin(self.make_spec(STUBBORN))
        await lab.said(ref)
        await lab.backend.stop(ref, grace=MOMENT)
        await lab.close()
        manifest = await lab.until(planned.manifest, "the manifest")
        assert manifest.outcome is not None
        assert manifest.outcome.kind is OutcomeKind.STOPPED

    async def test_an_attempt_that_is_stopped_before_its_worker_starts_does_not_start_it(
        self, lab: Lab
    ) -> None:
        for _ in range(3):  # sometimes the worker was quicker
            ref, planned = await lab.begin(self.make_spec("echo ran; sleep 1000"))
            await lab.backend.stop(ref, grace=timedelta(0))
            seen = await lab.over(ref)
            if seen.outcome is None:
                assert seen.reason in REASONS
                assert await lab.log(ref) == b""
            else:
                assert seen.outcome.kind is OutcomeKind.STOPPED
                assert "log" in await planned.results()

    async def test_a_worker_that_had_ended_keeps_its_outcome(self, lab: Lab) -> None:
        before, _ = await lab.run(self.make_spec("exit 3"))
        ref = lab.ref_of(before)
        await lab.backend.stop(ref, grace=timedelta(0))
        await lab.reopen()
        assert await lab.see(ref) == before

    async def test_stopping_what_never_was_creates_nothing(self, lab: Lab) -> None:
        ref = lab.ref()
        await lab.backend.stop(ref, grace=timedelta(0))
        assert await lab.see(ref) is None
        assert await self.trace(ref) in {False, None}

    # observe

    async def test_hints_never_lie(self, lab: Lab) -> None:
        async with _observing(lab) as hints:
            fine, _ = await lab.run(self.make_spec("exit 0"))
            failed, _ = await lab.run(self.make_spec("exit 3"))
            ref, _ = await lab.begin(self.make_spec(OBEDIENT))
            await lab.said(ref)
            await lab.backend.stop(ref, grace=HOUR)
            stopped = await lab.over(ref)
            if self.observes:
                await _has_end(lab, hints, fine, failed, stopped)
        truth = {one.job_id: one for one in (fine, failed, stopped)}
        for hint in hints:
            true = truth[hint.job_id]
            assert hint.attempt == true.attempt
            assert _ORDER[hint.phase] <= _ORDER[true.phase]
            assert hint.outcome in {None, true.outcome}
            assert hint.reason in {None, true.reason}
            if hint.phase in OVER:
                assert hint.outcome == true.outcome

    async def test_observing_may_be_broken_off_and_begun_again(self, lab: Lab) -> None:
        async with _observing(lab):
            await lab.run(self.make_spec("true"))
        async with _observing(lab) as hints:
            seen, _ = await lab.run(self.make_spec("exit 4"))
            if self.observes:
                await _has_end(lab, hints, seen)
        assert seen.outcome == Outcome(kind=OutcomeKind.EXITED, exit_code=4)

    # snapshot

    async def test_a_list_has_every_attempt_that_was_accepted_before_it_began(
        self, lab: Lab
    ) -> None:
        accepted: dict[tuple[str, int], datetime] = {}

        async def submit_some() -> None:
            for _ in range(5):
                ref, _ = await lab.begin(self.make_spec("true"))
                accepted[ref.job_id, ref.attempt] = datetime.now(UTC)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(submit_some)
            while len(accepted) < 5:
                snapshot = await lab.backend.snapshot()
                assert snapshot.as_of <= datetime.now(UTC)
                there = {(seen.job_id, seen.attempt) for seen in snapshot.observations}
                assert {one for one, at in accepted.items() if at <= snapshot.as_of} <= there
                await anyio.lowlevel.checkpoint()
        assert set(accepted) == set(await lab.list())

    async def test_a_running_attempt_is_found_again_when_the_backend_is_opened(
        self, lab: Lab
    ) -> None:
        ref, planned = await lab.begin(self.make_spec(OBEDIENT))
        await lab.said(ref)
        await lab.reopen()
        seen = await lab.see(ref)
        assert seen is not None
        assert (seen.phase, seen.outcome) == (Phase.RUNNING, None)
        await lab.backend.stop(ref, grace=HOUR)
        seen = await lab.over(ref)
        assert seen.outcome is not None
        assert (seen.outcome.kind, seen.outcome.exit_code) == (OutcomeKind.STOPPED, 5)
        assert (await planned.results())["log"] == b"ready\n"

    async def test_two_attempts_at_one_job_do_not_disturb_each_other(self, lab: Lab) -> None:
        first, _ = await lab.begin(self.make_spec(OBEDIENT))
        second, planned = await lab.begin(
            self.make_spec(f"echo second; {OBEDIENT}"), ref=attrs.evolve(first, attempt=2)
        )
        await lab.said(first)
        await lab.said(second)
        assert await lab.log(first) == b"ready\n"
        await lab.backend.remove(first)
        assert set(await lab.list()) == {(second.job_id, 2)}
        assert await lab.log(second) == b"second\nready\n"
        await lab.backend.stop(second, grace=HOUR)
        seen = await lab.over(second)
        assert seen.outcome is not None
        assert seen.outcome.exit_code == 5
        assert (await planned.results())["log"] == b"second\nready\n"

    # remove

    @pytest.mark.parametrize("script", ["echo ready", OBEDIENT, STUBBORN])
    async def test_removal_leaves_no_trace(self, lab: Lab, script: str) -> None:
        spec = self.make_spec(script)
        ref, planned = await lab.begin(spec)
        await lab.said(ref)
        assert await self.trace(ref) in {True, None}
        await lab.backend.remove(ref)
        assert await self.trace(ref) in {False, None}
        assert await lab.see(ref) is None
        assert await lab.log(ref) == b""
        with pytest.raises(AttemptGone):
            await lab.backend.renew(ref, planned.plan)
        await lab.backend.remove(ref)
        await lab.reopen()
        assert await lab.see(ref) is None
        assert await self.trace(ref) in {False, None}

    async def test_removing_what_never_was_is_no_error(self, lab: Lab) -> None:
        await lab.backend.remove(lab.ref())
        assert await lab.list() == {}

    # what a backend may have

    async def test_optional_abilities_say_that_the_engine_works(self, lab: Lab) -> None:
        if isinstance(lab.backend, SupportsCapacity):
            assert lab.backend.slots >= 1
        if isinstance(lab.backend, SupportsProbe):
            await lab.backend.probe()


@asynccontextmanager
async def _observing(lab: Lab) -> AsyncIterator[list[Observation]]:
    hints: list[Observation] = []

    async def collect() -> None:
        async for hint in lab.backend.observe():
            hints.append(hint)  # noqa: PERF401 - the reader looks at them meanwhile

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(collect)
        yield hints
        tasks.cancel_scope.cancel()


async def _has_end(lab: Lab, hints: list[Observation], *wanted: Observation) -> None:
    async def is_heard() -> bool:
        ended = {hint.job_id for hint in hints if hint.phase in OVER}
        return {one.job_id for one in wanted} <= ended

    await lab.until(is_heard, "a hint at the end of each attempt")
