from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import anyio
import pytest

from longshore import decisions
from longshore.deadlines import Limits
from longshore.errors import Conflict, IllegalTransition, NotFound, Stale, StoreUnavailable
from longshore.eventlog import EventLog
from longshore.jobs import Step, replay
from longshore.ledger import Ledger
from longshore.lifecycle import JobState
from longshore.models import Job, JobEvent, Progress, StopRequest
from longshore.stores.abc import Store
from longshore.testing.fakes import FakeClock
from longshore.testing.memory_store import MemoryStore
from longshore.testing.store import make_job, make_transfer

pytestmark = pytest.mark.anyio

S = JobState


def to(state: JobState, **changes: object) -> Step:
    return Step(state, changes)


@pytest.fixture
def other(store: Store, clock: FakeClock, limits: Limits) -> Ledger:
    """Return the ledger of another process on the same store."""
    return Ledger(store, EventLog(store), clock, limits)


@pytest.fixture
def noticed(ledger: Ledger) -> list[tuple[Job, Sequence[JobEvent]]]:
    heard: list[tuple[Job, Sequence[JobEvent]]] = []
    ledger.notify(lambda job, events: heard.append((job, events)))
    return heard


async def test_a_new_job_is_stored_and_said(
    ledger: Ledger, store: Store, clock: FakeClock, noticed: list[tuple[Job, Sequence[JobEvent]]]
) -> None:
    job = await ledger.open(make_job(created_at=clock.now()), queue=True)
    assert (job.state, job.seq, job.next_what) == (S.QUEUED, 2, "start")
    assert job.next_by == clock.now() + Limits().queue
    assert await store.job(job.id) == await ledger.job(job.id) == job
    ((said, events),) = noticed
    assert said == job
    assert [event.type for event in events] == ["JobCreated", "JobQueued"]


async def test_a_new_job_waits_for_its_inputs(ledger: Ledger, store: Store) -> None:
    draft = make_job()
    job = await ledger.open(draft, [make_transfer(draft)], queue=False)
    assert (job.state, job.next_what) == (S.CREATED, "inputs")
    assert job.next_by == job.created_at + Limits().inputs
    assert await store.transfers(job.id) == (make_transfer(draft),)


async def test_a_repeated_submission_is_the_first_job_and_says_nothing(
    ledger: Ledger, noticed: list[tuple[Job, Sequence[JobEvent]]]
) -> None:
    first = await ledger.open(make_job(1, key="k"), queue=True)
    assert await ledger.open(make_job(2, key="k"), queue=True) == first
    assert len(noticed) == 1


async def test_a_change_is_stored_before_it_is_said(ledger: Ledger, store: Store) -> None:
    job = await ledger.open(make_job(), queue=True)
    said: list[int] = []
    stored: list[int] = []
    save = store.save

    async def save_and_note(*args: object, **more: object) -> None:
        assert not said
        await save(*args, **more)  # type: ignore[arg-type]  # passed on as it came
        stored.append(1)

    store.save = save_and_note  # type: ignore[method-assign]  # the door of the store
    ledger.notify(lambda *_: said.append(len(stored)))
    await ledger.change(job.id, lambda _: to(S.RUNNING))
    assert said == [1]


async def test_a_change_that_is_not_stored_is_not_said(
    ledger: Ledger, store: Store, noticed: list[tuple[Job, Sequence[JobEvent]]]
) -> None:
    job = await ledger.open(make_job(), queue=True)
    noticed.clear()

    async def refuse(*_: object, **__: object) -> None:
        raise StoreUnavailable("full")

    save, store.save = store.save, refuse  # type: ignore[method-assign]  # a full disk
    with pytest.raises(StoreUnavailable):
        await ledger.change(job.id, lambda _: to(S.RUNNING))
    assert noticed == []
    assert await ledger.job(job.id) == job
    store.save = save  # type: ignore[method-assign]  # healed
    assert (await ledger.change(job.id, lambda _: to(S.RUNNING))).seq == job.seq + 2


async def test_each_arrival_sets_the_next_deadline_and_a_fact_leaves_it(
    ledger: Ledger, clock: FakeClock
) -> None:
    job = await ledger.open(make_job(created_at=clock.now()), queue=True)
    await clock.advance(timedelta(seconds=1))
    job = await ledger.change(job.id, decisions.on_dispatched)
    assert job.next_by == clock.now() + Limits().start
    job = await ledger.change(job.id, lambda _: to(S.RUNNING))
    by = job.next_by
    await clock.advance(timedelta(seconds=1))
    progress = Progress(done=1, total=2)
    job = await ledger.change(
        job.id, lambda _: Step(None, {"progress": progress}, "ProgressReported")
    )
    assert job.next_by == by
    stop = StopRequest(by="acme", why="cancel", at=clock.now())
    job = await ledger.change(job.id, lambda _: Step(None, {"stop": stop}, "StopRequested"))
    assert job.next_by == clock.now() + Limits().stop_grace + Limits().stop_margin


async def test_the_end_is_stamped_and_waits_for_nothing(
    ledger: Ledger, store: Store, clock: FakeClock
) -> None:
    job = await ledger.open(make_job(created_at=clock.now()), queue=True)
    await clock.advance(timedelta(seconds=3))
    job = await ledger.change(job.id, lambda _: to(S.CANCELED))
    assert (job.next_what, job.next_by, job.finished_at) == (None, None, clock.now())
    assert replay(await store.events(job.id)) == job
    await clock.advance(timedelta(seconds=3))
    purged = await ledger.change(job.id, lambda _: Step(None, {"purged": True}, "BytesPurged"))
    assert purged.finished_at == job.finished_at


async def test_nothing_is_written_where_nothing_is_decided(ledger: Ledger, store: Store) -> None:
    job = await ledger.open(make_job(), queue=True)
    assert await ledger.change(job.id, lambda _: None) == job
    assert await store.position() == job.seq


async def test_an_unknown_job_cannot_be_changed(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        await ledger.change("nothing", lambda _: to(S.RUNNING))


async def test_an_illegal_step_is_refused(ledger: Ledger, store: Store) -> None:
    job = await ledger.open(make_job(), queue=True)
    with pytest.raises(IllegalTransition):
        await ledger.change(job.id, lambda _: to(S.CREATED))
    assert await store.position() == job.seq


async def test_every_one_of_many_changes_at_once_is_made(ledger: Ledger, store: Store) -> None:
    job = await ledger.open(make_job(), queue=False)

    def count(now: Job) -> Step:
        return Step(None, {"parameters": {"n": now.parameters.get("n", 0) + 1}}, "Counted")

    async with anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(ledger.change, job.id, count)
    kept = await ledger.job(job.id)
    assert (kept.parameters, kept.seq) == ({"n": 30}, 31)
    assert replay(await store.events(job.id)) == kept


async def test_what_another_process_wrote_is_decided_upon(ledger: Ledger, other: Ledger) -> None:
    job = await ledger.open(make_job(), queue=True)
    await other.change(job.id, lambda _: to(S.RUNNING))
    job = await ledger.change(
        job.id, lambda now: to(S.STAGING_OUT) if now.state is S.RUNNING else None
    )
    assert job.state is S.STAGING_OUT


async def test_a_remembered_value_never_refuses(ledger: Ledger, other: Ledger) -> None:
    job = await ledger.open(make_job(), queue=True)
    await other.change(job.id, lambda _: to(S.RUNNING))

    def refuse_queued(now: Job) -> Step:
        if now.state is S.QUEUED:
            raise Conflict("not yet")
        return to(S.STAGING_OUT)

    assert (await ledger.change(job.id, refuse_queued)).state is S.STAGING_OUT
    with pytest.raises(Conflict):
        await ledger.change((await ledger.open(make_job(1), queue=True)).id, refuse_queued)


async def test_a_step_that_a_remembered_value_does_not_allow_is_tried_on_the_stored_one(
    ledger: Ledger, other: Ledger
) -> None:
    job = await ledger.open(make_job(), queue=True)
    await other.change(job.id, lambda _: to(S.STAGING_OUT))
    # IN_REVIEW cannot be reached from QUEUED without an outcome's state in between
    job = await ledger.change(job.id, lambda _: to(S.SUCCEEDED))
    assert job.state is S.SUCCEEDED
    with pytest.raises(IllegalTransition):
        await other.change(job.id, lambda _: to(S.FAILED))


async def test_a_job_that_changes_all_the_time_is_given_up(clock: FakeClock) -> None:
    store = MemoryStore()
    ledger = Ledger(store, EventLog(store), clock, Limits())
    job = await ledger.open(make_job(), queue=True)
    asked: list[Job] = []

    async def always_late(*_: object, **__: object) -> None:
        raise Stale("another was faster")

    def run(now: Job) -> Step:
        asked.append(now)
        return to(S.RUNNING)

    store.save = always_late  # type: ignore[method-assign]  # every race is lost
    with pytest.raises(Stale, match="faster than it can be written"):
        await ledger.change(job.id, run)
    assert 1 < len(asked) < 1000


async def test_it_remembers_a_bounded_number_of_jobs(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longshore.ledger._CACHED", 3)
    jobs = [await ledger.open(make_job(number), queue=True) for number in range(5)]
    assert list(ledger._cache) == [job.id for job in jobs[2:]]
    for job in jobs:
        await ledger.change(job.id, lambda _: to(S.CANCELED))
    assert not ledger._cache


async def test_notices_come_in_the_order_of_a_jobs_events(ledger: Ledger) -> None:
    job = await ledger.open(make_job(), queue=False)
    seen: list[int] = []
    ledger.notify(lambda _, events: seen.extend(event.seq for event in events))

    def note(name: int, _: Job) -> Step:
        return Step(None, {"parameters": {"n": name}}, "Noted")

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(ledger.change, job.id, partial(note, number))
    assert seen == list(range(2, 32))
