"""A page in a real browser submits a job, sends its bytes, and reads what comes of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.browser.chromium import PROGRAM, Portal, portal
from tests.serving import SETTINGS, Service, end_everything, serving

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
MIB = 1024**2
_SERVICE = '[service]\norigins = ["{origin}"]\n'
#: large enough for more than one part
BULK = """\
id = "bulk"
command = ["/bin/sh", "-c", "echo copied; cp {inputs.text} {outputs.copy}"]
[inputs.text]
kind = "file"
max_size = "512 MiB"
[outputs.copy]
kind = "file"
max_size = "512 MiB"
[resources]
memory = "256 MiB"
disk = "2 GiB"
"""


@pytest.fixture(scope="module")
def friend() -> Iterator[Portal]:
    """The page of an origin that the provider allows."""
    with portal() as made:
        yield made


@pytest.fixture(scope="module")
def stranger() -> Iterator[Portal]:
    """The same page, of an origin that the provider does not know."""
    with portal() as made:
        yield made


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, friend: Portal) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("served")
    (place / "workflows").mkdir()
    (place / "workflows" / "bulk.toml").write_text(BULK)
    try:
        with serving(place, settings=_SERVICE.format(origin=friend.origin) + SETTINGS) as made:
            yield made
    finally:
        end_everything(place)


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    return service.consumer()


def jobs(service: Service, token: str) -> list[Any]:
    with service.client(token) as client:
        return list(client.get("/v1/jobs").json()["items"])


@pytest.mark.parametrize(("size", "parts"), [(3 * MIB + 5, 1), (70 * MIB + 3, 2)])
def test_a_page_of_an_allowed_origin_does_all_that_a_consumer_does(
    service: Service, token: str, friend: Portal, tmp_path: Path, size: int, parts: int
) -> None:
    given = {"server": service.url, "token": token, "size": size, "workflow": "bulk"}
    said = friend.visit(tmp_path / "profile", **given)
    assert "error" not in said, said
    assert said["state"] == "SUCCEEDED"
    assert said["isSame"]
    assert said["isListed"]
    assert said["log"] == "copied\n"
    assert said["parts"] == parts
    assert said["location"].endswith(f"/v1/jobs/{said['id']}")
    assert said["range"] == f"bytes 0-3/{size}"
    assert said["requestId"]
    assert said["remaining"].isdecimal()
    assert httpx2.get(f"{service.url}/v1/jobs/{said['id']}").status_code == 401


def test_the_browser_keeps_the_page_of_any_other_origin_out(
    service: Service, token: str, stranger: Portal, tmp_path: Path
) -> None:
    before = jobs(service, token)
    given = {"server": service.url, "token": token, "size": 10, "workflow": "bulk"}
    said = stranger.visit(tmp_path / "profile", **given)
    assert said == {"error": "TypeError: Failed to fetch", "steps": []}
    assert jobs(service, token) == before


def test_a_page_is_told_what_is_wrong(
    service: Service, token: str, friend: Portal, tmp_path: Path
) -> None:
    """Errors can be read, too: they come with the same headers."""
    given = {"server": service.url, "size": 10, "workflow": "bulk"}
    said = friend.visit(tmp_path / "one", token="ls_" + "x" * 43, **given)
    assert said["error"] == "Error: 401 unauthenticated"
    said = friend.visit(tmp_path / "two", token=token, **{**given, "workflow": "none"})
    assert said["error"] == "Error: 404 not-found"
