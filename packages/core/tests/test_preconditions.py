"""Of two callers who have seen the same job, one changes it."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from longshore import service as service_module
from longshore.errors import Conflict, PreconditionFailed
from longshore.jobs import Step
from longshore.ledger import Ledger
from longshore.models import AnnouncedInput, Input, Job, JobRequest, JobState, Workflow
from longshore.service import JobService
from longshore.staging.transport import FileTransport
from longshore.storages.local import LocalStorage
from longshore.stores.abc import Store
from longshore.testing.storage_backend import _send

pytestmark = pytest.mark.anyio
WORKFLOW = Workflow(id="dummy", command=("true",), inputs={"data": Input(name="data")})
_CONTENT = b"abc"
ANNOUNCED = JobRequest(workflow="dummy", inputs={"data": AnnouncedInput(size=len(_CONTENT))})


@pytest.fixture
async def job(service: JobService, store: Store, storage: LocalStorage) -> Job:
    """A job whose input was uploaded, and nobody has looked at that yet."""
    await store.put_workflow(WORKFLOW, origin="code")
    job = (await service.submit("acme", ANNOUNCED)).job
    (transfer,) = await store.transfers(job.id, 0)
    await _send(storage, FileTransport(), transfer.ticket, _CONTENT)
    return job


@pytest.fixture
async def ended(service: JobService, job: Job) -> Job:
    return await service.cancel("acme", job.id)


Act = Callable[..., Awaitable[Job]]


async def race(act: Act, job: Job, callers: int = 5) -> list[str]:
    """Return how callers who have all seen ``job`` as it is come off."""
    said: list[str] = []

    async def ask() -> None:
        try:
            await act("acme", job.id, expected=job.seq)
            said.append("done")
        except PreconditionFailed:
            said.append("refused")

    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(ask)
    return sorted(said)


ONE = ["done", *["refused"] * 4]


async def test_one_of_many_cancels(service: JobService, job: Job) -> None:
    assert await race(service.cancel, job) == ONE


async def test_one_of_many_purges(service: JobService, ended: Job) -> None:
    assert await race(service.purge, ended) == ONE


async def test_one_of_many_starts_what_needs_nothing(
    service: JobService, ledger: Ledger, job: Job
) -> None:
    receive = Step(None, {"inputs": ("data",)}, "InputReceived")
    fed = await ledger.change(job.id, lambda _: receive)

    assert await race(service.start, fed) == ONE
    assert (await service.job("acme", job.id)).state is JobState.QUEUED


async def test_a_start_commits_what_was_uploaded_and_is_not_refused_for_it(
    service: JobService, job: Job
) -> None:
    started = await service.start("acme", job.id, expected=job.seq)

    assert (started.state, started.inputs) == (JobState.QUEUED, ("data",))


async def test_who_cancels_and_who_starts_are_not_both_told_yes(
    service: JobService, job: Job
) -> None:
    done: list[str] = []

    async def ask(name: str, act: Act) -> None:
        try:
            await act("acme", job.id, expected=job.seq)
            done.append(name)
        except Conflict:  # also what the other one has left of the upload
            pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "start", service.start)
        tasks.start_soon(ask, "cancel", service.cancel)

    assert len(done) == 1
    queued = (await service.job("acme", job.id)).state is JobState.QUEUED
    assert done == (["start"] if queued else ["cancel"])


@pytest.mark.parametrize("act", ["start", "cancel"])
async def test_what_has_changed_since_is_left_alone(
    service: JobService, ledger: Ledger, job: Job, act: str
) -> None:
    await ledger.change(job.id, lambda _: Step(None, {}, "Noticed"))
    before = await service.job("acme", job.id)

    with pytest.raises(PreconditionFailed, match=f'at "{before.seq}", not at "{job.seq}"'):
        await getattr(service, act)("acme", job.id, expected=job.seq)

    assert await service.job("acme", job.id) == before


async def test_a_purge_that_is_refused_deletes_nothing(
    service: JobService, ledger: Ledger, storage: LocalStorage, job: Job, ended: Job
) -> None:
    with pytest.raises(PreconditionFailed):
        await service.purge("acme", ended.id, expected=job.seq)

    assert not (await service.job("acme", job.id)).purged


async def test_control_without_the_comparison_all_are_told_yes(
    service: JobService, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "unchanged", lambda now, _: now)

    assert await race(service.cancel, job) == ["done"] * 5
