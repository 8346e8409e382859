"""S12 on S3: a signed URL is for one method on one object, or one part of one upload, and ends."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.s3 import Open
from tests.s3sending import send

from longshore.clock import SystemClock
from longshore.testing import FakeClock
from longshore.transfer import Audience, UploadReceipt
from longshore_s3.storage import S3Storage

pytestmark = pytest.mark.anyio

KEY, OTHER = "i/acme/job1/outputs/result", "i/other/job2/outputs/result"
LIFE = timedelta(minutes=15)
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")


async def one(data: bytes) -> AsyncIterator[bytes]:
    yield data


def changed(url: str) -> Iterator[str]:
    """Yield the URL with every one of its members changed, added or left out."""
    address, _, query = url.partition("?")
    members = query.split("&")
    for place, member in enumerate(members):
        name, _, text = member.partition("=")
        other = text[:-1] + ("1" if text[-1] != "1" else "2")
        yield f"{address}?{'&'.join([*members[:place], f'{name}={other}', *members[place + 1 :]])}"
        yield f"{address}?{'&'.join([*members[:place], *members[place + 1 :]])}"
    for more in ("versionId=null", "response-content-type=text%2Fhtml", "acl", "uploads"):
        yield f"{url}&{more}"
    yield url.replace(KEY, OTHER)
    yield url.replace(f"/{KEY}", "/")
    yield url.replace(KEY, f"{KEY}/../../../../{OTHER}")


async def check_urls_are_narrow(opened: Open) -> None:
    """The property: nothing but what was signed is answered with anything but a refusal."""
    late = FakeClock(SystemClock().now() - LIFE - timedelta(seconds=5))
    async with opened() as storage, opened(clock=late) as long_ago:
        await storage.write(OTHER, one(b"of another tenant"))
        await storage.write(KEY, one(b"the result"))
        reading = (await storage.sign_read(KEY, audience=Audience.CONSUMER, expires=LIFE)).url
        assert send("GET", reading).body == b"the result"
        refused = [("GET", url) for url in changed(reading)]
        refused += [(method, reading) for method in METHODS if method != "GET"]
        old = await long_ago.sign_read(KEY, audience=Audience.CONSUMER, expires=LIFE)
        refused.append(("GET", old.url))

        ticket = await storage.prepare_upload(KEY, max_size=40 * 1024**2)
        signed = await storage.sign_upload(ticket, audience=Audience.CONSUMER, expires=LIFE)
        sending = signed.parts[0].url
        refused += [("PUT", url) for url in changed(sending)]
        refused += [(method, sending) for method in METHODS if method != "PUT"]
        for method, url in refused:
            answer = send(method, url, b"x" if method in {"PUT", "POST"} else b"")
            assert 400 <= answer.status < 500, f"{method} {answer.status}"
            assert b"of another tenant" not in answer.body
        assert await storage.sent(ticket) == ()
        assert send("GET", reading).body == b"the result"
        assert send("PUT", sending, b"the first part").status == 200
        await storage.abort(ticket)


async def test_a_signed_url_allows_one_thing(opened: Open) -> None:
    await check_urls_are_narrow(opened)


async def test_control_urls_that_live_for_a_week_are_found(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = S3Storage._valid

    async def for_a_week(self: S3Storage, _: timedelta) -> Any:
        return await valid(self, timedelta(days=7))

    monkeypatch.setattr(S3Storage, "_valid", for_a_week)
    with pytest.raises(AssertionError, match="GET 200"):
        await check_urls_are_narrow(opened)


async def test_more_bytes_than_were_agreed_are_dropped_at_the_commit(storage: S3Storage) -> None:
    ticket = await storage.prepare_upload(KEY, max_size=4)
    signed = await storage.sign_upload(ticket, audience=Audience.CONSUMER, expires=LIFE)
    assert send("PUT", signed.parts[0].url, b"12345").status == 200
    with pytest.raises(Exception, match="5 bytes were sent"):
        await storage.commit(ticket, UploadReceipt())
    assert await storage.stat(KEY) is None
