"""S9: tokens are kept as hashes only, and open nothing once they, or their agreement, are over."""

import contextlib
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from longshore import access as access_module, authentication, policy, service as service_module
from longshore.access import Access
from longshore.errors import Denied, Unauthenticated
from longshore.host import Host, open_host
from longshore.models import Agreement, Caller, Job, JobRequest, JobState, Role, Workflow
from longshore.service import JobService
from longshore.settings import parse_settings
from longshore.stores import sqlite as sqlite_module
from longshore.stores.sqlite import SQLiteStore, open_sqlite
from longshore.testing.fakes import FakeClock

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
T = TypeVar("T")
HOUR = timedelta(hours=1)
FORM = re.compile(rb"ls_[A-Za-z0-9_-]{43}")
DUMMY = JobRequest(workflow="dummy")


@pytest.fixture
def store(sqlite: SQLiteStore) -> SQLiteStore:
    """Return the store with the file that could be stolen."""
    return sqlite


async def lets_in(access: Access, text: str) -> Caller | None:
    try:
        return await access.authenticate(text)
    except Unauthenticated:
        return None


# what lies in a store


def texts_of(folder: Path) -> set[str]:
    """Return whatever could be a token in a dump: by its form anywhere, and every text kept."""
    found = {
        match.decode() for file in folder.iterdir() for match in FORM.findall(file.read_bytes())
    }
    with contextlib.closing(sqlite3.connect(folder / "state.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        for (table,) in tables.fetchall():
            for row in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608 - its own tables
                found |= {value for value in row if isinstance(value, str)}
                found |= {word for value in row for word in re.findall(r"[\w-]+", str(value))}
    return found


async def usable_tokens_in_a_dump(folder: Path, clock: FakeClock) -> set[Role]:
    """Return the roles that a thief of the state's files has."""
    async with open_sqlite(folder / "state.db") as store:
        access = Access(store, clock)
        assert await access.bootstrap() is not None
        agreement = await access.create_agreement(tenant="acme", workflows=["*"], by="admin")
        issued = await access.issue_token(agreement.id, by="admin")
        await access.authenticate(issued.text)
        stolen = texts_of(folder)
        assert issued.token.id in stolen
        callers = [await lets_in(Access(store, clock), text) for text in stolen]
    return {caller.role for caller in callers if caller is not None}


async def test_a_dump_of_the_state_holds_no_usable_token(tmp_path: Path, clock: FakeClock) -> None:
    assert await usable_tokens_in_a_dump(tmp_path, clock) == set()


async def test_control_tokens_that_are_kept_as_they_are_sent_are_found_in_a_dump(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (access_module, authentication):
        monkeypatch.setattr(module, "token_digest", lambda text: text)
    assert await usable_tokens_in_a_dump(tmp_path, clock) == {Role.ADMIN, Role.CONSUMER}


# revocation


async def works_after_its_revocation(access: Access, agreement: Agreement) -> bool:
    issued = await access.issue_token(agreement.id, by="admin")
    await access.authenticate(issued.text)
    await access.revoke_token(agreement.id, issued.token.id, by="admin")
    return await lets_in(access, issued.text) is not None


async def test_a_revoked_token_opens_nothing(access: Access, agreement: Agreement) -> None:
    assert not await works_after_its_revocation(access, agreement)


async def test_control_with_what_is_remembered_a_revoked_token_still_works(
    access: Access, agreement: Agreement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Access, "forget", lambda _: None)
    assert await works_after_its_revocation(access, agreement)


# the end of the agreement


async def submits(service: JobService, agreement: Agreement | None) -> bool:
    try:
        await service.submit("acme", DUMMY, agreement=agreement)
    except Denied:
        return False
    return True


@pytest.fixture
async def dummy(store: SQLiteStore) -> Workflow:
    workflow = Workflow(id="dummy", command=("true",))
    await store.put_workflow(workflow, origin="code")
    return workflow


async def submits_after_the_end(
    service: JobService, access: Access, agreement: Agreement, clock: FakeClock
) -> bool:
    """Say whether the holder of a token submits at the end, which the keeper has not seen yet."""
    issued = await access.issue_token(agreement.id, by="admin")
    assert await submits(service, (await access.authenticate(issued.text)).agreement)
    assert agreement.valid_until is not None
    clock.set(agreement.valid_until)
    return await submits(service, (await access.authenticate(issued.text)).agreement)


async def test_an_agreement_that_has_ended_lets_nobody_submit(
    service: JobService, access: Access, agreement: Agreement, clock: FakeClock, dummy: Workflow
) -> None:
    assert not await submits_after_the_end(service, access, agreement, clock)


async def test_control_without_the_policy_an_agreement_that_has_ended_submits(
    service: JobService,
    access: Access,
    agreement: Agreement,
    clock: FakeClock,
    dummy: Workflow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy, "standing", lambda *_: None)
    assert await submits_after_the_end(service, access, agreement, clock)


async def submits_on_what_was_remembered(
    service: JobService, access: Access, agreement: Agreement
) -> bool:
    """Say whether a submission gets through that began before the agreement was revoked."""
    issued = await access.issue_token(agreement.id, by="admin")
    remembered = (await access.authenticate(issued.text)).agreement
    await access.revoke_agreement(agreement.id, by="admin")
    return await submits(service, remembered)


async def test_a_submission_that_a_revocation_overtakes_is_refused(
    service: JobService, access: Access, agreement: Agreement, dummy: Workflow
) -> None:
    assert not await submits_on_what_was_remembered(service, access, agreement)


async def test_control_without_the_check_in_its_commit_such_a_submission_gets_through(
    service: JobService,
    access: Access,
    agreement: Agreement,
    dummy: Workflow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unchecked = sqlite_module._INSERT_JOB.replace("WHERE ", "WHERE 1 OR ")
    monkeypatch.setattr(sqlite_module, "_INSERT_JOB", unchecked)
    assert await submits_on_what_was_remembered(service, access, agreement)


async def test_control_without_its_check_a_job_that_waited_starts_after_the_end(
    service: JobService,
    agreement: Agreement,
    clock: FakeClock,
    dummy: Workflow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = JobRequest(workflow="dummy", start=False)
    job = (await service.submit("acme", request, agreement=agreement)).job
    clock.set(clock.now() + 2 * HOUR)
    with pytest.raises(Denied):
        await service.start("acme", job.id)
    monkeypatch.setattr(service_module, "standing", lambda *_: None)
    assert (await service.start("acme", job.id)).state is JobState.QUEUED


# with a real worker


@asynccontextmanager
async def real_host(home: Path) -> AsyncIterator[Host]:
    """Open a host that runs workers as plain processes."""
    table = {
        "workflows": {"shipped": False},
        "backends": {"local": {"isolation": "none"}},
        "deadlines": {"stop_grace": "1s"},
    }
    workflow = Workflow(id="dummy", command=("sh", "-c", "echo begun; exec sleep 1000"))
    async with (
        open_host(parse_settings(table), home, workflows=[workflow]) as host,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(host.supervise)
        yield host
        tasks.cancel_scope.cancel()


async def until(read: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """Return what is read when it is so; fail after a while."""
    with anyio.fail_after(40):
        while not holds(found := await read()):  # noqa: ASYNC110 - a process makes it so
            await anyio.sleep(0.02)
    return found


async def running(host: Host, agreement: Agreement) -> Job:
    job = (await host.service.submit("acme", DUMMY, agreement=agreement, by="t")).job
    return await reached(host, job, lambda job: job.state is JobState.RUNNING)


async def reached(host: Host, job: Job, holds: Callable[[Job], bool]) -> Job:
    return await until(lambda: host.service.job("acme", job.id), holds)


async def objects_of(host: Host, job: Job) -> list[str]:
    return [
        one.key
        async for one in host.storage.walk(f"{host.store.instance}/acme/")
        if job.id in one.key
    ]


async def test_at_the_end_of_its_agreement_a_running_worker_is_stopped_and_its_results_are_kept(
    tmp_path: Path,
) -> None:
    async with real_host(tmp_path) as host:
        agreement = await host.access.create_agreement(
            tenant="acme",
            workflows=["dummy"],
            valid_until=host.clock.now() + timedelta(seconds=3),
            by="admin",
        )
        issued = await host.access.issue_token(agreement.id, by="admin")
        job = await reached(host, await running(host, agreement), lambda job: job.is_final)
        assert job.reason is not None
        assert (job.state, job.reason.code) == (JobState.FAILED, "agreement")
        assert job.finished_at is not None
        assert agreement.valid_until is not None
        assert agreement.valid_until <= job.finished_at
        assert job.finished_at - agreement.valid_until < timedelta(seconds=30)
        assert await objects_of(host, job), "the log stays readable"
        caller = await host.access.authenticate(issued.text)
        assert caller.tenant == "acme"
        assert not await submits(host.service, caller.agreement)


async def test_after_a_revocation_a_running_worker_is_stopped_and_nothing_of_it_is_left(
    tmp_path: Path,
) -> None:
    async with real_host(tmp_path) as host:
        agreement = await host.access.create_agreement(
            tenant="acme", workflows=["dummy"], by="admin"
        )
        issued = await host.access.issue_token(agreement.id, by="admin")
        job = await running(host, agreement)
        await host.access.revoke_agreement(agreement.id, by="admin", why="broken contract")
        job = await reached(host, job, lambda job: job.purged)
        assert job.reason is not None
        assert (job.state, job.reason.code) == (JobState.FAILED, "agreement")
        assert await objects_of(host, job) == []
        assert await lets_in(host.access, issued.text) is None

        await until(lambda: host.access.agreement(agreement.id), lambda it: it.due_at is None)
