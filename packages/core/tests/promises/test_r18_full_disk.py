"""R18: a full disk refuses and does not lie. What was accepted is there, and goes on afterwards."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from longshore.deadlines import Limits
from longshore.errors import StoreUnavailable
from longshore.eventlog import EventLog
from longshore.jobs import Step, replay
from longshore.ledger import Ledger
from longshore.lifecycle import JobState
from longshore.models import Job, JobRequest, Workflow
from longshore.service import JobService
from longshore.storages.local import LocalStorage
from longshore.stores import groupcommit
from longshore.stores.abc import JobQuery
from longshore.stores.sqlite import SQLiteStore, open_sqlite
from longshore.supervisor import DeadlineKeeper
from longshore.testing.fakes import FakeClock

pytestmark = pytest.mark.anyio

TENANT = "acme"
#: a request that needs a few pages
REQUEST = JobRequest(workflow="fill", parameters={"text": "x" * 3000})
WORKFLOW = Workflow(
    id="fill",
    command=("true",),
    parameters={"type": "object", "properties": {"text": {"type": "string"}}},
)


#: what is taken away from the disk, to be given back when it is healed
BALLAST = b"x" * 600_000


class Service:
    """A service whose state is on a small disk and whose bytes are elsewhere."""

    def __init__(self, store: SQLiteStore, disk: Path, storage: Path) -> None:
        self.store = store
        self.clock = FakeClock()
        log = EventLog(store)
        self.ledger = Ledger(store, log, self.clock, Limits())
        self.jobs = JobService(store, LocalStorage(storage), self.ledger, log, self.clock)
        self.ballast = disk / "ballast"
        self.accepted: list[str] = []

    async def submit(self, key: str | None = None) -> Job:
        job = (await self.jobs.submit(TENANT, REQUEST, key=key)).job
        self.accepted.append(job.id)
        return job

    async def fill(self) -> None:
        """Submit until the disk is full."""
        self.ballast.write_bytes(BALLAST)
        with suppress(StoreUnavailable):
            for number in range(10_000):
                await self.submit(f"key {number}")

    async def fill_at_once(self) -> int:
        """Submit much at once, more than there is room for; return how many were refused."""
        refused: list[int] = []

        async def submit(number: int) -> None:
            try:
                await self.submit(f"key {number}")
            except StoreUnavailable:
                refused.append(number)

        self.ballast.write_bytes(BALLAST)
        async with anyio.create_task_group() as tasks:
            for number in range(400):
                tasks.start_soon(submit, number)
        return len(refused)

    async def assert_holds_what_was_accepted(self) -> None:
        """Look at the file, past every memory of the service."""
        async with open_sqlite(self.store._path) as looking:
            stored = await looking.jobs(JobQuery(limit=100_000))
            assert {job.id for job in stored} == set(self.accepted)
            log = await looking.log(after=0, limit=100_000)
        assert [event.position for event in log] == list(range(1, len(log) + 1))
        for job in stored:
            assert replay(event for event in log if event.job_id == job.id) == job


@asynccontextmanager
async def open_service(disk: Path, storage: Path) -> AsyncIterator[Service]:
    async with open_sqlite(disk / "state.db") as store:
        await store.put_workflow(WORKFLOW, origin="code")
        yield Service(store, disk, storage)


@pytest.fixture
async def service(small_disk: Path, tmp_path: Path) -> AsyncIterator[Service]:
    async with open_service(small_disk, tmp_path / "storage") as service:
        yield service


async def test_no_submission_returns_before_it_is_on_the_disk(service: Service) -> None:
    for _ in range(3):
        await service.submit()
        await service.assert_holds_what_was_accepted()


async def test_a_full_disk_refuses_every_change_and_nothing_accepted_is_lost(
    service: Service,
) -> None:
    await service.fill()
    assert service.accepted
    refused = JobRequest(workflow="fill", parameters={"text": "x" * 60_000})
    with pytest.raises(StoreUnavailable, match="nothing was changed") as said:
        await service.jobs.submit(TENANT, refused)
    assert said.value.hint.startswith("free space")
    service.ballast.unlink()
    await service.assert_holds_what_was_accepted()


async def test_reading_goes_on_while_the_disk_is_full(service: Service) -> None:
    await service.fill()
    first = service.accepted[0]
    assert (await service.jobs.job(TENANT, first)).id == first
    assert len(await service.jobs.jobs(TENANT, JobQuery(limit=10_000))) == len(service.accepted)
    assert [event.seq for event in await service.jobs.events(TENANT, first)] == [1, 2]


async def test_of_many_submissions_at_once_exactly_the_accepted_are_there(
    service: Service,
) -> None:
    assert await service.fill_at_once() > 0
    assert service.accepted
    service.ballast.unlink()
    await service.assert_holds_what_was_accepted()


async def test_after_the_disk_is_healed_everything_goes_on(service: Service) -> None:
    await service.fill()
    refused = len(service.accepted)
    service.ballast.unlink()
    again = await service.submit(f"key {refused}")  # the consumer repeats what was refused
    assert (await service.jobs.submit(TENANT, REQUEST, key=f"key {refused}")).job.id == again.id
    for job_id in service.accepted:
        assert (await service.jobs.cancel(TENANT, job_id)).state is JobState.CANCELED
    await service.assert_holds_what_was_accepted()


async def test_a_change_that_is_refused_leaves_the_job_as_it_was(service: Service) -> None:
    await service.fill()
    job = await service.jobs.job(TENANT, service.accepted[0])
    large = Step(None, {"parameters": {"text": "x" * 100_000}}, "Noted")
    with pytest.raises(StoreUnavailable):
        await service.ledger.change(job.id, lambda _: large)
    assert await service.jobs.job(TENANT, job.id) == job
    service.ballast.unlink()
    assert (await service.ledger.change(job.id, lambda _: large)).seq == job.seq + 1


async def test_deadlines_that_pass_while_the_disk_is_full_are_kept_when_it_is_healed(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    await service.fill()
    with suppress(OSError):
        (service.ballast.parent / "more").write_bytes(b"x" * 1_000_000)
    service.clock.set(service.clock.now() + Limits().queue)
    keeper = DeadlineKeeper(service.store, service.ledger, service.clock)
    with suppress(StoreUnavailable):  # a few may fit into what the log had left
        while await service.store.next_due():
            await keeper.expire_due()
    assert await service.store.next_due() is not None, "the disk was not full"
    service.ballast.unlink()
    while await service.store.next_due():
        await keeper.expire_due()
    for job_id in service.accepted:
        assert (await service.jobs.job(TENANT, job_id)).state is JobState.FAILED


async def test_what_was_accepted_is_there_after_the_service_starts_again(
    small_disk: Path, tmp_path: Path
) -> None:
    async with open_service(small_disk, tmp_path / "storage") as service:
        await service.fill()
    service.ballast.unlink()
    async with open_service(small_disk, tmp_path / "storage") as again:
        again.accepted = service.accepted
        await again.submit()
        await again.assert_holds_what_was_accepted()


def lying(
    commit: Callable[[groupcommit.GroupCommit, list[groupcommit.Write]], list[Any]],
) -> Callable[[groupcommit.GroupCommit, list[groupcommit.Write]], list[Any]]:
    """Return a commit that says of everything that it is done."""

    def commit_and_lie(self: groupcommit.GroupCommit, writes: list[groupcommit.Write]) -> list[Any]:
        # what an add returns is its job; here the caller's own, taken from its closure
        mine = [
            next(
                (cell.cell_contents for cell in write.__closure__ or () if _is_job(cell)),
                None,
            )
            for write in writes
        ]
        done = commit(self, writes)
        return [
            job if isinstance(result, StoreUnavailable) else result
            for job, result in zip(mine, done, strict=True)
        ]

    return commit_and_lie


def _is_job(cell: Any) -> bool:
    return isinstance(cell.cell_contents, Job)


async def test_control_a_writer_that_hides_a_full_disk_is_found(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groupcommit.GroupCommit, "_commit", lying(groupcommit.GroupCommit._commit))
    assert await service.fill_at_once() == 0
    service.ballast.unlink()
    with pytest.raises(AssertionError):
        await service.assert_holds_what_was_accepted()
