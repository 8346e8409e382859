"""Uploads that arrive in parts: what counts, what is offered again, what is never mixed."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from longshore.blobs import BlobUrls, Grant, Secret
from longshore.errors import ChecksumMismatch, Denied, NotFound, StorageUnavailable, TooLarge
from longshore.storages import arriving, local
from longshore.storages.arriving import ArrivingPart
from longshore.storages.local import LocalStorage
from longshore.transfer import Audience, SentPart, UploadReceipt, UploadTicket

PART = 1024
HOUR = timedelta(hours=1)
Send = Callable[..., SentPart]

pytestmark = pytest.mark.anyio


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    urls = BlobUrls(secret=Secret(b"s" * 32), public="https://here/longshore/", job=None)
    return LocalStorage(tmp_path / "storage", None, urls, part_size=PART)


@pytest.fixture
async def ticket(storage: LocalStorage, key: str) -> UploadTicket:
    return await storage.prepare_upload(key, max_size=3 * PART)


@pytest.fixture
def grants(storage: LocalStorage) -> Callable[[UploadTicket], list[Grant]]:
    return lambda ticket: list(local._grants(ticket, 2**33, ""))


@pytest.fixture
def begin(
    storage: LocalStorage, grants: Callable[[UploadTicket], list[Grant]]
) -> Iterator[Callable[[UploadTicket, int], ArrivingPart]]:
    """Begin to send a part; what is still open at the end is closed."""
    begun: list[ArrivingPart] = []

    def open_part(ticket: UploadTicket, number: int) -> ArrivingPart:
        begun.append(storage.arrive(grants(ticket)[number - 1]))
        return begun[-1]

    yield open_part
    for one in begun:
        one.close()


@pytest.fixture
def send(begin: Callable[[UploadTicket, int], ArrivingPart]) -> Send:
    def send_part(ticket: UploadTicket, number: int, data: bytes) -> SentPart:
        arriving = begin(ticket, number)
        arriving.write(data)
        arriving.hash(data)
        part = arriving.finish()
        arriving.close()
        return part

    return send_part


async def content(storage: LocalStorage, key: str) -> bytes:
    return b"".join([chunk async for chunk in storage.read(key)])


async def test_a_small_upload_is_one_request_and_a_large_one_has_parts(
    storage: LocalStorage, key: str
) -> None:
    for size, expected in ((0, [0]), (PART, [PART]), (2 * PART + 1, [PART, PART, 1])):
        ticket = await storage.prepare_upload(key, max_size=size)
        signed = await storage.sign_upload(ticket, audience=Audience.CONSUMER, expires=HOUR)
        sizes = [signed.size_of(number) for number in range(1, len(signed.parts) + 1)]
        assert sizes == expected


async def test_parts_grow_so_that_there_are_at_most_a_thousand(
    storage: LocalStorage, key: str
) -> None:
    for size in (PART + 1, 1000 * PART, 1000 * PART + 1, 2**40, 2**50 + 1):
        ticket = await storage.prepare_upload(key, max_size=size)
        assert ticket.part_size % PART == 0
        assert 1 < len(list(local._grants(ticket, 1, ""))) <= 1000


async def test_parts_are_as_large_as_is_asked_for(storage: LocalStorage, key: str) -> None:
    for size, least, expected in ((10 * PART, 3 * PART - 1, 4), (2 * PART, 9 * PART, 1)):
        ticket = await storage.prepare_upload(key, max_size=size, least_part=least)
        assert ticket.part_size >= least
        assert len(list(local._grants(ticket, 1, ""))) == expected


async def test_only_those_who_cannot_read_files_here_get_urls_of_the_server(
    storage: LocalStorage, ticket: UploadTicket, key: str
) -> None:
    expected = {Audience.CONSUMER: "https://here/longshore/v1/blobs/", Audience.JOB: "file:///"}
    expected[Audience.SERVICE] = "file:///"
    for audience, beginning in expected.items():
        read = await storage.sign_read(key, audience=audience, expires=HOUR)
        upload = await storage.sign_upload(ticket, audience=audience, expires=HOUR)
        assert read.url.startswith(beginning)
        assert upload.parts[0].url.startswith(beginning)
        assert len(upload.parts) == (3 if beginning.startswith("https") else 1)


async def test_jobs_get_urls_of_the_server_where_they_reach_it(tmp_path: Path, key: str) -> None:
    urls = BlobUrls(secret=Secret(b"s" * 32), public="https://here", job="http://inside")
    storage = LocalStorage(tmp_path, None, urls)
    request = await storage.sign_read(key, audience=Audience.JOB, expires=HOUR)
    assert request.url.startswith("http://inside/v1/blobs/")


async def test_a_storage_without_a_server_allows_no_url(tmp_path: Path, key: str) -> None:
    with pytest.raises(Denied):
        LocalStorage(tmp_path).allowed("GET", key, "")


async def test_parts_in_any_order_make_the_object(
    storage: LocalStorage, ticket: UploadTicket, send: Send, key: str
) -> None:
    pieces = [b"1" * PART, b"2" * PART, b"3" * 10]
    for number in (3, 1, 2):
        send(ticket, number, pieces[number - 1])
    sent = await storage.sent(ticket)
    assert sent == tuple(
        SentPart(number=number, size=len(piece), tag=digest(piece))
        for number, piece in enumerate(pieces, start=1)
    )
    assert await storage.stat(key) is None
    stored = await storage.commit(ticket, UploadReceipt(parts=tuple(one.tag for one in sent)))
    assert (stored.size, stored.sha256) == (2 * PART + 10, digest(b"".join(pieces)))
    assert await content(storage, key) == b"".join(pieces)
    assert list(storage._uploads.iterdir()) == []


@pytest.mark.parametrize("numbers", [(2,), (1, 3), (2, 3)])
async def test_a_part_that_is_missing_is_no_object(
    storage: LocalStorage, ticket: UploadTicket, send: Send, numbers: tuple[int, ...]
) -> None:
    for number in numbers:
        send(ticket, number, b"x" * PART)
    with pytest.raises(NotFound):
        await storage.commit(ticket, UploadReceipt())
    assert [one.number for one in await storage.sent(ticket)] == list(numbers)


async def test_a_short_part_in_the_middle_is_no_object(
    storage: LocalStorage, ticket: UploadTicket, send: Send
) -> None:
    send(ticket, 1, b"x" * (PART - 1))
    send(ticket, 2, b"x" * PART)
    with pytest.raises(NotFound):
        await storage.commit(ticket, UploadReceipt())


async def test_a_part_that_was_cut_off_does_not_count_and_is_sent_again(
    storage: LocalStorage,
    ticket: UploadTicket,
    begin: Callable[[UploadTicket, int], ArrivingPart],
    send: Send,
    key: str,
) -> None:
    send(ticket, 1, b"1" * PART)
    cut = begin(ticket, 2)
    cut.write(b"half")
    cut.close()
    cut.close()
    assert [one.number for one in await storage.sent(ticket)] == [1]
    send(ticket, 2, b"2" * PART)
    await storage.commit(ticket, UploadReceipt())
    assert await content(storage, key) == b"1" * PART + b"2" * PART


async def test_a_part_that_is_sent_again_and_cut_off_no_longer_counts(
    storage: LocalStorage,
    ticket: UploadTicket,
    begin: Callable[[UploadTicket, int], ArrivingPart],
    send: Send,
) -> None:
    send(ticket, 1, b"first")
    cut = begin(ticket, 1)
    cut.write(b"sec")
    cut.close()
    assert await storage.sent(ticket) == ()
    with pytest.raises(NotFound):
        await storage.commit(ticket, UploadReceipt())


async def test_other_and_fewer_bytes_replace_a_part(
    storage: LocalStorage, ticket: UploadTicket, send: Send, key: str
) -> None:
    send(ticket, 1, b"a longer first")
    part = send(ticket, 1, b"second")
    await storage.commit(ticket, UploadReceipt(size=6, parts=(part.tag,)))
    assert await content(storage, key) == b"second"


async def test_a_receipt_with_fewer_parts_means_only_those(
    storage: LocalStorage, ticket: UploadTicket, send: Send, key: str
) -> None:
    tags = [send(ticket, number, bytes([number]) * PART).tag for number in (1, 2, 3)]
    await storage.commit(ticket, UploadReceipt(parts=tuple(tags[:2])))
    assert await content(storage, key) == b"\1" * PART + b"\2" * PART


async def test_a_receipt_with_more_parts_waits_for_them(
    storage: LocalStorage, ticket: UploadTicket, send: Send
) -> None:
    tag = send(ticket, 1, b"1" * PART).tag
    with pytest.raises(NotFound):
        await storage.commit(ticket, UploadReceipt(parts=(tag, digest(b"2"))))


async def test_two_senders_of_the_same_bytes_do_not_mix_them(
    storage: LocalStorage,
    ticket: UploadTicket,
    begin: Callable[[UploadTicket, int], ArrivingPart],
    send: Send,
) -> None:
    one = begin(ticket, 1)
    with pytest.raises(StorageUnavailable, match="another transfer"):
        begin(ticket, 1)
    send(ticket, 2, b"2" * PART)  # beside it
    one.close()
    send(ticket, 1, b"1" * PART)


async def test_what_is_being_sent_is_not_committed(
    storage: LocalStorage,
    ticket: UploadTicket,
    begin: Callable[[UploadTicket, int], ArrivingPart],
    send: Send,
) -> None:
    send(ticket, 1, b"1" * PART)
    other = begin(ticket, 3)
    with pytest.raises(StorageUnavailable, match="still being sent"):
        await storage.commit(ticket, UploadReceipt())
    other.close()
    assert (await storage.commit(ticket, UploadReceipt())).size == PART


@pytest.mark.parametrize("end", ["commit", "abort"])
async def test_nothing_is_sent_to_what_has_ended(
    storage: LocalStorage,
    ticket: UploadTicket,
    begin: Callable[[UploadTicket, int], ArrivingPart],
    send: Send,
    end: str,
) -> None:
    send(ticket, 1, b"1")
    if end == "commit":
        await storage.commit(ticket, UploadReceipt())
    else:
        await storage.abort(ticket)
    with pytest.raises(NotFound):
        begin(ticket, 1)
    assert await storage.sent(ticket) == ()
    assert list(storage._uploads.iterdir()) == []


async def test_more_than_was_granted_is_refused(
    ticket: UploadTicket, begin: Callable[[UploadTicket, int], ArrivingPart]
) -> None:
    arriving = begin(ticket, 2)
    arriving.write(b"x" * PART)
    with pytest.raises(TooLarge):
        arriving.write(b"x")


async def test_other_bytes_than_announced_are_dropped_at_once(
    storage: LocalStorage, key: str
) -> None:
    ticket = await storage.prepare_upload(key, max_size=4)
    (grant,) = local._grants(ticket, 2**33, digest(b"true"))
    for data in (b"lies", b"true"):
        arriving = storage.arrive(grant)
        arriving.write(data)
        arriving.hash(data)
        if data == b"true":
            arriving.finish()
        else:
            with pytest.raises(ChecksumMismatch):
                arriving.finish()
        arriving.close()
        assert storage._upload(ticket).stat().st_size == (4 if data == b"true" else 0)
    assert (await storage.commit(ticket, UploadReceipt())).sha256 == digest(b"true")


async def test_what_was_hashed_on_its_way_is_not_read_again(
    storage: LocalStorage, ticket: UploadTicket, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = send(ticket, 1, b"once")
    monkeypatch.delattr(arriving, "_read")
    assert (await storage.commit(ticket, UploadReceipt())).sha256 == part.tag


@pytest.mark.parametrize("is_lost", [True, False])
async def test_after_a_reboot_only_what_is_on_the_disk_counts(
    storage: LocalStorage,
    ticket: UploadTicket,
    send: Send,
    monkeypatch: pytest.MonkeyPatch,
    is_lost: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    for number, data in ((1, b"1" * PART), (2, b"2")):
        send(ticket, number, data)
    monkeypatch.setattr(arriving, "boot_id", lambda: "later")
    if is_lost:
        with storage._upload(ticket).open("r+b") as file:
            file.write(bytes(10))
        with pytest.raises(NotFound, match=r"parts \[1\] .* were lost"):
            await storage.commit(ticket, UploadReceipt())
        assert [one.number for one in await storage.sent(ticket)] == [2]
        send(ticket, 1, b"1" * PART)
    stored = await storage.commit(ticket, UploadReceipt())
    assert stored.sha256 == digest(b"1" * PART + b"2")


async def test_bytes_that_are_gone_from_the_file_are_lost(
    storage: LocalStorage, ticket: UploadTicket, send: Send
) -> None:
    send(ticket, 1, b"content")
    with storage._upload(ticket).open("r+b") as file:
        file.truncate(3)
    with pytest.raises(NotFound, match="lost"):
        await storage.commit(ticket, UploadReceipt())


async def test_a_line_that_a_full_disk_cut_off_tells_nothing(
    storage: LocalStorage, ticket: UploadTicket, send: Send
) -> None:
    send(ticket, 1, b"1" * PART)
    send(ticket, 2, b"2")
    path = arriving.PartsFile(storage._upload(ticket)).path
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert [one.number for one in await storage.sent(ticket)] == [1]
    send(ticket, 2, b"2")
    assert [one.number for one in await storage.sent(ticket)] == [1, 2]


async def test_an_open_object_is_described_as_the_file_that_is_open(
    storage: LocalStorage, key: str, chunks: Callable[..., object]
) -> None:
    first = await storage.write(key, chunks(b"first"))  # type: ignore[arg-type]  # an iterator
    file, stored = storage.open(key)
    with file:
        await storage.write(key, chunks(b"the second"))  # type: ignore[arg-type]  # an iterator
        assert (stored, file.read()) == (first, b"first")
    with pytest.raises(NotFound):
        storage.open("i/nothing")


async def test_a_repeated_commit_returns_the_same_object_and_leaves_nothing(
    storage: LocalStorage, ticket: UploadTicket, send: Send
) -> None:
    send(ticket, 1, b"content")
    line = arriving.PartsFile(storage._upload(ticket)).path
    kept = line.read_bytes()
    stored = await storage.commit(ticket, UploadReceipt())
    line.write_bytes(kept)  # as a commit that was killed after its rename leaves it
    assert await storage.commit(ticket, UploadReceipt()) == stored
    assert list(storage._uploads.iterdir()) == []
