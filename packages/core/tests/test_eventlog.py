from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta

import anyio
import pytest

from longshore import eventlog
from longshore.deadlines import Limits
from longshore.eventlog import EventLog
from longshore.jobs import Step
from longshore.ledger import Ledger
from longshore.lifecycle import JobState
from longshore.models import Job, JobEvent
from longshore.stores.abc import Store
from longshore.testing.fakes import FakeClock
from longshore.testing.store import make_job

pytestmark = pytest.mark.anyio

S = JobState


@pytest.fixture
def log(store: Store) -> EventLog:
    """Return a log that finds what others wrote only after longer than any test takes."""
    return EventLog(store, poll=timedelta(hours=1))


@pytest.fixture
async def job(ledger: Ledger) -> Job:
    return await ledger.open(make_job(), queue=True)


async def note(ledger: Ledger, job: Job, times: int = 1) -> None:
    for _ in range(times):
        await ledger.change(job.id, lambda _: Step(None, {}, "Noted"))


async def end(ledger: Ledger, job: Job) -> None:
    await ledger.change(job.id, lambda _: Step(S.CANCELED))


async def seqs(events: AsyncIterator[JobEvent]) -> list[int]:
    with anyio.fail_after(20):
        return [event.seq async for event in events]


async def test_a_follower_replays_and_then_follows_to_the_end(
    log: EventLog, ledger: Ledger, job: Job
) -> None:
    await note(ledger, job)
    seen: list[int] = []
    with anyio.fail_after(20):
        async for event in log.follow(job.id):
            seen.append(event.seq)
            if event.seq in {3, 4}:  # the third was replayed, the fourth is new
                await note(ledger, job)
            if event.seq == 5:
                await end(ledger, job)
    assert seen == [1, 2, 3, 4, 5, 6]


async def test_a_follower_comes_back_with_the_last_seq(
    log: EventLog, ledger: Ledger, job: Job
) -> None:
    await note(ledger, job, 3)
    await end(ledger, job)
    assert await seqs(log.follow(job.id, after=3)) == [4, 5, 6]


async def test_nothing_more_is_awaited_of_a_final_job(
    log: EventLog, ledger: Ledger, job: Job
) -> None:
    await end(ledger, job)
    assert await seqs(log.follow(job.id, after=3)) == []
    await ledger.change(job.id, lambda _: Step(None, {"purged": True}, "BytesPurged"))
    assert await seqs(log.follow(job.id, after=3)) == [4]


async def test_an_unknown_job_has_no_events(log: EventLog) -> None:
    assert await seqs(log.follow("nothing")) == []


async def test_two_followers_get_everything_each(log: EventLog, ledger: Ledger, job: Job) -> None:
    seen: dict[int, list[int]] = {}

    async def follow(number: int) -> None:
        seen[number] = await seqs(log.follow(job.id))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, 1)
        tasks.start_soon(follow, 2)
        await note(ledger, job, 5)
        await end(ledger, job)
    assert seen == {1: list(range(1, 9)), 2: list(range(1, 9))}


async def test_a_follower_that_lags_misses_nothing_and_stops_nobody(
    log: EventLog, ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eventlog, "_BUFFER", 4)
    monkeypatch.setattr(log, "_poll", 0.001)
    seen: list[int] = []
    with anyio.fail_after(20):
        async for event in log.follow(job.id):
            seen.append(event.seq)
            if event.seq == 2:
                await note(ledger, job)
            elif event.seq == 3:  # far more than it can buffer, while it reads nothing
                await note(ledger, job, 20)
                await end(ledger, job)
    assert seen == list(range(1, 25))


async def test_more_events_than_a_page_are_read_in_pages(
    log: EventLog, ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eventlog, "_PAGE", 3)
    await note(ledger, job, 7)
    await end(ledger, job)
    assert await seqs(log.follow(job.id)) == list(range(1, 11))


async def test_events_of_another_process_are_found(
    store: Store, ledger: Ledger, job: Job, clock: FakeClock
) -> None:
    here = EventLog(store, poll=timedelta(milliseconds=1))
    seen: list[int] = []
    with anyio.fail_after(20):
        async for event in here.follow(job.id):  # the ledger publishes elsewhere
            seen.append(event.seq)
            if event.seq == 2:
                await note(ledger, job, 3)
                await end(ledger, job)
    assert seen == [1, 2, 3, 4, 5, 6]


async def test_a_gap_in_what_is_published_is_read_from_the_store(
    store: Store, log: EventLog, ledger: Ledger, job: Job, clock: FakeClock
) -> None:
    elsewhere = Ledger(store, EventLog(store), clock, Limits())
    seen: list[int] = []
    with anyio.fail_after(20):
        async for event in log.follow(job.id):
            seen.append(event.seq)
            if event.seq == 2:
                await note(ledger, job)
            elif event.seq == 3:
                await note(elsewhere, job, 2)
                await end(ledger, job)
    assert seen == [1, 2, 3, 4, 5, 6]


async def test_a_follower_that_leaves_is_forgotten(log: EventLog, ledger: Ledger, job: Job) -> None:
    async with aclosing(log.follow(job.id)) as events:
        assert (await anext(events)).seq == 1
        assert log._listeners
    assert not log._listeners
    await note(ledger, job)


async def test_followers_of_other_jobs_hear_nothing(
    log: EventLog, ledger: Ledger, job: Job
) -> None:
    other = await ledger.open(make_job(1), queue=True)
    async with aclosing(log.follow(other.id)) as events:
        assert (await anext(events)).job_id == other.id
        await end(ledger, job)
        await end(ledger, other)
        assert [event.job_id async for event in events] == [other.id, other.id]
