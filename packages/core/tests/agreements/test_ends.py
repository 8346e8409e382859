"""When an agreement ends, or is revoked, so does what was made under it, whatever happens.

The process may die between any two writes: what is left to do is found in the store.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from longshore.access import Access
from longshore.deadlines import Limits
from longshore.errors import StorageUnavailable, StoreUnavailable
from longshore.eventlog import EventLog
from longshore.jobs import Step
from longshore.keys import output_key
from longshore.ledger import Ledger
from longshore.lifecycle import FINAL
from longshore.models import Agreement, AgreementState, AtEnd, Job, JobEvent, JobState
from longshore.service import JobService
from longshore.storages.local import LocalStorage
from longshore.stores.abc import JobQuery, Store
from longshore.stores.sqlite import open_sqlite
from longshore.supervisor import AgreementKeeper
from longshore.testing.fakes import FakeClock
from longshore.testing.memory_store import MemoryStore
from longshore.testing.store_samples import make_job

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
S = JobState
#: states of jobs that an engine has, and of those that none has heard of
WITH_ENGINE = (S.STAGING_IN, S.RUNNING, S.STAGING_OUT)
WAITING = (S.CREATED, S.QUEUED)


async def make(
    ledger: Ledger, agreement: Agreement, states: Sequence[JobState], first: int = 0
) -> dict[JobState, Job]:
    """Return a job of the agreement in every state."""
    made: dict[JobState, Job] = {}
    for number, state in enumerate(states, first):
        job = await ledger.open(make_job(number, agreement=agreement.id), queue=False)
        if state is not S.CREATED:
            dispatched = {"dispatched": state is not S.QUEUED}
            job = await ledger.change(job.id, lambda _, s=state, d=dispatched: Step(s, d))  # type: ignore[misc]  # bound now
        made[state] = job
    return made


async def now_of(store: Store, jobs: dict[JobState, Job]) -> dict[JobState, Job]:
    found = {state: await store.job(job.id) for state, job in jobs.items()}
    return {state: job for state, job in found.items() if job is not None}


@pytest.fixture
async def drained(access: Access, clock: FakeClock) -> Agreement:
    return await access.create_agreement(
        tenant="acme",
        workflows=["*"],
        valid_until=clock.now() + HOUR,
        at_end=AtEnd.DRAIN,
        by="admin",
    )


async def test_before_its_end_nothing_happens(
    keeper: AgreementKeeper, ledger: Ledger, store: Store, agreement: Agreement, clock: FakeClock
) -> None:
    jobs = await make(ledger, agreement, list(S))
    clock.set(clock.now() + HOUR - timedelta(microseconds=1))
    position = await store.position()
    assert await keeper.keep() == timedelta(microseconds=1), "it wakes for the end itself"
    assert await now_of(store, jobs) == jobs
    assert await store.position() == position


async def test_at_its_end_the_agreement_has_ended_and_its_jobs_are_stopped(
    keeper: AgreementKeeper, ledger: Ledger, store: Store, agreement: Agreement, clock: FakeClock
) -> None:
    jobs = await make(ledger, agreement, list(S))
    clock.set(clock.now() + HOUR)
    await keeper.keep()
    kept = await store.agreement(agreement.id)
    assert kept is not None
    assert (kept.state, kept.due_at) == (AgreementState.ENDED, None)
    *_, event = await store.events(agreement.id)
    assert (event.type, event.at, event.data["by"]) == ("AgreementEnded", clock.now(), "longshore")
    after = await now_of(store, jobs)
    for state in (*WITH_ENGINE, *WAITING):
        stop = after[state].stop
        assert stop is not None, state
        assert (stop.by, stop.why, stop.at) == ("longshore", "agreement", clock.now())
    for state in WAITING:
        why = after[state].reason
        assert after[state].state is S.FAILED
        assert why is not None
        assert (why.code, why.fault) == ("agreement", "policy")
    for state in WITH_ENGINE:
        assert after[state].state is state, "the engine is asked; the worker's end is awaited"
    for state in (*FINAL, S.IN_REVIEW):
        assert after[state] == jobs[state]
    assert not any(job.purged for job in after.values())


async def test_an_end_is_said_once(
    keeper: AgreementKeeper, ledger: Ledger, store: Store, agreement: Agreement, clock: FakeClock
) -> None:
    await make(ledger, agreement, list(S))
    clock.set(clock.now() + HOUR)
    await keeper.keep()
    position = await store.position()
    clock.set(clock.now() + HOUR)
    assert await keeper.keep() == SECOND
    assert await store.position() == position


async def test_an_agreement_that_drains_lets_its_jobs_go_on(
    keeper: AgreementKeeper, ledger: Ledger, store: Store, drained: Agreement, clock: FakeClock
) -> None:
    jobs = await make(ledger, drained, list(S))
    clock.set(clock.now() + HOUR)
    await keeper.keep()
    assert await now_of(store, jobs) == jobs
    kept = await store.agreement(drained.id)
    assert kept is not None
    assert (kept.state, kept.due_at) == (AgreementState.ENDED, None)


async def give_output(storage: LocalStorage, store: Store, job: Job) -> str:
    async def chunks() -> Any:
        yield b"result"

    return (await storage.write(output_key(store.instance, job, "out"), chunks())).key


async def test_a_revoked_agreement_loses_its_bytes_as_its_jobs_become_final(
    keeper: AgreementKeeper,
    ledger: Ledger,
    store: Store,
    storage: LocalStorage,
    access: Access,
    agreement: Agreement,
) -> None:
    jobs = await make(ledger, agreement, list(S))
    keys = {state: await give_output(storage, store, job) for state, job in jobs.items()}
    await access.revoke_agreement(agreement.id, by="admin")
    await keeper.keep()
    after = await now_of(store, jobs)
    at_once = (*FINAL, *WAITING)
    for state, job in after.items():
        assert job.purged is (state in at_once), state
        assert (await storage.stat(keys[state]) is None) is (state in at_once), state
    for state in (*WITH_ENGINE, S.IN_REVIEW):
        await ledger.change(jobs[state].id, lambda _: Step(S.FAILED))
    await keeper.keep()
    assert all(job.purged for job in (await now_of(store, jobs)).values())
    assert [key for key in keys.values() if await storage.stat(key)] == []
    kept = await store.agreement(agreement.id)
    assert kept is not None
    assert (kept.state, kept.due_at) == (AgreementState.REVOKED, None)


@pytest.mark.parametrize("at_end", list(AtEnd))
async def test_an_agreement_can_be_revoked_after_its_end(
    keeper: AgreementKeeper,
    ledger: Ledger,
    store: Store,
    access: Access,
    clock: FakeClock,
    at_end: AtEnd,
) -> None:
    agreement = await access.create_agreement(
        tenant="acme",
        workflows=["*"],
        valid_until=clock.now() + HOUR,
        at_end=at_end,
        by="admin",
    )
    jobs = await make(ledger, agreement, [S.RUNNING, S.SUCCEEDED])
    clock.set(clock.now() + HOUR)
    await keeper.keep()
    await access.revoke_agreement(agreement.id, by="admin")
    await keeper.keep()
    after = await now_of(store, jobs)
    assert after[S.RUNNING].stop is not None
    assert after[S.SUCCEEDED].purged
    await ledger.change(after[S.RUNNING].id, lambda _: Step(S.FAILED))
    await keeper.keep()
    assert (await now_of(store, jobs))[S.RUNNING].purged


async def test_other_agreements_and_jobs_without_one_are_left_alone(
    keeper: AgreementKeeper, ledger: Ledger, store: Store, access: Access, agreement: Agreement
) -> None:
    mine = await make(ledger, agreement, [S.RUNNING, S.SUCCEEDED])
    other = await access.create_agreement(tenant="acme", workflows=["*"], by="admin")
    theirs = await make(ledger, other, list(S), 100)
    alone = await ledger.open(make_job(300), queue=True)
    await access.revoke_agreement(agreement.id, by="admin")
    await keeper.keep()
    assert (await now_of(store, mine))[S.RUNNING].stop is not None
    assert await now_of(store, theirs) == theirs
    assert await store.job(alone.id) == alone


async def test_more_jobs_than_a_page_holds_are_all_seen_to(
    keeper: AgreementKeeper, ledger: Ledger, store: Store, access: Access, agreement: Agreement
) -> None:
    for number in range(5):
        await make(ledger, agreement, [S.CREATED, S.QUEUED, *FINAL] * 5, number * 100)
    await access.revoke_agreement(agreement.id, by="admin")
    await keeper.keep()
    jobs = await store.jobs(JobQuery(agreement=agreement.id, limit=1000))
    assert len(jobs) == 125
    assert all(job.is_final and job.purged for job in jobs)


async def test_what_cannot_be_purged_now_is_purged_later_and_holds_nothing_up(
    store: Store, ledger: Ledger, clock: FakeClock, service: JobService, access: Access,
    agreement: Agreement, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    jobs = list((await make(ledger, agreement, list(FINAL))).values())
    refused = {jobs[0].id}

    async def purge(job: Job) -> None:
        if job.id in refused:
            raise StorageUnavailable("the storage is away")
        await service.purge(job.tenant, job.id)

    keeper = AgreementKeeper(store, ledger, clock, purge)
    await access.revoke_agreement(agreement.id, by="admin")
    await keeper.keep()
    purged = await store.jobs(JobQuery(agreement=agreement.id, purged=True))
    assert {job.id for job in purged} == {job.id for job in jobs[1:]}
    assert "the storage is away" in caplog.text
    refused.clear()
    await keeper.keep()
    assert len(await store.jobs(JobQuery(agreement=agreement.id, purged=True))) == len(jobs)


async def test_the_keeper_wakes_for_the_end_and_for_a_revocation_by_another_process(
    keeper: AgreementKeeper,
    ledger: Ledger,
    store: Store,
    access: Access,
    agreement: Agreement,
    clock: FakeClock,
) -> None:
    other = await access.create_agreement(tenant="acme", workflows=["*"], by="admin")
    jobs = await make(ledger, other, [S.QUEUED])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.run)
        await advance_until(clock, lambda: has_begun(clock))
        await Access(store, clock).revoke_agreement(other.id, by="admin")
        await advance_until(clock, lambda: is_purged(store, jobs[S.QUEUED]))
        clock.set(agreement.valid_until or clock.now())
        await advance_until(clock, lambda: is_ended(store, agreement))
        tasks.cancel_scope.cancel()


async def has_begun(clock: FakeClock) -> bool:
    return clock.sleepers > 0


async def is_purged(store: Store, job: Job) -> bool:
    found = await store.job(job.id)
    return found is not None and found.purged


async def is_ended(store: Store, agreement: Agreement) -> bool:
    found = await store.agreement(agreement.id)
    return found is not None and found.state is AgreementState.ENDED


async def advance_until(clock: FakeClock, holds: Callable[[], Awaitable[bool]]) -> None:
    """Let a second pass whenever the keeper sleeps, until it has done what is waited for."""
    with anyio.fail_after(30):
        while not await holds():
            if clock.sleepers:
                await clock.advance(SECOND)
            await anyio.sleep(0.001)


async def test_a_store_that_is_away_for_a_while_only_delays_an_end(
    ledger: Ledger, store: Store, agreement: Agreement, clock: FakeClock
) -> None:
    class Away:
        left = 3

        async def agreements_due(self, until: datetime) -> tuple[Agreement, ...]:
            self.left -= 1
            if self.left >= 0:
                raise StoreUnavailable("the disk is away")
            return await store.agreements_due(until)

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

    async def purge(_: Job) -> None: ...

    keeper = AgreementKeeper(Away(), ledger, clock, purge)  # type: ignore[arg-type]  # a stand-in
    clock.set(clock.now() + HOUR)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.run)
        await advance_until(clock, lambda: is_ended(store, agreement))
        tasks.cancel_scope.cancel()


# death between any two writes


class Death(BaseException):
    """The process is gone."""


class Mortal:
    """A store that dies before, or after, its write number ``at``."""

    def __init__(self, store: Store, at: int, *, before: bool) -> None:
        self._store = store
        self._left = at
        self._before = before

    async def put_agreement(
        self, agreement: Agreement, events: Sequence[JobEvent], **rest: Any
    ) -> None:
        await self._write(self._store.put_agreement, agreement, events, **rest)

    async def save(self, job: Job, events: Sequence[JobEvent], **rest: Any) -> None:
        await self._write(self._store.save, job, events, **rest)

    async def _write(self, write: Any, *args: Any, **rest: Any) -> None:
        self._left -= 1
        if self._left < 0 or (self._left == 0 and self._before):
            raise Death
        await write(*args, **rest)
        if self._left == 0:
            raise Death

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Careless(AgreementKeeper):
    """Says that all is done before it is: what a kill then leaves is never found again."""

    async def _see_to(self, agreement: Agreement, now: datetime) -> None:
        if agreement.state is AgreementState.ACTIVE:
            agreement = await self._end(agreement, now)
        if agreement.due_at is not None:
            done = attrs.evolve(agreement, due_at=None)
            await self._store.put_agreement(done, [], expected=agreement.seq)
            await self._close(agreement, now)


async def live_and_die(
    kind: type[AgreementKeeper], tmp_path: Path, *, at: int, before: bool, revoked: bool
) -> tuple[bool, list[Job]]:
    """Let a keeper die at a write, and another one go on; say whether it died, and what became."""
    clock = FakeClock()
    store = MemoryStore()
    storage = LocalStorage(tmp_path / f"storage-{at}-{before}")
    access = Access(store, clock)
    agreement = await access.create_agreement(
        tenant="acme", workflows=["*"], valid_until=clock.now() + HOUR, by="admin"
    )
    log = EventLog(store)
    await make(Ledger(store, log, clock, Limits()), agreement, [*WAITING, *FINAL])
    if revoked:
        await access.revoke_agreement(agreement.id, by="admin")
    clock.set(clock.now() + HOUR)
    died = False
    for opened in (Mortal(store, at, before=before), store):
        ledger = Ledger(opened, log, clock, Limits())  # type: ignore[arg-type]  # a stand-in
        service = JobService(opened, storage, ledger, log, clock)  # type: ignore[arg-type]  # same

        async def purge(job: Job, service: JobService = service) -> None:
            await service.purge(job.tenant, job.id)

        try:
            await kind(opened, ledger, clock, purge).keep()  # type: ignore[arg-type]  # same
        except BaseException as exc:
            if not isinstance(exc, Death | BaseExceptionGroup):
                raise
            died = True
    jobs = await store.jobs(JobQuery(agreement=agreement.id, limit=100))
    kinds = [event.type for event in await store.events(agreement.id)]
    assert kinds.count("AgreementEnded") == (0 if revoked else 1)
    return died, list(jobs)


async def undone(kind: type[AgreementKeeper], tmp_path: Path, *, revoked: bool) -> int:
    """Return how many jobs are left open, over deaths at every write."""
    left = 0
    for before in (True, False):
        at = 1
        died = True
        while died:
            died, jobs = await live_and_die(kind, tmp_path, at=at, before=before, revoked=revoked)
            left += sum(not job.is_final or (revoked and not job.purged) for job in jobs)
            at += 1
        assert at > 3, "it never died"
    return left


@pytest.mark.parametrize("revoked", [False, True])
async def test_after_a_death_at_any_write_the_next_one_leaves_nothing_open(
    tmp_path: Path, *, revoked: bool
) -> None:
    assert await undone(AgreementKeeper, tmp_path, revoked=revoked) == 0


@pytest.mark.parametrize("revoked", [False, True])
async def test_control_who_says_done_before_it_is_leaves_jobs_open(
    tmp_path: Path, *, revoked: bool
) -> None:
    assert await undone(Careless, tmp_path, revoked=revoked) > 0


KEEP = """
import sys, anyio
from pathlib import Path
from longshore.clock import SystemClock
from longshore.deadlines import Limits
from longshore.eventlog import EventLog
from longshore.ledger import Ledger
from longshore.service import JobService
from longshore.storages.local import LocalStorage
from longshore.stores.sqlite import open_sqlite
from longshore.supervisor import AgreementKeeper

async def main():
    home = Path(sys.argv[1])
    async with open_sqlite(home / "state.db") as store:
        clock, log = SystemClock(), EventLog(store)
        ledger = Ledger(store, log, clock, Limits())
        service = JobService(store, LocalStorage(home / "storage"), ledger, log, clock)
        print("ready", flush=True)
        keeper = AgreementKeeper(
            store, ledger, clock, lambda job: service.purge(job.tenant, job.id)
        )
        await keeper.keep()

anyio.run(main)
"""


@pytest.mark.thorough
@pytest.mark.kill
@pytest.mark.timeout(120)
async def test_a_keeper_that_is_killed_again_and_again_gets_everything_done(
    tmp_path: Path,
) -> None:
    clock = FakeClock(datetime.now(UTC))
    jobs = 300
    async with open_sqlite(tmp_path / "state.db") as store:
        access = Access(store, clock)
        agreement = await access.create_agreement(tenant="acme", workflows=["*"], by="admin")
        storage = LocalStorage(tmp_path / "storage")
        ledger = Ledger(store, EventLog(store), clock, Limits())
        made: list[Job] = []

        async def submit(number: int) -> None:
            job = make_job(number, agreement=agreement.id)
            made.append(await ledger.open(job, queue=number % 2 == 0))
            await give_output(storage, store, job)

        async with anyio.create_task_group() as tasks:
            for number in range(jobs):
                tasks.start_soon(submit, number)
        await access.revoke_agreement(agreement.id, by="admin")

        async def progress() -> int:
            return len(await store.jobs(JobQuery(agreement=agreement.id, purged=True, limit=jobs)))

        killed = 0
        while (before := await progress()) < jobs:
            process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                [sys.executable, "-c", KEEP, str(tmp_path)], stdout=subprocess.PIPE
            )
            with anyio.move_on_after(30):
                while process.poll() is None and await progress() < min(jobs, before + 60):  # noqa: ASYNC110 - another process makes it
                    await anyio.sleep(0.002)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
            process.communicate()
        assert killed >= 2
        for job in made:
            events = await store.events(job.id)
            kinds = [event.type for event in events]
            assert kinds[-2:] == ["JobFailed", "BytesPurged"], "stopped and purged, once each"
        assert [one async for one in storage.walk(f"{store.instance}/")] == []
