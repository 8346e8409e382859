"""Inputs that are uploaded in parts: what is offered, and when a start believes that all came."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from longshore.blobs import BlobUrls, Secret
from longshore.clock import Clock
from longshore.errors import DataRefused, InputsMissing
from longshore.models import AnnouncedInput, Input, JobRequest, JobState, Workflow
from longshore.service import JobService
from longshore.storages.local import LocalStorage, _grants
from longshore.stores.abc import Store
from longshore.transfer import UploadReceipt

Send = Callable[[str, int, bytes], Awaitable[str]]
PART = 1000
WORKFLOW = Workflow(
    id="copy", command=("true",), inputs={"data": Input(name="data", max_size=5 * PART)}
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def storage(tmp_path: Path, clock: Clock) -> LocalStorage:
    urls = BlobUrls(secret=Secret(b"s" * 32), public="https://here")
    return LocalStorage(tmp_path / "storage", clock, urls, part_size=PART)


@pytest.fixture
def send(store: Store, storage: LocalStorage) -> Send:
    """Send a part of a job's only input."""

    async def send_part(job_id: str, number: int, data: bytes) -> str:
        (transfer,) = await store.transfers(job_id, 0)
        arriving = storage.arrive(list(_grants(transfer.ticket, 2**33, ""))[number - 1])
        try:
            arriving.write(data)
            arriving.hash(data)
            return arriving.finish().tag
        finally:
            arriving.close()

    return send_part


async def submit(service: JobService, store: Store, given: AnnouncedInput | None) -> str:
    await store.put_workflow(WORKFLOW, origin="code")
    inputs = {} if given is None else {"data": given}
    made = await service.submit("acme", JobRequest(workflow="copy", inputs=inputs))
    return made.job.id


async def test_an_upload_is_as_large_as_it_was_announced(service: JobService, store: Store) -> None:
    for given, sizes in (
        (None, [PART] * 5),
        (AnnouncedInput(), [PART] * 5),
        (AnnouncedInput(size=PART + 1), [PART, 1]),
        (AnnouncedInput(size=7), [7]),
    ):
        job_id = await submit(service, store, given)
        signed = await service.upload("acme", job_id, "data")
        assert [signed.size_of(n) for n in range(1, len(signed.parts) + 1)] == sizes


async def test_an_announced_checksum_is_part_of_what_is_signed(
    service: JobService, store: Store
) -> None:
    digest = hashlib.sha256(b"content").hexdigest()
    job_id = await submit(service, store, AnnouncedInput(size=7, sha256=digest))
    (part,) = (await service.upload("acme", job_id, "data")).parts
    assert f"sha256={digest}" in part.url


@pytest.mark.parametrize(
    ("given", "sent", "starts"),
    [
        (None, [7], True),  # shorter than a part: the last
        (None, [PART, 7], True),
        (None, [PART], False),  # perhaps there is more: its sender says so
        (None, [PART] * 5, True),
        (AnnouncedInput(size=2 * PART), [PART], False),
        (AnnouncedInput(size=2 * PART), [PART, PART], True),
    ],
)
async def test_a_start_believes_what_can_be_nothing_but_all(
    service: JobService,
    store: Store,
    send: Send,
    given: AnnouncedInput | None,
    sent: list[int],
    starts: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    job_id = await submit(service, store, given)
    tags = [await send(job_id, n, b"x" * size) for n, size in enumerate(sent, start=1)]
    if starts:
        assert (await service.start("acme", job_id)).state is JobState.QUEUED
        return
    with pytest.raises(InputsMissing):
        await service.start("acme", job_id)
    if given is None:
        receipt = UploadReceipt(parts=tuple(tags))
        assert "data" in (await service.complete_input("acme", job_id, "data", receipt)).inputs
        assert (await service.start("acme", job_id)).state is JobState.QUEUED


async def test_a_checksum_that_is_said_at_the_end_is_compared(
    service: JobService, store: Store, send: Send
) -> None:
    job_id = await submit(service, store, None)
    await send(job_id, 1, b"content")
    with pytest.raises(DataRefused):
        await service.complete_input("acme", job_id, "data", UploadReceipt(sha256="0" * 64))
    right = hashlib.sha256(b"content").hexdigest()
    receipt = UploadReceipt(sha256=right)
    assert "data" in (await service.complete_input("acme", job_id, "data", receipt)).inputs
