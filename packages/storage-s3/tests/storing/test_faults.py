"""What happens when the server, the way to it, or the credentials misbehave: on a real server."""

import hashlib
import io
import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.faultproxy import Asked, Fault, FaultProxy, fault_proxy
from tests.s3 import Open, S3Server
from tests.s3sending import PlainTransport, send

from longshore.clock import SystemClock
from longshore.errors import LongshoreError, NotFound, StorageUnavailable
from longshore.testing import FakeClock
from longshore.transfer import Audience, UploadReceipt, UploadTicket
from longshore_s3.storage import S3Storage

pytestmark = pytest.mark.anyio

KEY = "i/acme/job/outputs/result"
HOUR = timedelta(hours=1)
DATA = random.Random(10).randbytes(1024**2)
#: every 5 % of a transfer
STEPS = [len(DATA) * percent // 100 for percent in range(0, 100, 5)]


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3_server.endpoint) as standing:
        yield standing


@pytest.fixture
async def behind(opened: Open, proxy: FaultProxy) -> AsyncIterator[S3Storage]:
    """A storage that reaches its server through the proxy."""
    async with opened(endpoint=proxy.url, timeout=timedelta(seconds=5)) as storage:
        yield storage


async def upload(
    storage: S3Storage, data: bytes = DATA, key: str = KEY
) -> tuple[UploadTicket, UploadReceipt]:
    ticket = await storage.prepare_upload(key, max_size=len(data))
    signed = await storage.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)
    return ticket, PlainTransport().send(signed, io.BytesIO(data), max_size=len(data))


async def read(storage: S3Storage, key: str = KEY, start: int = 0) -> bytes:
    return b"".join([chunk async for chunk in storage.read(key, start=start)])


async def chunks(*given: bytes) -> AsyncIterator[bytes]:
    for one in given:
        yield one


def is_put(asked: Asked) -> bool:
    return asked.method == "PUT"


def is_get(asked: Asked) -> bool:
    return asked.method == "GET" and "uploadId" not in asked.target


def is_complete(asked: Asked) -> bool:
    return asked.method == "POST" and "uploadId=" in asked.target


async def test_an_upload_that_is_cut_anywhere_leaves_no_part_and_is_sent_again(
    behind: S3Storage, proxy: FaultProxy
) -> None:
    ticket = await behind.prepare_upload(KEY, max_size=len(DATA))
    signed = await behind.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)
    for at in STEPS:
        proxy.once(Fault(at=at, cut=True), is_put)
        with pytest.raises(OSError):  # noqa: PT011 - whatever the connection says
            PlainTransport().send(signed, io.BytesIO(DATA), max_size=len(DATA))
        assert await behind.sent(ticket) == ()
        assert await behind.stat(KEY) is None
    receipt = PlainTransport().send(signed, io.BytesIO(DATA), max_size=len(DATA))
    await behind.commit(ticket, receipt)
    assert await read(behind) == DATA


async def test_a_part_that_was_changed_on_its_way_is_refused_by_the_server(
    behind: S3Storage, proxy: FaultProxy
) -> None:
    proxy.once(Fault(at=len(DATA) // 2, changed=True), is_put)
    with pytest.raises(StorageUnavailable, match="BadDigest"):
        await upload(behind)
    proxy.once(Fault(at=10, changed=True), is_put)
    with pytest.raises(StorageUnavailable, match="BadDigest"):
        await behind.write(KEY, chunks(DATA))
    assert await behind.stat(KEY) is None


async def test_a_read_that_is_cut_anywhere_goes_on_or_says_so(
    behind: S3Storage, proxy: FaultProxy
) -> None:
    await behind.write(KEY, chunks(DATA))
    for at in STEPS:
        proxy.once(Fault(up=False, at=at, cut=True), is_get)
        assert await read(behind) == DATA


async def test_an_object_that_is_deleted_under_way_never_reads_as_a_shorter_one(
    behind: S3Storage, proxy: FaultProxy
) -> None:
    data = DATA * 4
    await behind.write(KEY, chunks(data))
    reading = behind.read(KEY)
    left = [Fault(up=False, at=len(data) // 2, pause=1.0, cut=True)]  # while it is deleted
    proxy.choose = lambda asked: left.pop() if left and is_get(asked) else None
    begun = await anext(reading)
    assert data.startswith(begun)
    await behind.delete(KEY)
    with pytest.raises((NotFound, StorageUnavailable)):
        [chunk async for chunk in reading]


@pytest.mark.parametrize("cut", [True, False])
async def test_the_object_is_there_when_the_answer_to_its_completion_is_lost(
    behind: S3Storage,
    proxy: FaultProxy,
    *,
    cut: bool,
) -> None:
    ticket, receipt = await upload(behind)
    lost = Fault(at=None, cut=True) if cut else Fault(at=None, pause=6.0)
    proxy.once(lost, is_complete)
    stored = await behind.commit(ticket, receipt)
    assert stored == await behind.stat(KEY)
    assert await read(behind) == DATA


async def test_a_commit_that_was_killed_after_the_completion_is_repeated_by_another_process(
    opened: Open,
) -> None:
    class KilledError(BaseException):
        pass

    async def killed(_: object) -> None:
        raise KilledError

    async with opened() as first:
        ticket, receipt = await upload(first)
        first._find = killed  # type: ignore[method-assign, assignment]  # where the process dies
        with pytest.raises(KilledError):
            await first.commit(ticket, receipt)
    async with opened() as second:
        stored = await second.commit(ticket, receipt)
        assert stored == await second.commit(ticket, receipt)
        assert await read(second) == DATA


async def test_a_server_that_is_busy_is_asked_again(behind: S3Storage, proxy: FaultProxy) -> None:
    left = [Fault(status=503), Fault(status=500)]
    proxy.choose = lambda _: left.pop() if left else None
    await behind.write(KEY, chunks(DATA))
    assert not left


@pytest.mark.parametrize("status", [200, 403, 502])
async def test_a_page_of_something_in_front_of_the_server_is_no_answer(
    behind: S3Storage, proxy: FaultProxy, status: int
) -> None:
    page = b"<html><body>Please log in<br></body></html>"
    proxy.choose = lambda _: Fault(status=status, body=page)
    for call in (behind.prepare_upload(KEY, max_size=1), behind.delete("i/")):
        with pytest.raises(StorageUnavailable):
            await call


async def test_whatever_is_asked_of_a_server_that_is_away_may_be_asked_again(
    behind: S3Storage, proxy: FaultProxy
) -> None:
    ticket, receipt = await upload(behind)
    proxy.is_down = True
    for call in (
        behind.prepare_upload(KEY, max_size=1),
        behind.sent(ticket),
        behind.commit(ticket, receipt),
        behind.abort(ticket),
        behind.stat(KEY),
        read(behind),
        behind.write(KEY, chunks(DATA)),
        behind.delete("i/"),
    ):
        with pytest.raises(StorageUnavailable) as caught:
            await call
        check_no_secret(caught.value)
    proxy.is_down = False
    await behind.commit(ticket, receipt)
    assert await read(behind) == DATA


async def test_a_server_that_hangs_is_left_in_time(opened: Open, proxy: FaultProxy) -> None:
    async with opened(endpoint=proxy.url, timeout=timedelta(seconds=0.2)) as storage:
        proxy.choose = lambda _: Fault(at=None, pause=2.0)
        with pytest.raises(StorageUnavailable):
            await storage.stat(KEY)


async def test_a_write_whose_storage_fails_leaves_no_upload_behind(
    behind: S3Storage, proxy: FaultProxy, s3_client: Any, bucket: str
) -> None:
    before = open_uploads(s3_client, bucket)
    proxy.choose = lambda asked: (
        Fault(status=503) if is_put(asked) and re.search(r"partNumber=2\b", asked.target) else None
    )
    with pytest.raises(StorageUnavailable):
        await behind.write(KEY, chunks(*[DATA] * 40))
    proxy.choose = lambda _: None
    assert open_uploads(s3_client, bucket) == before
    assert await behind.stat(KEY) is None


async def test_a_write_whose_source_fails_leaves_no_upload_behind(
    storage: S3Storage, s3_client: Any, bucket: str
) -> None:
    async def failing() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield DATA
        raise ConnectionError("the consumer went away")

    before = open_uploads(s3_client, bucket)
    with pytest.raises(ConnectionError, match="went away"):
        await storage.write(KEY, failing())
    assert open_uploads(s3_client, bucket) == before


async def test_a_large_write_comes_back_whole(storage: S3Storage) -> None:
    data = random.Random(1).randbytes(40 * 1024**2 + 7)
    step = 3_000_001
    stored = await storage.write(
        KEY, chunks(*[data[at : at + step] for at in range(0, len(data), step)])
    )
    assert (stored.size, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert await read(storage, start=17 * 1024**2) == data[17 * 1024**2 :]


async def test_an_upload_of_several_parts_comes_back_whole(storage: S3Storage) -> None:
    data = random.Random(2).randbytes(33 * 1024**2)
    ticket, receipt = await upload(storage, data)
    assert [one.size for one in await storage.sent(ticket)] == [2**24, 2**24, 2**20]
    await storage.commit(ticket, receipt)
    assert await read(storage) == data


async def test_what_is_missing_of_an_upload_is_not_committed(storage: S3Storage) -> None:
    ticket = await storage.prepare_upload(KEY, max_size=33 * 1024**2)
    signed = await storage.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)
    for number in (1, 3):
        assert send("PUT", signed.parts[number - 1].url, DATA).status == 200
    with pytest.raises(NotFound, match="not all parts"):
        await storage.commit(ticket, UploadReceipt())
    assert await storage.stat(KEY) is None


async def test_the_parts_of_an_upload_are_listed_to_the_last(storage: S3Storage) -> None:
    ticket = await storage.prepare_upload(KEY, max_size=1001 * 16 * 1024**2)
    signed = await storage.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)
    assert len(signed.parts) < 1001  # so the last are signed here
    signer = storage._bucket.signers[Audience.JOB]
    urls = signer.sign_parts(
        await storage._source.get(),
        storage._name(KEY),
        ticket.upload_id,
        1001,
        at=SystemClock().now(),
        expires=900,
    )
    assert {send("PUT", url, b"x").status for url in urls} == {200}
    assert [one.number for one in await storage.sent(ticket)] == list(range(1, 1002))
    await storage.abort(ticket)


async def test_all_below_a_prefix_is_deleted_and_nothing_of_a_neighbour(
    storage: S3Storage, s3_client: Any, bucket: str
) -> None:
    for number in range(1003):
        key = storage._name(f"i/acme/job/{number}")
        s3_client.put_object(Bucket=bucket, Key=key, Body=b"x")
    await storage.write("i/acme-2/job/result", chunks(b"of another tenant"))
    assert await storage.delete("i/acme/") == 1003
    assert [one.key async for one in storage.walk("i/")] == ["i/acme-2/job/result"]
    assert await read(storage, "i/acme-2/job/result") == b"of another tenant"


# credentials


async def test_credentials_that_are_replaced_under_way_are_used_from_then_on(
    opened: Open, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    access, secret = tmp_path / "access", tmp_path / "secret"
    s3_server.add_user(bucket, "firstuser", "first-secret")
    access.write_text("firstuser\n")
    secret.write_text("first-secret\n")
    async with opened(access_key_file=access, secret_key_file=secret) as storage:
        ticket = await storage.prepare_upload(KEY, max_size=len(DATA))
        s3_server.replace_user(bucket, "firstuser", "seconduser", "second-secret")
        with pytest.raises(StorageUnavailable, match="does not know the access key"):
            await storage.stat(KEY)
        access.write_text("seconduser")
        secret.write_text("second-secret")
        signed = await storage.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)
        receipt = PlainTransport().send(signed, io.BytesIO(DATA), max_size=len(DATA))
        await storage.commit(ticket, receipt)
        assert await read(storage) == DATA


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"bucket": "no-such-bucket"}, "there is no bucket 'no-such-bucket'"),
        ({"access_key": "nobody", "secret_key": "hidden"}, "does not know the access key"),
        ({"secret_key": "hidden"}, "the secret key is another one"),
    ],
)
async def test_what_is_wrong_with_the_settings_is_said_with_what_to_do(
    opened: Open, given: dict[str, str], says: str
) -> None:
    async with opened(**given) as storage:
        for call in (
            storage.write(KEY, chunks(DATA)),
            storage.prepare_upload(KEY, max_size=1),
            storage.delete("i/"),
        ):
            with pytest.raises(StorageUnavailable, match=says) as caught:
                await call
            assert caught.value.hint
            check_no_secret(caught.value)
        with pytest.raises(LongshoreError) as caught_too:
            await read(storage)
        check_no_secret(caught_too.value)


def check_no_secret(error: LongshoreError) -> None:
    """No secret and no signature, also not in what a traceback would show."""
    shown: list[str] = []
    one: BaseException | None = error
    while one is not None:
        shown += [str(one), repr(one)]
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    for secret in ("testbed-secret", "hidden", "X-Amz-Signature", "Authorization"):
        assert secret not in "\n".join(shown)


# clocks


async def test_requests_that_are_signed_by_a_clock_that_is_late_are_refused(opened: Open) -> None:
    clock = FakeClock(SystemClock().now() - timedelta(minutes=20))
    async with opened(clock=clock) as storage:
        await storage.write(KEY, chunks(DATA))
        request = await storage.sign_read(
            KEY, audience=Audience.CONSUMER, expires=timedelta(minutes=15)
        )
    assert send("GET", request.url).status == 403


async def test_a_url_is_good_until_it_expires(opened: Open) -> None:
    clock = FakeClock(SystemClock().now() - timedelta(minutes=14))
    async with opened(clock=clock) as storage:
        await storage.write(KEY, chunks(DATA))
        life = timedelta(minutes=15)
        good = await storage.sign_read(KEY, audience=Audience.CONSUMER, expires=life)
        clock.set(clock.now() - timedelta(minutes=2))
        old = await storage.sign_read(KEY, audience=Audience.CONSUMER, expires=life)
    assert good.expires_at > SystemClock().now() > old.expires_at
    assert send("GET", good.url).body == DATA
    assert send("GET", old.url).status == 403


def open_uploads(client: Any, bucket: str) -> Sequence[str]:
    listed = client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
    return sorted(one["UploadId"] for one in listed)
