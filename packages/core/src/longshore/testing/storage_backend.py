"""The contract of a storage backend, as tests to inherit."""

import hashlib
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from longshore.errors import ChecksumMismatch, DataRefused, NotFound, TooLarge
from longshore.staging.transport import FileTransport, Transport
from longshore.storages.abc import ListsUploads, StorageBackend
from longshore.transfer import Audience, StoredObject, UploadReceipt, UploadTicket, is_whole

_HOUR = timedelta(hours=1)
_KEY = "instance/tenant/job/outputs/result"
_DATA = b"the result\n"


class StorageBackendContract:
    """What every storage backend does. Inherit it as ``class TestMine(StorageBackendContract)``.

    Supply the fixture ``storage`` (an open backend that holds nothing) and the methods
    ``raw_exists`` and ``raw_bytes``, which look at the place itself and not through the backend.
    Override the fixture ``transport`` where requests are not ``file:`` URLs, and set an ability to
    False where the contract leaves it open.
    """

    pytestmark = pytest.mark.anyio

    #: a commit compares the bytes with the receipt's sha256, and does not only pass it on
    verifies_sha256 = True
    #: of two open uploads to one key, the one prepared later stays, whichever is committed last
    orders_tickets = True

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run on asyncio."""
        return "asyncio"

    @pytest.fixture
    def storage(self) -> StorageBackend:
        """Return the backend under test."""
        raise NotImplementedError

    @pytest.fixture
    def transport(self) -> Transport:
        """Return what sends the backend's requests."""
        return FileTransport()

    async def raw_exists(self, storage: StorageBackend, key: str) -> bool:
        """Say whether anything can be read under ``key``, without asking the backend."""
        raise NotImplementedError

    async def raw_bytes(self, storage: StorageBackend, key: str) -> bytes:
        """Return what lies under ``key``, without asking the backend."""
        raise NotImplementedError

    async def test_nothing_is_readable_before_the_commit(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket, _ = await _upload(storage, transport)
        assert not await self.raw_exists(storage, _KEY)
        assert await storage.stat(_KEY) is None
        assert await _keys(storage) == []
        with pytest.raises(NotFound):
            await _read(storage)
        await storage.abort(ticket)

    async def test_a_commit_makes_exactly_the_bytes_readable(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket, receipt = await _upload(storage, transport)
        stored = await storage.commit(ticket, receipt)
        assert (stored.key, stored.size) == (_KEY, len(_DATA))
        assert stored.sha256 in {None, _digest(_DATA)}
        assert await self.raw_bytes(storage, _KEY) == _DATA
        assert await _read(storage) == _DATA
        assert await storage.stat(_KEY) == stored

    async def test_a_repeated_commit_returns_the_same_object(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket, receipt = await _upload(storage, transport)
        stored = await storage.commit(ticket, receipt)
        assert await storage.commit(ticket, receipt) == stored
        assert await _read(storage) == _DATA

    async def test_a_receipt_without_parts_means_what_was_sent(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket, _ = await _upload(storage, transport)
        assert (await storage.commit(ticket, UploadReceipt())).size == len(_DATA)

    async def test_what_has_arrived_is_known_until_the_commit(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket = await storage.prepare_upload(_KEY, max_size=len(_DATA))
        assert await storage.sent(ticket) == ()
        receipt = await _send(storage, transport, ticket, _DATA)
        sent = await storage.sent(ticket)
        assert [one.number for one in sent] == list(range(1, len(sent) + 1))
        assert sum(one.size for one in sent) == len(_DATA)
        assert is_whole(ticket, sent)
        assert tuple(one.tag for one in sent) in {receipt.parts, ("",) * len(sent)}
        await storage.commit(ticket, receipt)
        assert await storage.sent(ticket) == ()

    async def test_of_an_aborted_upload_nothing_has_arrived(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket, _ = await _upload(storage, transport)
        await storage.abort(ticket)
        assert await storage.sent(ticket) == ()

    async def test_uploads_that_were_only_begun_are_listed_and_can_be_dropped(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        if not isinstance(storage, ListsUploads):
            pytest.skip("this storage does not list uploads")
        begun = await storage.prepare_upload(_KEY, max_size=1)
        sent, _ = await _upload(storage, transport)
        aborted, _ = await _upload(storage, transport)
        await storage.abort(aborted)
        committed, receipt = await _upload(storage, transport)
        await storage.commit(committed, receipt)
        soon = datetime.now(UTC) + _HOUR
        assert not await storage.unfinished(before=soon - 2 * _HOUR)
        found = await storage.unfinished(before=soon)
        assert {one.upload_id for one in found} == {begun.upload_id, sent.upload_id}
        for one in found:
            await storage.abort(one)
        assert not await storage.unfinished(before=soon)
        with pytest.raises(NotFound):
            await storage.commit(sent, receipt)
        assert await _read(storage) == _DATA

    async def test_an_empty_object_is_an_object(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket, receipt = await _upload(storage, transport, b"")
        assert (await storage.commit(ticket, receipt)).size == 0
        assert await _read(storage) == b""

    async def test_the_same_upload_may_be_sent_again_before_the_commit(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket, _ = await _upload(storage, transport)
        receipt = await _send(storage, transport, ticket, _DATA)
        await storage.commit(ticket, receipt)
        assert await _read(storage) == _DATA

    async def test_an_upload_to_which_nothing_was_sent_cannot_be_committed(
        self, storage: StorageBackend
    ) -> None:
        ticket = await storage.prepare_upload(_KEY, max_size=100)
        with pytest.raises(NotFound):
            await storage.commit(ticket, UploadReceipt())
        assert not await self.raw_exists(storage, _KEY)

    async def test_an_aborted_upload_cannot_be_committed(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket, receipt = await _upload(storage, transport)
        await storage.abort(ticket)
        await storage.abort(ticket)
        with pytest.raises(NotFound):
            await storage.commit(ticket, receipt)
        assert not await self.raw_exists(storage, _KEY)

    async def test_an_abort_after_the_commit_leaves_the_object(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket, receipt = await _upload(storage, transport)
        await storage.commit(ticket, receipt)
        await storage.abort(ticket)
        assert await self.raw_bytes(storage, _KEY) == _DATA

    async def test_more_bytes_than_allowed_are_never_readable(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket = await storage.prepare_upload(_KEY, max_size=len(_DATA) - 1)
        with pytest.raises((TooLarge, NotFound)):  # at the commit, or nothing is taken at all
            await storage.commit(ticket, await _send(storage, transport, ticket, _DATA))
        assert not await self.raw_exists(storage, _KEY)

    async def test_another_size_than_the_receipt_says_is_refused(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket, receipt = await _upload(storage, transport)
        wrong = UploadReceipt(size=len(_DATA) + 1, sha256=receipt.sha256, parts=receipt.parts)
        with pytest.raises(ChecksumMismatch):
            await storage.commit(ticket, wrong)
        assert not await self.raw_exists(storage, _KEY)

    async def test_other_parts_than_the_receipt_says_are_refused(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket, receipt = await _upload(storage, transport)
        wrong = UploadReceipt(
            size=receipt.size, sha256=receipt.sha256, parts=("0" * 32, *receipt.parts)
        )
        with pytest.raises(ChecksumMismatch):
            await storage.commit(ticket, wrong)
        assert not await self.raw_exists(storage, _KEY)

    async def test_another_checksum_than_the_receipt_says_is_refused(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        if not self.verifies_sha256:
            pytest.skip("the storage passes the uploader's sha256 on")
        ticket, _ = await _upload(storage, transport)
        with pytest.raises(ChecksumMismatch):
            await storage.commit(ticket, UploadReceipt(sha256=_digest(b"something else")))
        assert not await self.raw_exists(storage, _KEY)

    async def test_the_first_attempt_cannot_overwrite_the_second(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        first, first_receipt = await _upload(storage, transport, b"of the first attempt")
        await storage.abort(first)
        second, receipt = await _upload(storage, transport)
        await storage.commit(second, receipt)
        with pytest.raises(NotFound):
            await storage.commit(first, first_receipt)
        assert await self.raw_bytes(storage, _KEY) == _DATA

    async def test_an_upload_prepared_earlier_does_not_replace_a_later_one(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        if not self.orders_tickets:
            pytest.skip("the storage leaves the order of open uploads to their aborts")
        first, first_receipt = await _upload(storage, transport, b"prepared first")
        second, receipt = await _upload(storage, transport)
        await storage.commit(second, receipt)
        with pytest.raises(NotFound):
            await storage.commit(first, first_receipt)
        assert await self.raw_bytes(storage, _KEY) == _DATA

    async def test_a_later_upload_replaces_the_object_as_a_whole(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        first, first_receipt = await _upload(storage, transport, b"a longer first object\n")
        await storage.commit(first, first_receipt)
        second, receipt = await _upload(storage, transport)
        stored = await storage.commit(second, receipt)
        assert await self.raw_bytes(storage, _KEY) == _DATA
        assert await storage.stat(_KEY) == stored
        assert await _keys(storage) == [_KEY]

    async def test_a_signed_read_gives_the_object(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        await storage.write(_KEY, _chunks(_DATA))
        request = await storage.sign_read(_KEY, audience=Audience.JOB, expires=_HOUR)
        into = io.BytesIO()
        transport.fetch(request, into, size=len(_DATA), sha256=_digest(_DATA))
        assert into.getvalue() == _DATA

    async def test_a_signed_read_of_nothing_fails_when_it_is_sent(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        request = await storage.sign_read(_KEY, audience=Audience.JOB, expires=_HOUR)
        with pytest.raises(NotFound):
            transport.fetch(request, io.BytesIO(), size=1, sha256=None)

    async def test_what_is_written_is_there_with_its_checksum(
        self, storage: StorageBackend
    ) -> None:
        stored = await storage.write(_KEY, _chunks(b"the ", b"", b"result\n"))
        assert stored == StoredObject(
            key=_KEY, size=len(_DATA), modified_at=stored.modified_at, sha256=_digest(_DATA)
        )
        assert await self.raw_bytes(storage, _KEY) == _DATA

    async def test_a_write_whose_source_fails_leaves_nothing(self, storage: StorageBackend) -> None:
        with pytest.raises(ConnectionError):
            await storage.write(_KEY, _failing())
        assert not await self.raw_exists(storage, _KEY)
        assert await storage.stat(_KEY) is None

    async def test_a_write_whose_source_fails_leaves_the_object_that_was_there(
        self, storage: StorageBackend
    ) -> None:
        await storage.write(_KEY, _chunks(_DATA))
        with pytest.raises(ConnectionError):
            await storage.write(_KEY, _failing())
        assert await self.raw_bytes(storage, _KEY) == _DATA

    @pytest.mark.parametrize("start", [0, 1, len(_DATA) - 1, len(_DATA), len(_DATA) + 1])
    async def test_a_read_begins_where_it_is_asked_to(
        self, storage: StorageBackend, start: int
    ) -> None:
        await storage.write(_KEY, _chunks(_DATA))
        assert await _read(storage, start=start) == _DATA[start:]

    async def test_a_large_object_comes_back_in_order(self, storage: StorageBackend) -> None:
        data = b"".join(number.to_bytes(4, "big") for number in range(1_000_000))
        await storage.write(_KEY, _chunks(data[:3_000_000], data[3_000_000:]))
        assert _digest(await _read(storage)) == _digest(data)

    async def test_a_walk_yields_what_is_below_the_prefix_in_order_of_keys(
        self, storage: StorageBackend
    ) -> None:
        keys = ["i/a-b/x", "i/a/x", "i/a/x-1", "i/a/x/y", "i/a0", "i/b"]
        inside = [key for key in keys if key != "i/a/x"]  # a file system cannot hold it with x/y
        for key in [*reversed(inside), "ii/a", "j"]:
            await storage.write(key, _chunks(key.encode()))
        found = [stored async for stored in storage.walk("i/")]
        assert [stored.key for stored in found] == inside
        assert [stored.sha256 for stored in found if stored.sha256] in (
            [],
            [_digest(key.encode()) for key in inside],
        )

    async def test_a_walk_below_nothing_yields_nothing(self, storage: StorageBackend) -> None:
        assert [stored async for stored in storage.walk("nothing/")] == []

    async def test_deleting_a_prefix_deletes_all_below_it_and_nothing_beside_it(
        self, storage: StorageBackend
    ) -> None:
        for key in ("i/job/a", "i/job/inputs/b", "i/job2/c"):
            await storage.write(key, _chunks(_DATA))
        assert await storage.delete("i/job/") == 2
        assert await storage.delete("i/job/") == 0
        assert await _keys(storage, "i/") == ["i/job2/c"]
        assert not await self.raw_exists(storage, "i/job/inputs/b")

    async def test_deleting_a_key_deletes_that_object_alone(self, storage: StorageBackend) -> None:
        for key in ("i/job/a", "i/job/a.b", "i/job/ab"):
            await storage.write(key, _chunks(_DATA))
        assert await storage.delete("i/job/a") == 1
        assert await storage.delete("i/job/a") == 0
        assert await _keys(storage, "i/") == ["i/job/a.b", "i/job/ab"]
        assert not await self.raw_exists(storage, "i/job/a")

    async def test_a_deleted_object_does_not_come_back_by_its_commit(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        ticket, receipt = await _upload(storage, transport)
        await storage.commit(ticket, receipt)
        await storage.delete(_KEY)
        with pytest.raises(NotFound):
            await storage.commit(ticket, receipt)

    @pytest.mark.parametrize(
        "key",
        ["", "/", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/.", "a\0b", ".a", "a\\b"],
    )
    async def test_a_key_that_is_no_key_of_ours_is_refused(
        self, storage: StorageBackend, key: str
    ) -> None:
        with pytest.raises(DataRefused):
            await storage.prepare_upload(key, max_size=1)
        with pytest.raises(DataRefused):
            await storage.sign_read(key, audience=Audience.SERVICE, expires=_HOUR)
        with pytest.raises(DataRefused):
            await storage.write(key, _chunks(_DATA))


async def _upload(
    storage: StorageBackend, transport: Transport, data: bytes = _DATA
) -> tuple[UploadTicket, UploadReceipt]:
    ticket = await storage.prepare_upload(_KEY, max_size=max(len(data), 1))
    return ticket, await _send(storage, transport, ticket, data)


async def _send(
    storage: StorageBackend, transport: Transport, ticket: UploadTicket, data: bytes
) -> UploadReceipt:
    upload = await storage.sign_upload(ticket, audience=Audience.JOB, expires=_HOUR)
    assert upload.ticket_id == ticket.id
    return transport.send(upload, io.BytesIO(data), max_size=len(data))


async def _read(storage: StorageBackend, *, start: int = 0) -> bytes:
    return b"".join([chunk async for chunk in storage.read(_KEY, start=start)])


async def _keys(storage: StorageBackend, prefix: str = "instance/") -> list[str]:
    return [stored.key async for stored in storage.walk(prefix)]


async def _chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _failing() -> AsyncIterator[bytes]:
    yield b"x" * 3_000_000
    raise ConnectionError("the consumer went away")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
