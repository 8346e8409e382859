"""What the tests of the core share: a clock that stands, stores, and a disk that is soon full."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings

from longshore.access import Access, Issued
from longshore.deadlines import Limits
from longshore.eventlog import EventLog
from longshore.ledger import Ledger
from longshore.models import Agreement
from longshore.service import JobService
from longshore.storages.local import LocalStorage
from longshore.stores.abc import Store
from longshore.stores.sqlite import SQLiteStore, open_sqlite
from longshore.supervisor import AgreementKeeper
from longshore.testing.fakes import FakeClock
from longshore.testing.memory_store import MemoryStore

#: ``pytest --hypothesis-profile nightly``: as much as a night allows
settings.register_profile("nightly", max_examples=5000, deadline=None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    async with open_sqlite(tmp_path / "state.db") as store:
        yield store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    async with open_sqlite(tmp_path / "state.db") as opened:
        yield opened


@pytest.fixture
def log(store: Store) -> EventLog:
    return EventLog(store)


@pytest.fixture
def ledger(store: Store, log: EventLog, clock: FakeClock, limits: Limits) -> Ledger:
    return Ledger(store, log, clock, limits)


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


@pytest.fixture
def service(
    store: Store, storage: LocalStorage, ledger: Ledger, log: EventLog, clock: FakeClock
) -> JobService:
    return JobService(store, storage, ledger, log, clock)


@pytest.fixture
def keeper(store: Store, ledger: Ledger, clock: FakeClock, service: JobService) -> AgreementKeeper:
    return AgreementKeeper(store, ledger, clock, lambda job: service.purge(job.tenant, job.id))


@pytest.fixture
def access(store: Store, clock: FakeClock) -> Access:
    return Access(store, clock)


@pytest.fixture
async def agreement(access: Access, clock: FakeClock) -> Agreement:
    return await access.create_agreement(
        tenant="acme", workflows=["dummy"], valid_until=clock.now() + timedelta(hours=1), by="admin"
    )


@pytest.fixture
async def issued(access: Access, agreement: Agreement) -> Issued:
    return await access.issue_token(agreement.id, by="admin")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 1 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a small disk needs Linux and root (mount -t tmpfs)")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
