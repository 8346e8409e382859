"""R17: wrong clocks do no harm.

What is guaranteed, for clocks that differ or jump by any amount: stamps of one job never run
backwards and no duration is negative; an attempt is dispatched once; no deadline passes before the
clock of the process that keeps it has reached it. The processes of one machine share its clock; a
clock that steps forward shortens what is left of an allowance by at most that step.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import anyio
import pytest
from hypothesis import given, settings, strategies as st

from longshore import decisions, jobs
from longshore.deadlines import Limits
from longshore.eventlog import EventLog
from longshore.jobs import Step
from longshore.ledger import Ledger
from longshore.lifecycle import JobState
from longshore.models import Job, JobEvent, Observation, Outcome, OutcomeKind, Phase
from longshore.stores.abc import Store
from longshore.supervisor import DeadlineKeeper
from longshore.testing.fakes import FakeClock
from longshore.testing.memory_store import MemoryStore
from longshore.testing.store import make_job

MINUTE = timedelta(minutes=1)
jumps = st.integers(-10, 10).map(lambda minutes: minutes * MINUTE)
ENDED = Outcome(kind=OutcomeKind.EXITED, exit_code=0)


def check_times(job: Job, events: Sequence[JobEvent]) -> None:
    """Assert that nothing ran backwards and nothing took less than no time."""
    stamps = [event.at for event in events]
    assert stamps == sorted(stamps)
    assert job.updated_at == stamps[-1]
    way = [job.created_at, job.started_at, job.finished_at]
    known = [at for at in way if at is not None]
    assert known == sorted(known)
    assert job.finished_at is None or job.finished_at == next(
        event.at for event in events if event.data.get("finished_at")
    )
    for event in events:
        by = event.data.get("next_by")
        assert by is None or by >= event.at


async def live(clock: FakeClock, jumping: Iterator[timedelta], store: Store) -> Job:
    """Carry a job from its submission to its end while our clock and the engine's jump."""
    ledger = Ledger(store, EventLog(store), clock, Limits())
    start = clock.now()
    job = await ledger.open(make_job(created_at=start), queue=True)
    reports = [(Phase.STAGING_IN, None), (Phase.RUNNING, None), (Phase.STAGING_OUT, ENDED)]
    for phase, outcome in reports:
        clock.set(start + next(jumping))
        seen = Observation(
            job_id=job.id,
            attempt=1,
            phase=phase,
            outcome=outcome,
            started_at=start + next(jumping),
            ended_at=start + next(jumping) if outcome else None,
        )

        def hear(now: Job, seen: Observation = seen) -> Step | None:
            return decisions.on_observation(now, seen, restartable=False)

        await ledger.change(job.id, hear)
    clock.set(start + next(jumping))
    return await ledger.change(job.id, lambda _: Step(JobState.SUCCEEDED))


async def live_and_check(offsets: Sequence[timedelta]) -> None:
    store = MemoryStore()
    job = await live(FakeClock(), iter(offsets), store)
    assert job.state is JobState.SUCCEEDED
    check_times(job, await store.events(job.id))


@given(st.lists(jumps, min_size=9, max_size=9))
def test_no_stamp_runs_backwards_and_no_duration_is_negative(offsets: list[timedelta]) -> None:
    anyio.run(live_and_check, offsets)


def test_control_without_the_clamp_stamps_run_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "max", lambda at, _: at, raising=False)
    back = [-number * MINUTE for number in range(9)]
    with pytest.raises(AssertionError):
        anyio.run(live_and_check, back)


@asynccontextmanager
async def two_processes(
    store: Store, one: timedelta, other: timedelta
) -> AsyncIterator[list[tuple[FakeClock, Ledger]]]:
    """Yield the clocks and ledgers of two processes whose clocks are wrong."""
    now = FakeClock().now()
    clocks = [FakeClock(now + one), FakeClock(now + other)]
    yield [(clock, Ledger(store, EventLog(store), clock, Limits())) for clock in clocks]


async def dispatch_twice(store: Store, one: timedelta, other: timedelta) -> list[JobEvent]:
    async with two_processes(store, one, other) as processes:
        job = await processes[0][1].open(make_job(), queue=True)
        async with anyio.create_task_group() as tasks:
            for _, ledger in processes * 3:
                tasks.start_soon(ledger.change, job.id, decisions.on_dispatched)
        return await store.events(job.id)


@pytest.mark.anyio
@pytest.mark.parametrize("minutes", [(0, 0), (-10, 10), (10, -10)])
async def test_an_attempt_is_dispatched_once(store: Store, minutes: tuple[int, int]) -> None:
    events = await dispatch_twice(store, minutes[0] * MINUTE, minutes[1] * MINUTE)
    assert [event.type for event in events] == ["JobCreated", "JobQueued", "JobDispatched"]
    stamps = [event.at for event in events]
    assert stamps == sorted(stamps)


async def keep_deadlines(written: timedelta, kept: timedelta, passed: timedelta) -> None:
    """Check a deadline that a process wrote and another one keeps."""
    store = MemoryStore()
    async with two_processes(store, written, kept) as ((_, writer), (clock, keeper)):
        job = await writer.open(make_job(created_at=FakeClock().now() + written), queue=False)
        due = job.next_by
        assert due is not None
        assert due == job.created_at + Limits().inputs
        clock.set(clock.now() + passed)
        await DeadlineKeeper(store, keeper, clock).expire_due()
        after = await store.job(job.id)
        assert after is not None
        assert after.is_final == (clock.now() >= due)
        # as time really passes: early or late by no more than the clocks differ
        difference = abs(written - kept)
        if after.is_final:
            assert passed >= Limits().inputs - difference
        else:
            assert passed < Limits().inputs + difference


around = st.one_of(
    st.sampled_from([Limits().inputs, Limits().inputs - timedelta(microseconds=1)]),
    st.integers(-25, 25).map(lambda minutes: Limits().inputs + minutes * MINUTE),
)


@given(jumps, jumps, around)
def test_a_deadline_is_kept_by_the_clock_of_its_keeper(
    written: timedelta, kept: timedelta, passed: timedelta
) -> None:
    anyio.run(keep_deadlines, written, kept, passed)


@settings(max_examples=50)
@given(st.lists(jumps, min_size=1, max_size=6))
def test_a_clock_that_jumps_ends_no_job_before_its_deadline(offsets: list[timedelta]) -> None:
    async def jump_about() -> None:
        store, clock = MemoryStore(), FakeClock()
        start: datetime = clock.now()
        ledger = Ledger(store, EventLog(store), clock, Limits())
        job = await ledger.open(make_job(created_at=start), queue=True)
        await ledger.change(job.id, decisions.on_dispatched)  # now the 15 minutes of a start count
        for offset in offsets:
            clock.set(start + offset)
            await DeadlineKeeper(store, ledger, clock).expire_due()
        after = await store.job(job.id)
        assert after is not None
        assert (after.stop, after.is_final) == (None, False)

    anyio.run(jump_about)


@pytest.mark.anyio
async def test_a_wish_that_was_written_by_a_clock_ahead_still_ends(store: Store) -> None:
    async with two_processes(store, 10 * MINUTE, -10 * MINUTE) as ((ahead, one), (behind, other)):
        job = await one.open(make_job(created_at=ahead.now()), queue=True)
        await one.change(job.id, decisions.on_dispatched)
        wished = ahead.now()
        job = await one.change(
            job.id, lambda now: decisions.on_stop(now, by="acme", why="cancel", at=wished)
        )
        assert job.stop is not None
        keeper = DeadlineKeeper(store, other, behind)
        behind.set(behind.now() + 20 * MINUTE)  # it is as far as the other one was
        await keeper.expire_due()
        assert not (await other.job(job.id)).is_final
        behind.set(behind.now() + Limits().stop_grace + Limits().stop_margin)
        await keeper.expire_due()
        after = await other.job(job.id)
        assert (after.state, after.unconfirmed) == (JobState.CANCELED, True)
        check_times(after, await store.events(job.id))
