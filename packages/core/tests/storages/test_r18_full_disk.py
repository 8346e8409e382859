"""R18, the storage's half: a full disk is said, leaves nothing, and is forgotten once healed."""

import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from longshore.blobs import BlobUrls, Grant, Secret
from longshore.errors import ChecksumMismatch, StorageUnavailable
from longshore.models import Input, Output
from longshore.staging import FileTransport, StagingFailed, stage_in, stage_out
from longshore.storages import local
from longshore.storages.local import LocalStorage
from longshore.transfer import (
    Audience,
    PlannedInput,
    PlannedOutput,
    TransferPlan,
    UploadReceipt,
    UploadTicket,
)

Upload = Callable[..., Awaitable[tuple[UploadTicket, UploadReceipt]]]
Chunks = Callable[..., AsyncIterator[bytes]]
HOUR = timedelta(hours=1)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0,
        reason="a small disk needs Linux and root (mount -t tmpfs)",
    ),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB and 40 files."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "tmpfs", str(place)]
    subprocess.run(["mount", *options], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def storage(disk: Path) -> LocalStorage:
    return LocalStorage(disk / "storage")


@contextlib.contextmanager
def no_files_left(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    filler.mkdir()
    with contextlib.suppress(OSError):
        for number in range(100):
            (filler / str(number)).touch()
    yield
    for path in filler.iterdir():
        path.unlink()


def used(disk: Path) -> int:
    state = os.statvfs(disk)
    return (state.f_blocks - state.f_bfree) * state.f_bsize


async def check_a_full_disk_is_said(storage: LocalStorage, chunks: Chunks, key: str) -> None:
    """The property: what does not fit raises, leaves nothing, and takes no room."""
    with pytest.raises(StorageUnavailable, match="no space left"):
        await storage.write(key, chunks(b"x" * 700_000, b"x" * 700_000))
    assert await storage.stat(key) is None
    assert used(storage._uploads) < 100_000


async def test_a_write_that_does_not_fit_leaves_nothing(
    storage: LocalStorage, chunks: Chunks, key: str
) -> None:
    await check_a_full_disk_is_said(storage, chunks, key)
    assert (await storage.write(key, chunks(b"x" * 700_000))).size == 700_000


async def test_control_where_the_error_is_dropped_the_storage_lies(
    storage: LocalStorage, chunks: Chunks, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = local._append

    def careless(path: Path, data: bytes) -> None:
        with contextlib.suppress(OSError):
            append(path, data)

    monkeypatch.setattr(local, "_append", careless)
    with pytest.raises(pytest.fail.Exception):
        await check_a_full_disk_is_said(storage, chunks, key)


def send_part(storage: LocalStorage, ticket: UploadTicket, number: int, size: int) -> None:
    at = (number - 1) * ticket.part_size
    whole = ticket.max_size <= ticket.part_size
    grant = Grant(
        method="PUT",
        key=ticket.key,
        expires=2**33,
        upload=ticket.upload_id,
        part=0 if whole else number,
        at=at,
        size=ticket.part_size,
    )
    arriving = storage.arrive(grant)
    try:
        arriving.write(b"x" * size)
        arriving.hash(b"x" * size)
        arriving.finish()
    finally:
        arriving.close()


@pytest.fixture
def served(disk: Path) -> LocalStorage:
    """The storage of a server, whose uploads have parts of 400,000 bytes."""
    urls = BlobUrls(secret=Secret(b"s" * 32), public="http://here")
    return LocalStorage(disk / "storage", None, urls, part_size=400_000)


async def test_a_request_that_does_not_fit_gives_its_room_back(
    disk: Path, key: str, served: LocalStorage
) -> None:
    storage = LocalStorage(disk / "storage", None, None)
    ticket = await storage.prepare_upload(key, max_size=2_000_000)
    with pytest.raises(StorageUnavailable, match="no space left"):
        send_part(storage, ticket, 1, 2_000_000)
    assert used(disk) < 100_000
    assert await storage.sent(ticket) == ()


async def test_parts_that_fitted_before_the_disk_was_full_are_not_sent_again(
    disk: Path, key: str, served: LocalStorage
) -> None:
    filler = disk / "filler"
    filler.write_bytes(bytes(400_000))
    ticket = await served.prepare_upload(key, max_size=800_000)
    send_part(served, ticket, 1, 400_000)
    with pytest.raises(StorageUnavailable, match="no space left"):
        send_part(served, ticket, 2, 400_000)
    assert [one.number for one in await served.sent(ticket)] == [1]
    with pytest.raises(ChecksumMismatch):
        await served.commit(ticket, UploadReceipt(size=800_000))
    assert await served.stat(key) is None
    filler.unlink()
    send_part(served, ticket, 2, 400_000)
    assert (await served.commit(ticket, UploadReceipt(size=800_000))).size == 800_000


async def test_without_room_to_write_down_that_it_came_a_part_has_not_come(
    served: LocalStorage, disk: Path, key: str
) -> None:
    ticket = await served.prepare_upload(key, max_size=7)
    with no_files_left(disk), pytest.raises(StorageUnavailable, match="no space left"):
        send_part(served, ticket, 1, 7)
    assert await served.sent(ticket) == ()
    send_part(served, ticket, 1, 7)
    assert (await served.commit(ticket, UploadReceipt())).size == 7


async def test_a_commit_without_room_for_a_name_succeeds_once_there_is(
    storage: LocalStorage, upload: Upload, disk: Path, key: str
) -> None:
    ticket, receipt = await upload(storage, b"content")
    with no_files_left(disk):
        with pytest.raises(StorageUnavailable, match="no space left"):
            await storage.commit(ticket, receipt)
        assert await storage.stat(key) is None
    assert (await storage.commit(ticket, receipt)).size == 7


async def test_an_upload_is_not_opened_without_room_for_it(
    storage: LocalStorage, disk: Path, key: str
) -> None:
    with no_files_left(disk), pytest.raises(StorageUnavailable, match="no space left"):
        await storage.prepare_upload(key, max_size=1)


async def make_plan(storage: LocalStorage, *outputs: str) -> tuple[TransferPlan, UploadTicket]:
    signed, tickets = {}, {}
    for name in (*outputs, "log", "manifest"):
        tickets[name] = await storage.prepare_upload(f"i/t/j/1/{name}", max_size=10**8)
        signed[name] = await storage.sign_upload(tickets[name], audience=Audience.JOB, expires=HOUR)
    plan = TransferPlan(
        job_id="j",
        attempt=1,
        outputs=tuple(PlannedOutput(name=name, upload=signed[name]) for name in outputs),
        log=signed["log"],
        manifest=signed["manifest"],
        valid_until=datetime(2030, 1, 1, tzinfo=UTC),
    )
    return plan, tickets["manifest"]


async def test_an_output_that_does_not_fit_is_a_problem_in_the_manifest(
    storage: LocalStorage, disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(b"x" * 2_000_000)
    (tmp_path / "small").write_bytes(b"x")
    plan, ticket = await make_plan(storage, "large", "small")
    manifest = stage_out(
        plan,
        [Output(name="large"), Output(name="small")],
        {"large": tmp_path / "large", "small": tmp_path / "small"},
        log=tmp_path / "log",
        log_cap=1000,
        outcome=None,
        started_at=None,
        ended_at=None,
        transport=FileTransport(),
    )
    (problem,) = manifest.problems
    assert (problem.name, problem.code) == ("large", "output-unavailable")
    assert "No space left" in problem.message
    assert [entry.name for entry in manifest.outputs] == ["small"]
    assert (await storage.commit(ticket, UploadReceipt())).size > 0
    assert used(disk) < 100_000


async def test_an_input_that_does_not_fit_on_the_workers_disk_fails_with_disk(
    disk: Path, tmp_path: Path, chunks: Chunks
) -> None:
    storage = LocalStorage(tmp_path / "large storage")
    await storage.write("i/large", chunks(b"x" * 2_000_000))
    request = await storage.sign_read("i/large", audience=Audience.JOB, expires=HOUR)
    plan, _ = await make_plan(storage)
    planned = PlannedInput(name="large", request=request, size=2_000_000)
    with pytest.raises(StagingFailed) as caught:
        stage_in(
            TransferPlan(
                job_id="j",
                attempt=1,
                inputs=(planned,),
                log=plan.log,
                manifest=plan.manifest,
                valid_until=plan.valid_until,
            ),
            [Input(name="large")],
            {"large": disk / "large"},
            FileTransport(),
        )
    assert caught.value.code == "disk"
