import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import attrs
import pytest

from longshore.blobs import BlobUrls
from longshore.clock import Clock, SystemClock
from longshore.errors import NotFound, StorageUnavailable
from longshore.storages.local import LocalStorage, LocalStorageSettings, open_local_storage
from longshore.transfer import Audience, StoredObject, UploadReceipt, UploadTicket

Upload = Callable[..., Awaitable[tuple[UploadTicket, UploadReceipt]]]
Chunks = Callable[..., AsyncIterator[bytes]]

pytestmark = pytest.mark.anyio


class SetClock(Clock):
    """Says what it is told."""

    def __init__(self) -> None:
        self.at = datetime(2030, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    async def sleep(self, delay: timedelta) -> None:
        raise NotImplementedError


@attrs.frozen
class Context:
    state: Path
    clock: Clock = SystemClock()
    blobs: BlobUrls | None = None
    instance: str = "i1"


async def test_the_directory_is_the_settings_or_the_services_own(tmp_path: Path) -> None:
    given, own = tmp_path / "given", tmp_path / "deep" / "own"
    for settings, place in (
        (LocalStorageSettings(directory=given), given),
        (LocalStorageSettings(), own),
    ):
        async with open_local_storage(settings, Context(own)):
            assert sorted(path.name for path in place.iterdir()) == ["objects", "uploads"]


async def test_installations_that_share_a_directory_see_their_own_uploads_alone(
    tmp_path: Path, key: str
) -> None:
    settings, late = LocalStorageSettings(directory=tmp_path), datetime(2999, 1, 1, tzinfo=UTC)
    async with (
        open_local_storage(settings, Context(tmp_path)) as ours,
        open_local_storage(settings, Context(tmp_path, instance="i2")) as theirs,
    ):
        ticket = await theirs.prepare_upload(key, max_size=1)
        assert await ours.unfinished(before=late) == []
        assert [one.id for one in await theirs.unfinished(before=late)] == [ticket.id]


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = LocalStorageSettings(directory=tmp_path / "file" / "storage")
    with pytest.raises(StorageUnavailable, match="cannot open the storage"):
        async with open_local_storage(settings, Context(tmp_path)):
            pass


async def test_tickets_keep_their_order_when_the_clock_stands_or_goes_back(
    tmp_path: Path, key: str
) -> None:
    clock = SetClock()
    storage = LocalStorage(tmp_path, clock)
    ids = []
    for _ in range(50):
        ids.append((await storage.prepare_upload(key, max_size=1)).id)
        clock.at -= timedelta(seconds=1)
    assert ids == sorted(set(ids))


async def test_a_request_says_when_it_expires(tmp_path: Path, key: str) -> None:
    clock = SetClock()
    storage = LocalStorage(tmp_path, clock)
    request = await storage.sign_read(key, audience=Audience.JOB, expires=timedelta(hours=1))
    assert request.expires_at == clock.at + timedelta(hours=1)


async def test_a_cancelled_write_leaves_nothing(storage: LocalStorage, key: str) -> None:
    async def endless(scope: anyio.CancelScope) -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        scope.cancel()
        yield b"x" * 3_000_000
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await storage.write(key, endless(scope))
    assert scope.cancelled_caught
    assert await storage.stat(key) is None
    assert list(storage._uploads.iterdir()) == []


async def test_a_reader_keeps_what_it_began_to_read(
    storage: LocalStorage, chunks: Chunks, key: str
) -> None:
    await storage.write(key, chunks(b"1" * 3_000_000))
    reading = storage.read(key)
    first = await anext(reading)
    await storage.write(key, chunks(b"2" * 3_000_000))
    rest = b"".join([chunk async for chunk in reading])
    assert first + rest == b"1" * 3_000_000


async def test_one_commit_from_many_sides_is_one_object(
    storage: LocalStorage, upload: Upload
) -> None:
    ticket, receipt = await upload(storage, b"content")
    found: list[StoredObject] = []

    async def commit() -> None:
        found.append(await storage.commit(ticket, receipt))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(commit)
    assert len(found) == 20
    assert len(set(found)) == 1


async def test_a_commit_from_many_sides_keeps_the_checksum(
    storage: LocalStorage, upload: Upload, key: str
) -> None:
    for _ in range(20):
        ticket, receipt = await upload(storage, b"content")
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(storage.commit, ticket, receipt)
        stored = await storage.stat(key)
        assert stored is not None
        assert stored.sha256 == receipt.sha256


async def test_what_is_still_being_sent_is_not_committed(
    storage: LocalStorage, upload: Upload
) -> None:
    ticket, receipt = await upload(storage, b"content")
    with storage._upload(ticket).open("rb") as sender:
        fcntl.flock(sender, fcntl.LOCK_EX)
        with pytest.raises(StorageUnavailable, match="still being sent"):
            await storage.commit(ticket, receipt)
    assert (await storage.commit(ticket, receipt)).size == 7


async def test_an_object_is_read_only(storage: LocalStorage, upload: Upload, key: str) -> None:
    ticket, receipt = await upload(storage, b"content")
    await storage.commit(ticket, receipt)
    assert storage._files.path(key).stat().st_mode & 0o777 == 0o400


async def test_another_process_repeats_a_commit(
    tmp_path: Path, storage: LocalStorage, upload: Upload
) -> None:
    ticket, receipt = await upload(storage, b"content")
    stored = await storage.commit(ticket, receipt)
    assert await LocalStorage(tmp_path / "storage").commit(ticket, receipt) == stored


async def test_an_upload_to_a_key_whose_directory_was_deleted_makes_it_anew(
    storage: LocalStorage, upload: Upload, key: str
) -> None:
    ticket, receipt = await upload(storage, b"first")
    await storage.commit(ticket, receipt)
    ticket, receipt = await upload(storage, b"second")
    await storage.delete("instance/")
    await storage.commit(ticket, receipt)
    assert (await storage.stat(key)) is not None


async def test_a_deleted_prefix_leaves_no_file_and_no_directory(
    storage: LocalStorage, chunks: Chunks
) -> None:
    for key in ("i/t/j/a", "i/t/j/inputs/b"):
        await storage.write(key, chunks(b"x"))
    assert await storage.delete("i/t/j/a") == 1
    assert await storage.delete("i/t/j/inputs/b") == 1
    assert list(storage._files.root.iterdir()) == []


async def test_a_directory_is_no_object(storage: LocalStorage, chunks: Chunks) -> None:
    await storage.write("i/t/j/a", chunks(b"x"))
    assert await storage.stat("i/t/j") is None
    assert await storage.stat("i/t/j/a/b") is None
    assert await storage.delete("i/t/j") == 0
    for key in ("i/t/j", "i/t/j/a/b"):
        with pytest.raises(NotFound):
            await anext(storage.read(key))


async def test_an_object_that_someone_put_there_has_no_checksum(
    storage: LocalStorage, chunks: Chunks, key: str
) -> None:
    stored = await storage.write(key, chunks(b"ours"))
    path = storage._files.path(key)
    path.unlink()
    path.write_bytes(b"theirs")
    found = await storage.stat(key)
    assert found is not None
    assert (found.size, found.sha256) == (6, None)
    assert stored.sha256 is not None


@pytest.mark.parametrize("upload_id", ["../objects", "", "x" * 26])
async def test_a_ticket_of_another_storage_is_unknown(
    storage: LocalStorage, key: str, upload_id: str
) -> None:
    ticket = UploadTicket(id="i", key=key, upload_id=upload_id, max_size=1, part_size=1)
    with pytest.raises(NotFound):
        await storage.commit(ticket, UploadReceipt())
    with pytest.raises(NotFound):
        await storage.abort(ticket)


async def test_many_objects_are_listed_in_batches(storage: LocalStorage, tmp_path: Path) -> None:
    directory = storage._files.root / "i"
    directory.mkdir()
    for number in range(2500):
        (directory / f"{number:04}").touch()
    assert [stored.key async for stored in storage.walk("i/")] == [
        f"i/{number:04}" for number in range(2500)
    ]
