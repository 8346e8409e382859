"""What goes up and comes down: in every way in which a server may run."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.blobserving import PART, Server

from longshore.errors import NotFound
from longshore.transfer import Audience, UploadReceipt

#: on both sides of what is worth lending a socket, and of what is read at once
SIZES = [0, 1, 256 * 1024 - 1, 256 * 1024, 3_000_000]

pytestmark = pytest.mark.anyio


def some(size: int, seed: int = 1) -> bytes:
    return hashlib.shake_128(bytes([seed])).digest(size)


def tag_of(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()}"'


async def upload_whole(server: Server, key: str, data: bytes) -> None:
    ticket, targets = await server.upload(key, len(data))
    tags = []
    for number, target in enumerate(targets):
        answer = server.put(target, data[number * PART : (number + 1) * PART])
        assert answer.status == 200
        tags.append(answer.headers["etag"].strip('"'))
    await server.storage.commit(ticket, UploadReceipt(size=len(data), parts=tuple(tags)))


@pytest.mark.parametrize("size", SIZES)
async def test_what_goes_up_comes_down(server: Server, key: str, size: int) -> None:
    data = some(size)
    await upload_whole(server, key, data)
    answer = server.get(await server.target(key))
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["etag"] == tag_of(data)


async def test_an_answer_with_bytes_is_nothing_that_a_browser_would_show(
    server: Server, key: str
) -> None:
    headers = server.get(await server.keep(key, b"<script>")).headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"] == 'attachment; filename="data.bin"'
    assert "sandbox" in headers["content-security-policy"]


async def test_the_head_is_that_of_a_get_without_its_bytes(server: Server, key: str) -> None:
    target = await server.keep(key, some(3_000_000))
    head, whole = server.request("HEAD", target), server.get(target)
    assert head.body == b""
    del head.headers["date"], whole.headers["date"]
    assert (head.status, head.headers) == (200, whole.headers)


@pytest.mark.parametrize("size", [10, 1_000_000])
@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=3-5", 3, 5),
        ("bytes=3-", 3, None),
        ("bytes=-4", -4, None),
        ("bytes=-99999999", 0, None),
        ("bytes=5-99999999", 5, None),
    ],
)
async def test_a_range_is_those_bytes(
    server: Server, key: str, size: int, asked: str, first: int, last: int | None
) -> None:
    data = some(size)
    answer = server.get(await server.keep(key, data), range=asked)
    wanted = data[first:] if last is None else data[first : last + 1]
    assert (answer.status, answer.body) == (206, wanted)
    start = first % size
    end = start + len(wanted) - 1
    assert answer.headers["content-range"] == f"bytes {start}-{end}/{size}"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,3-4", "bytes=5-4", "bytes=-", "bytes=a-b", "lines=1-2", "bytes 1-2"]
)
async def test_several_ranges_and_nonsense_are_answered_with_all(
    server: Server, key: str, asked: str
) -> None:
    answer = server.get(await server.keep(key, b"0123456789"), range=asked)
    assert (answer.status, answer.body) == (200, b"0123456789")


async def test_a_range_behind_the_end_is_said(server: Server, key: str) -> None:
    answer = server.get(await server.keep(key, b"0123456789"), range="bytes=10-")
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */10"


async def test_a_range_of_what_it_no_longer_is_is_answered_with_all(
    server: Server, key: str
) -> None:
    target = await server.keep(key, b"0123456789")
    kept = tag_of(b"0123456789")
    for condition, status in ((kept, 206), (tag_of(b"other"), 200), (f"W/{kept}", 200)):
        answer = server.get(target, range="bytes=1-2", if_range=condition)
        assert answer.status == status


async def test_a_download_goes_on_when_the_object_is_replaced_or_deleted(
    server: Server, key: str
) -> None:
    data = some(8_000_000)
    connection = server.connect()
    connection.ask("GET", await server.keep(key, data))
    connection.wait()
    await server.storage.delete(key)
    await server.keep(key, b"another")
    assert connection.answer().body == data


async def test_bytes_without_an_announced_length_are_taken(server: Server, key: str) -> None:
    ticket, (target,) = await server.upload(key, 11)
    body = b"6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"
    answer = server.put(target, body, content_length="", transfer_encoding="chunked")
    assert answer.headers["etag"] == tag_of(b"hello world")
    assert (await server.storage.commit(ticket, UploadReceipt())).size == 11


async def test_without_an_announced_length_more_than_granted_is_still_refused(
    server: Server, key: str
) -> None:
    ticket, (target,) = await server.upload(key, 10)
    body = b"6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"
    assert server.put(target, body, content_length="", transfer_encoding="chunked").status == 413
    assert await server.storage.sent(ticket) == ()


async def test_more_than_granted_is_refused_before_it_is_sent(server: Server, key: str) -> None:
    ticket, targets = await server.upload(key, 3 * PART)
    connection = server.connect()
    connection.ask("PUT", targets[0], content_length=str(PART + 1), expect="100-continue")
    answer = connection.answer()
    assert answer.status == 413
    assert json.loads(answer.body)["code"] == "too-large"
    assert await server.storage.sent(ticket) == ()


@pytest.mark.parametrize("size", [7, 3_000_000])
async def test_who_waits_to_be_told_to_go_on_is_told(server: Server, key: str, size: int) -> None:
    data = some(size)
    _, targets = await server.upload(key, max(size, PART))
    connection = server.connect()
    part = data[:PART]
    connection.ask("PUT", targets[0], content_length=str(len(part)), expect="100-continue")
    assert connection.read_line() == b"HTTP/1.1 100 Continue\r\n"
    assert connection.read_line() == b"\r\n"
    connection.send(part)
    assert connection.answer().headers["etag"] == tag_of(part)


@pytest.mark.parametrize("size", [7, PART])
async def test_other_bytes_than_announced_are_refused_when_they_have_come(
    server: Server, key: str, size: int
) -> None:
    right, wrong = some(size, 1), some(size, 2)
    digest = hashlib.sha256(right).hexdigest()
    ticket, (target,) = await server.upload(key, size, sha256=digest)
    answer = server.put(target, wrong)
    assert answer.status == 422
    assert json.loads(answer.body)["code"] == "checksum-mismatch"
    assert await server.storage.sent(ticket) == ()
    assert server.put(target, right).status == 200
    assert (await server.storage.commit(ticket, UploadReceipt())).sha256 == digest


async def test_the_same_and_other_bytes_may_be_sent_again_before_the_commit(
    server: Server, key: str
) -> None:
    ticket, (target,) = await server.upload(key, PART)
    for data in (some(PART), some(PART), b"less"):
        assert server.put(target, data).status == 200
    await server.storage.commit(ticket, UploadReceipt())
    assert server.get(await server.target(key)).body == b"less"
    assert server.put(target, b"more").status == 404


async def test_a_part_says_that_it_has_no_place_of_its_own(server: Server, key: str) -> None:
    _, (target,) = await server.upload(key, 7)
    assert server.put(target, b"content", content_range="bytes 0-6/7").status == 400


async def test_tokens_and_types_of_content_are_not_looked_at(server: Server, key: str) -> None:
    ticket, (target,) = await server.upload(key, 7)
    for authorization in ("Bearer nonsense", "Basic eDp5", "\xff"):
        answer = server.put(
            target, b"content", authorization=authorization, content_type="application/json"
        )
        assert answer.status == 200
    await server.storage.commit(ticket, UploadReceipt())
    assert server.get(await server.target(key), authorization="Bearer no").status == 200


async def test_what_is_not_there_is_not_found(server: Server, key: str) -> None:
    assert server.get(await server.target(key)).status == 404


async def test_an_upload_that_was_aborted_takes_nothing(server: Server, key: str) -> None:
    ticket, (target,) = await server.upload(key, 7)
    await server.storage.abort(ticket)
    assert server.put(target, b"content").status == 404
    with pytest.raises(NotFound):
        await server.storage.commit(ticket, UploadReceipt())


@pytest.mark.parametrize("size", [1000, 3_000_000])
async def test_requests_on_one_connection_do_not_wait_for_each_other_to_be_sent(
    server: Server, key: str, size: int
) -> None:
    """Pipelining: a part, a download and another part, written in one go."""
    data = some(size)
    ticket, targets = await server.upload(f"{key}2", 2 * PART)
    target = await server.keep(key, data)
    connection = server.connect()
    connection.ask("PUT", targets[0], data[:PART].ljust(PART))
    connection.ask("GET", target)
    connection.ask("PUT", targets[1], b"the rest")
    connection.ask("GET", target, range="bytes=5-9")
    assert connection.answer().headers["etag"] == tag_of(data[:PART].ljust(PART))
    assert connection.answer().body == data
    assert connection.answer().status == 200
    assert connection.answer().body == data[5:10]
    await server.storage.commit(ticket, UploadReceipt())


async def test_one_connection_carries_many_requests(server: Server, key: str) -> None:
    data = some(PART)
    _, (target,) = await server.upload(f"{key}2", PART)
    read = await server.keep(key, data)
    connection = server.connect()
    for _ in range(20):
        connection.ask("PUT", target, data)
        assert connection.answer().headers["etag"] == tag_of(data)
        connection.ask("GET", read)
        assert connection.answer().body == data


async def test_a_url_expires(server: Server, key: str) -> None:
    ticket, _ = await server.upload(key, 7)
    for ending in (timedelta(0), timedelta(hours=-1)):
        signed = await server.storage.sign_upload(
            ticket, audience=Audience.CONSUMER, expires=ending
        )
        read = await server.storage.sign_read(key, audience=Audience.CONSUMER, expires=ending)
        for answer in (server.put(signed.parts[0].url, b"content"), server.get(read.url)):
            assert answer.status == 403
            assert json.loads(answer.body)["reason"] == "expired"


async def test_two_servers_of_one_storage_serve_the_same(
    serve: Callable[..., Server], key: str
) -> None:
    one, other = serve(), serve()
    ticket, targets = await one.upload(key, 2 * PART)
    assert one.put(targets[0], some(PART)).status == 200
    assert other.put(targets[1], some(PART, 2)).status == 200
    await other.storage.commit(ticket, UploadReceipt())
    assert one.get(await other.target(key)).body == some(PART) + some(PART, 2)
