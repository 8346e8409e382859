"""S12: a signed URL allows one method on one object, so many bytes, for a quarter of an hour."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.blobserving import Server, serving

from longshore.blobs import PATH
from longshore.inputs import CONSUMER_URL_LIFE
from longshore.transfer import Audience

pytestmark = pytest.mark.anyio

KEY, OTHER = "i/acme/job1/outputs/result", "i/other/job2/outputs/result"
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "PROPFIND")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "home") as running:
        yield running


def with_member(target: str, name: str, value: str | None) -> str:
    """Return ``target`` with another value of a member, or without it."""
    path, _, query = target.partition("?")
    members = dict(parse_qsl(query))
    if value is None:
        members.pop(name, None)
    else:
        members[name] = value
    return f"{path}?{'&'.join(f'{name}={value}' for name, value in members.items())}"


def with_key(target: str, key: str) -> str:
    return f"{PATH}{key}?{target.partition('?')[2]}"


async def check_reading_is_narrow(server: Server) -> None:
    """The property: nothing but what was signed is answered with anything but 403."""
    await server.keep(OTHER, b"of another tenant")
    target = await server.keep(KEY, b"the result")
    assert server.get(target).body == b"the result"
    refused = [("GET", with_key(target, key)) for key in KEYS]
    refused += [(method, target) for method in METHODS if method not in {"GET", "HEAD"}]
    refused += [("GET", change(target)) for change in CHANGES]
    for method, changed in refused:
        assert server.request(method, changed).status == 403, "status == 403"
    assert server.get(target).body == b"the result"


async def check_writing_is_narrow(server: Server) -> None:
    """The property: nothing but what was signed is taken, and of that no byte too many."""
    await server.keep(OTHER, b"of another tenant")
    ticket, (target,) = await server.upload(KEY, 10)
    another, _ = await server.upload(OTHER, 10)
    refused = [("PUT", with_key(target, key)) for key in KEYS]
    refused += [(method, target) for method in METHODS if method != "PUT"]
    refused += [("PUT", change(target)) for change in CHANGES]
    refused += [
        ("PUT", with_member(target, "size", "11")),
        ("PUT", with_member(target, "at", "1")),
        ("PUT", with_member(target, "part", "1")),
        ("PUT", with_member(target, "sha256", "0" * 64)),
        ("PUT", with_member(target, "upload", another.upload_id)),
        ("PUT", with_member(target, "upload", "../objects")),
    ]
    for method, changed in refused:
        body = b"evil" if method == "PUT" else b""
        assert server.request(method, changed, body).status == 403, "status == 403"
    assert await server.storage.sent(ticket) == await server.storage.sent(another) == ()
    assert server.put(target, b"x" * 11).status == 413
    assert server.put(target, b"x" * 10).status == 200


KEYS = (OTHER, "", "i/acme/job1/outputs/", f"{KEY}/", f"{KEY}/../result", "../secret.key", "/")
CHANGES: tuple[Callable[[str], str], ...] = (
    lambda target: target.partition("?")[0],
    lambda target: with_member(target, "signature", None),
    lambda target: with_member(target, "signature", ""),
    lambda target: with_member(target, "signature", "A" * 43),
    lambda target: with_member(target, "expires", "99999999999"),
    lambda target: with_member(target, "expires", None),
    lambda target: f"{target}&expires=99999999999",
    lambda target: f"{target}&list-type=2",
    lambda target: f"{target}&",
)


async def test_a_url_to_read_is_good_for_nothing_else(server: Server) -> None:
    await check_reading_is_narrow(server)


async def test_a_url_to_write_is_good_for_nothing_else(server: Server) -> None:
    await check_writing_is_narrow(server)


@pytest.mark.parametrize("check", [check_reading_is_narrow, check_writing_is_narrow])
async def test_control_without_the_comparison_of_signatures_everything_is_allowed(
    tmp_path: Path, check: Callable[[Server], Awaitable[None]]
) -> None:
    with (
        serving(tmp_path / "home", "unsigned") as server,
        pytest.raises(AssertionError, match="status == 403"),
    ):
        await check(server)


async def test_a_url_of_another_installation_is_refused(server: Server, tmp_path: Path) -> None:
    with serving(tmp_path / "another") as other:
        target = await other.keep(KEY, b"the result")
    await server.keep(KEY, b"the result")
    assert server.get(target).status == 403


async def test_consumers_have_a_quarter_of_an_hour_and_the_url_says_so(server: Server) -> None:
    assert timedelta(minutes=15) == CONSUMER_URL_LIFE
    request = await server.storage.sign_read(
        KEY, audience=Audience.CONSUMER, expires=CONSUMER_URL_LIFE
    )
    said = int(dict(parse_qsl(urlsplit(request.url).query))["expires"])
    assert said == int(request.expires_at.timestamp())


async def test_host_and_path_in_front_are_not_signed(server: Server) -> None:
    """A proxy may serve it under a path of its own, and pass that path on."""
    target = await server.keep(KEY, b"the result")
    assert server.get(f"/some/where{target}", host="elsewhere:81").body == b"the result"


async def test_no_other_object_is_named_by_an_answer(server: Server) -> None:
    await server.keep(OTHER, b"of another tenant")
    answer = server.get(PATH)
    assert answer.status == 403
    assert OTHER.encode() not in answer.body
