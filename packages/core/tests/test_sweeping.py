"""Uploads that a killed process has begun do not stay for ever, and no others go."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from longshore.embedded import open_embedded
from longshore.errors import StorageUnavailable
from longshore.ids import new_id
from longshore.models import AnnouncedInput, Input, JobRequest, Workflow
from longshore.service import JobService
from longshore.storages.local import LocalStorage
from longshore.stores.abc import Store
from longshore.supervisor import UploadSweeper
from longshore.testing.fakes import FakeClock
from longshore.transfer import UploadTicket

pytestmark = pytest.mark.anyio
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
WORKFLOW = Workflow(id="dummy", command=("true",), inputs={"data": Input(name="data")})
ANNOUNCED = JobRequest(workflow="dummy", inputs={"data": AnnouncedInput(size=6)})


@pytest.fixture
def storage(tmp_path: Path, clock: FakeClock) -> LocalStorage:
    return LocalStorage(tmp_path / "storage", clock)


@pytest.fixture
def sweeper(store: Store, storage: LocalStorage, clock: FakeClock) -> UploadSweeper:
    return UploadSweeper(store, storage, clock)


@pytest.fixture
async def job_id(service: JobService, store: Store) -> str:
    """A job that waits for an upload."""
    await store.put_workflow(WORKFLOW, origin="code")
    return (await service.submit("acme", ANNOUNCED)).job.id


def left(storage: LocalStorage) -> set[str]:
    return {path.name for path in storage._uploads.iterdir()}


async def begin(storage: LocalStorage) -> UploadTicket:
    """Return an upload of a process that was killed before it kept the ticket."""
    return await storage.prepare_upload("instance/acme/job/inputs/data", max_size=6)


async def test_what_no_job_knows_goes_after_a_day(
    sweeper: UploadSweeper, storage: LocalStorage, clock: FakeClock
) -> None:
    old = await begin(storage)
    storage._uploads.joinpath(f"{old.upload_id}.draft").touch()
    storage._uploads.joinpath(f"{old.upload_id}.parts").touch()
    await clock.advance(DAY)
    young = await begin(storage)
    await sweeper.sweep(storage)
    assert old.upload_id in left(storage)  # a day is not over before it is

    await clock.advance(MINUTE)
    await sweeper.sweep(storage)

    assert left(storage) == {young.upload_id}


async def test_what_an_unfinished_job_waits_for_stays_however_old_it_is(
    sweeper: UploadSweeper,
    storage: LocalStorage,
    store: Store,
    service: JobService,
    clock: FakeClock,
    job_id: str,
) -> None:
    (transfer,) = await store.transfers(job_id)
    await begin(storage)
    await clock.advance(30 * DAY)

    await sweeper.sweep(storage)
    assert left(storage) == {transfer.ticket.upload_id}

    await service.cancel("acme", job_id)
    await storage.prepare_upload("a/b", max_size=1)
    await sweeper.sweep(storage)
    assert transfer.ticket.upload_id not in left(storage)


async def test_it_sweeps_at_the_start_and_every_day(
    sweeper: UploadSweeper, storage: LocalStorage, clock: FakeClock
) -> None:
    for _ in range(2):
        await begin(storage)
        await clock.advance(DAY + MINUTE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sweeper.run)
        await asleep(clock)
        assert not left(storage)

        await begin(storage)
        await clock.advance(DAY + MINUTE)
        await asleep(clock)
        await clock.advance(DAY)
        await asleep(clock)
        assert not left(storage)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("error", "later"),
    [(StorageUnavailable("away"), 10 * MINUTE), (ValueError("a plug-in's defect"), DAY)],
)
async def test_a_storage_that_cannot_be_asked_is_asked_again(
    sweeper: UploadSweeper,
    storage: LocalStorage,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    later: timedelta,
) -> None:
    await begin(storage)
    await clock.advance(2 * DAY)
    listing = storage.unfinished

    async def away(*, before: datetime) -> Sequence[UploadTicket]:
        raise error

    monkeypatch.setattr(storage, "unfinished", away)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sweeper.run)
        await asleep(clock)
        monkeypatch.setattr(storage, "unfinished", listing)
        await clock.advance(later)
        await asleep(clock)
        assert not left(storage)
        tasks.cancel_scope.cancel()


async def test_a_service_sweeps_when_it_begins_to_supervise(tmp_path: Path) -> None:
    table = {"workflows": {"shipped": False}, "backends": {"local": {"isolation": "none"}}}
    async with open_embedded(tmp_path, table=table, detach=False) as embedded:
        storage = embedded.host.storage
        assert isinstance(storage, LocalStorage)
        storage._uploads.joinpath(new_id(datetime.now(UTC) - 2 * DAY)).touch()
        embedded.engage()
        await until(lambda: not left(storage))


async def asleep(clock: FakeClock) -> None:
    """Return when the sweeper, whose work is in threads, waits for its next time."""
    await until(lambda: clock.sleepers)


async def until(holds: Callable[[], object]) -> None:
    with anyio.fail_after(10):
        while not holds():  # noqa: ASYNC110 - a thread's work sets no event
            await anyio.sleep(0.001)
