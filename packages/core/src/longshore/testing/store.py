"""The contract of a store, as tests to inherit."""

from collections.abc import Sequence
from datetime import timedelta

import anyio
import attrs
import pytest

from longshore.errors import Conflict, Stale
from longshore.jobs import Step, create, replay, take
from longshore.lifecycle import JobState
from longshore.models import (
    Fault,
    JobEvent,
    Outcome,
    OutcomeKind,
    Product,
    Progress,
    Reason,
    Resources,
)
from longshore.stores.abc import JobQuery, Store
from longshore.testing.store_access import StoreAccess
from longshore.testing.store_queries import StoreQueries
from longshore.testing.store_samples import (
    SECOND,
    STOP,
    T0,
    add,
    make_job,
    make_transfer,
    move,
)
from longshore.transfer import (
    TransferKind,
    TransferState,
    UploadReceipt,
)

__all__ = ["StoreContract", "add", "make_job", "make_transfer", "move"]


def _places(events: Sequence[JobEvent]) -> list[int]:
    return [event.position for event in events]


class StoreContract(StoreQueries, StoreAccess):
    """What every store does. Inherit it as ``class TestMine(StoreContract)``.

    Supply the fixture ``store``: an open store that holds nothing.
    """

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run on asyncio."""
        return "asyncio"

    @pytest.fixture
    def store(self) -> Store:
        """Return the store under test."""
        raise NotImplementedError

    async def test_an_empty_store_answers_every_question(self, store: Store) -> None:
        assert store.instance
        assert store.instance == store.instance.lower()
        assert await store.position() == 0
        assert await store.log(after=0) == []
        assert await store.events("nothing") == []
        assert await store.job("nothing") is None
        assert await store.next_due() is None
        assert await store.jobs(JobQuery()) == ()
        assert await store.workflow("nothing") is None
        assert await store.workflow("nothing", "1") is None
        assert await store.workflows() == ()
        assert await store.transfers("nothing") == ()

    # adding

    async def test_a_new_job_is_kept_as_it_is(self, store: Store) -> None:
        job = await add(store, make_job(key="k", fingerprint="f"))
        assert await store.job(job.id) == job
        assert replay(await store.events(job.id)) == job

    async def test_every_field_of_a_job_and_of_its_event_survives(self, store: Store) -> None:
        job = make_job(
            state=JobState.FAILED,
            attempt=3,
            parameters={"text": 'ü"\\\n\u2028', "n": 1.5, "deep": {"list": [None, True, {}]}},
            resources=Resources(cpu=0.5, memory=7, gpu=2, walltime=timedelta(seconds=1.5)),
            inputs=("a", "b"),
            dispatched=True,
            stop=STOP,
            outcome=Outcome(kind=OutcomeKind.STOPPED, exit_code=143, by="acme", why="cancel"),
            reason=Reason("oom", Fault.APP, "a sentence", "a hint", retryable=True),
            products=(Product(name="counts", size=3, sha256="00"),),
            progress=Progress(done=1, total=3, text="one of three"),
            enforced={"memory": "cgroup"},
            unconfirmed=True,
            purged=True,
            started_at=T0 + SECOND,
            finished_at=T0 + 2 * SECOND,
            next_what="end",
            next_by=T0 + 3 * SECOND,
            key="k",
            fingerprint="f",
        )
        kept = await add(store, job)
        assert await store.job(job.id) == kept
        assert replay(await store.events(job.id)) == kept

    async def test_an_id_is_used_once(self, store: Store) -> None:
        job = await add(store, make_job())
        other, events = create(make_job(tenant="other", key="k"))
        with pytest.raises(Conflict):
            await store.add(other, events, [make_transfer(other)])
        assert await store.job(job.id) == job
        assert await store.position() == 1
        assert await store.transfers(job.id) == ()
        fresh = make_job(1, tenant="other", key="k")
        assert (await add(store, fresh)).id == fresh.id, "the refused job left its key behind"

    async def test_a_used_key_gives_the_first_job_and_writes_nothing(self, store: Store) -> None:
        first = await add(store, make_job(1, key="k"))
        second = make_job(2, key="k", parameters={"other": 1})
        assert await add(store, second, [make_transfer(second)]) == first
        assert await store.job(second.id) is None
        assert await store.events(second.id) == []
        assert await store.transfers(second.id) == ()
        assert await store.position() == 1

    async def test_a_used_key_gives_the_first_job_as_it_is_now(self, store: Store) -> None:
        first = await add(store, make_job(1, key="k"))
        moved = await move(store, first, Step(JobState.QUEUED))
        assert await add(store, make_job(2, key="k")) == moved
        assert await add(store, make_job(1, key="k")) == moved

    async def test_a_key_belongs_to_its_tenant(self, store: Store) -> None:
        await add(store, make_job(1, key="k"))
        other = make_job(2, key="k", tenant="other")
        assert (await add(store, other)).id == other.id

    async def test_a_job_is_found_by_its_key_alone(self, store: Store) -> None:
        """A tenant's key names one job; nobody else's does."""
        kept = await add(store, make_job(1, key="k", tenant="acme"))
        assert await store.job_by_key("acme", "k") == kept
        assert await store.job_by_key("acme", "other") is None
        assert await store.job_by_key("other", "k") is None

    async def test_jobs_without_a_key_never_clash(self, store: Store) -> None:
        jobs = [make_job(number) for number in range(3)]
        assert [(await add(store, job)).id for job in jobs] == [job.id for job in jobs]

    async def test_of_many_submissions_with_one_key_one_becomes_a_job(self, store: Store) -> None:
        answers: list[str] = []

        async def submit(number: int) -> None:
            answers.append((await add(store, make_job(number, key="k"))).id)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(submit, number)
        assert len(answers) == 20
        assert len(set(answers)) == 1
        assert await store.position() == 1

    # saving

    async def test_a_change_is_kept_with_its_events_and_transfers(self, store: Store) -> None:
        job = await add(store, make_job())
        changed, events = take(job, Step(JobState.RUNNING, {"dispatched": True}), T0 + SECOND)
        await store.save(changed, events, expected=job.seq, transfers=[make_transfer(job)])
        assert await store.job(job.id) == changed
        stored = await store.events(job.id)
        assert [event.type for event in stored] == [
            "JobCreated",
            "JobQueued",
            "StagingInStarted",
            "WorkerStarted",
        ]
        assert [event.seq for event in stored] == [1, 2, 3, 4]
        assert [event.data.get("inferred", False) for event in stored] == [False, True, True, False]
        assert replay(stored) == changed
        assert await store.transfers(job.id) == (make_transfer(job),)

    async def test_values_can_be_taken_away_again(self, store: Store) -> None:
        job = await add(store, make_job(next_what="inputs", next_by=T0, dispatched=True))
        cleared = {"next_what": None, "next_by": None, "dispatched": False}
        job = await move(store, job, Step(None, cleared, "Cleared"))
        assert await store.job(job.id) == job
        assert (job.next_by, job.dispatched) == (None, False)

    async def test_a_stale_change_writes_nothing(self, store: Store) -> None:
        first = await add(store, make_job())
        current = await move(store, first, Step(JobState.QUEUED))
        changed, events = take(first, Step(JobState.CANCELED), T0)
        with pytest.raises(Stale):
            await store.save(changed, events, expected=first.seq, transfers=[make_transfer(first)])
        assert await store.job(first.id) == current
        assert await store.position() == 2
        assert await store.transfers(first.id) == ()

    async def test_a_change_of_an_unknown_job_is_stale(self, store: Store) -> None:
        changed, events = take(make_job(), Step(JobState.QUEUED), T0)
        with pytest.raises(Stale):
            await store.save(changed, events, expected=0)
        assert await store.position() == 0

    async def test_of_racing_changes_exactly_one_wins(self, store: Store) -> None:
        job = await add(store, make_job())
        won: list[int] = []

        async def race(number: int) -> None:
            step = Step(None, {"parameters": {"by": number}}, "Raced")
            try:
                await move(store, job, step)
            except Stale:
                return
            won.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(race, number)
        assert len(won) == 1
        kept = await store.job(job.id)
        assert kept is not None
        assert (kept.seq, kept.parameters) == (2, {"by": won[0]})
        assert replay(await store.events(job.id)) == kept

    # the log

    async def test_positions_are_the_order_of_commits_without_gaps(self, store: Store) -> None:
        jobs = [await add(store, make_job(number)) for number in range(3)]
        for job in reversed(jobs):
            await move(store, job, Step(JobState.RUNNING))
        log = await store.log(after=0)
        assert _places(log) == list(range(1, 13))
        assert await store.position() == 12
        assert [event.job_id for event in log[3:]] == [
            job.id for job in reversed(jobs) for _ in range(3)
        ]
        for job in jobs:
            assert await store.events(job.id) == [one for one in log if one.job_id == job.id]

    async def test_what_was_refused_leaves_no_gap(self, store: Store) -> None:
        job = await add(store, make_job(key="k"))
        await add(store, make_job(1, key="k"))
        current = await move(store, job, Step(JobState.QUEUED))
        with pytest.raises(Stale):
            await move(store, job, Step(JobState.QUEUED))
        await move(store, current, Step(JobState.CANCELED))
        assert _places(await store.log(after=0)) == [1, 2, 3]

    async def test_a_burst_of_writers_is_kept_whole(self, store: Store) -> None:
        async def live(number: int) -> None:
            job = await add(store, make_job(number))
            for state in (JobState.QUEUED, JobState.RUNNING, JobState.FAILED):
                job = await move(store, job, Step(state))

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(live, number)
        log = await store.log(after=0, limit=10_000)
        assert _places(log) == list(range(1, 601))
        for number in range(100):
            job = await store.job(make_job(number).id)
            assert job is not None
            assert job.state is JobState.FAILED
            own = [event for event in log if event.job_id == job.id]
            assert replay(own) == job
            assert [event.seq for event in own] == list(range(1, 7))

    async def test_events_and_log_come_in_pages(self, store: Store) -> None:
        job = await add(store, make_job())
        job = await move(store, job, Step(JobState.RUNNING))
        await add(store, make_job(1))
        assert [one.seq for one in await store.events(job.id, after=1, limit=2)] == [2, 3]
        assert [one.seq for one in await store.events(job.id, after=3, limit=2)] == [4]
        assert await store.events(job.id, after=4) == []
        assert _places(await store.log(after=1, limit=3)) == [2, 3, 4]
        assert _places(await store.log(after=4, limit=3)) == [5]
        assert await store.log(after=5) == []

    # transfers

    async def test_transfers_are_replaced_by_job_attempt_kind_and_name(self, store: Store) -> None:
        job = await add(store, make_job())
        text = make_transfer(job, "text", announced=True, receipt=UploadReceipt(size=3, sha256="0"))
        log = make_transfer(job, "log", 1, kind=TransferKind.LOG)
        again = make_transfer(job, "log", 2, kind=TransferKind.LOG)
        output = make_transfer(job, "log", 1, kind=TransferKind.OUTPUT)
        await store.put_transfers([text, log, again, output])
        assert set(await store.transfers(job.id)) == {text, log, again, output}
        assert await store.transfers(job.id, 0) == (text,)
        assert set(await store.transfers(job.id, 1)) == {log, output}
        assert await store.transfers(job.id, 3) == ()
        done = attrs.evolve(log, state=TransferState.COMMITTED)
        await store.put_transfers([done])
        assert set(await store.transfers(job.id)) == {text, done, again, output}
        gone = attrs.evolve(again, state=TransferState.ABORTED)
        changed, events = take(job, Step(JobState.QUEUED), T0)
        await store.save(changed, events, expected=job.seq, transfers=[gone])
        assert set(await store.transfers(job.id)) == {text, done, gone, output}

    async def test_transfers_belong_to_their_job(self, store: Store) -> None:
        one, other = await add(store, make_job(1)), await add(store, make_job(2))
        await store.put_transfers([make_transfer(one), make_transfer(other)])
        assert await store.transfers(one.id) == (make_transfer(one),)
