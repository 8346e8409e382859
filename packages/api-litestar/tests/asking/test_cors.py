"""Pages of origins that the provider allows may use the service from a browser, and no others."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.inside import Inside, finished, running
from tests.matrix import COPY
from tests.serving import PROGRAM
from tests.support import end_processes_of

from longshore.errors import SettingsInvalid
from longshore_api.cors import METHODS, SEEN, SENT, check_origins

PORTAL, OTHER = "https://portal.example", "https://portal.example.evil.example"
PREFLIGHT = {"origin": PORTAL, "access-control-request-method": "PUT"}
ALLOW, EXPOSE = "access-control-allow-origin", "access-control-expose-headers"


def service(place: Path, origins: Sequence[str]) -> Iterator[Inside]:
    try:
        with running(place / "state", COPY, table={"service": {"origins": list(origins)}}) as made:
            yield made
    finally:
        end_processes_of(place)


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    yield from service(tmp_path_factory.mktemp("cors"), [PORTAL, "http://localhost:3000"])


@pytest.fixture(scope="module")
def consumer(inside: Inside) -> httpx2.Client:
    return inside.consumer()


def crossing(answer: httpx2.Response) -> dict[str, str]:
    """Return what an answer says to browsers."""
    return {name: it for name, it in answer.headers.items() if name.startswith("access-control")}


def routes(client: httpx2.Client) -> list[tuple[str, str, dict[str, Any]]]:
    """Return requests that are answered in every way that there is: fast, slow, bytes, errors."""
    asked = {"workflow": "copy", "inputs": {"text": {"text": "x"}}, "start": True}
    made = client.post("/v1/jobs", json=asked).json()
    finished(client, made["id"])
    url = client.get(f"/v1/jobs/{made['id']}/outputs/copy").headers["location"]
    return [
        ("GET", f"/v1/jobs/{made['id']}", {}),
        ("POST", "/v1/jobs", {"json": asked}),
        ("GET", f"/v1/jobs/{made['id']}/events", {}),
        ("GET", f"/v1/jobs/{made['id']}/logs", {}),
        ("GET", f"/v1/jobs/{made['id']}/outputs/copy", {}),
        ("GET", url, {}),
        ("GET", url + "1", {}),
        ("GET", "/v1/jobs/none", {}),
        ("GET", "/v1/nowhere", {}),
        ("PATCH", "/v1/jobs", {}),
        ("POST", "/v1/jobs", {"content": b"{"}),
        ("GET", "/readyz", {}),
    ]


def test_every_answer_may_be_seen_by_a_page_that_is_allowed(consumer: httpx2.Client) -> None:
    for method, url, more in routes(consumer):
        answer = consumer.request(method, url, headers={"origin": PORTAL}, **more)
        assert crossing(answer) == {ALLOW: PORTAL, EXPOSE: ", ".join(SEEN)}, (method, url)
        assert "Origin" in answer.headers["vary"]
        assert answer.status_code < 500


def test_no_answer_may_be_seen_by_any_other_page(consumer: httpx2.Client) -> None:
    others = [OTHER, "http://portal.example", f"{PORTAL}:8443", "null", "", "*", PORTAL.upper()]
    for method, url, more in routes(consumer):
        for origin in others:
            answer = consumer.request(method, url, headers={"origin": origin}, **more)
            assert crossing(answer) == {}, (method, url, origin)
            assert "Origin" in answer.headers["vary"]
        assert crossing(consumer.request(method, url, **more)) == {}


@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/v1/jobs/x/inputs/y/complete", "/v1/blobs/i/t/x?a=1"]
)
def test_a_browser_may_ask_beforehand_and_needs_no_token_for_it(inside: Inside, path: str) -> None:
    answer = inside.client().options(path, headers=PREFLIGHT)
    assert answer.status_code == 204
    assert answer.content == b""
    assert crossing(answer) == {
        ALLOW: PORTAL,
        "access-control-allow-methods": ", ".join(METHODS),
        "access-control-allow-headers": ", ".join(SENT),
        "access-control-max-age": "600",
    }


def test_credentials_of_a_browser_are_never_allowed(
    inside: Inside, consumer: httpx2.Client
) -> None:
    for answer in (
        inside.client().options("/v1/jobs", headers=PREFLIGHT),
        consumer.get("/v1/jobs", headers={"origin": PORTAL}),
    ):
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/blobs/i/t/x?a=1"])
def test_for_other_pages_asking_beforehand_is_refused(inside: Inside, path: str) -> None:
    answer = inside.client().options(path, headers={**PREFLIGHT, "origin": OTHER})
    assert answer.status_code in {401, 403}
    assert crossing(answer) == {}


def test_of_two_origins_none_is_believed(inside: Inside) -> None:
    headers = [*PREFLIGHT.items(), ("origin", OTHER)]
    assert crossing(inside.client().options("/v1/jobs", headers=headers)) == {}


def test_a_page_without_a_token_gets_no_further_than_anybody(inside: Inside) -> None:
    answer = inside.client().get("/v1/jobs", headers={"origin": PORTAL})
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"
    assert answer.headers[ALLOW] == PORTAL


def test_all_pages_may_be_allowed(tmp_path: Path) -> None:
    for made in service(tmp_path, ["*"]):
        answer = made.consumer().get("/v1/jobs", headers={"origin": OTHER})
        assert crossing(answer) == {ALLOW: "*", EXPOSE: ", ".join(SEEN)}
        assert "vary" not in answer.headers


def test_by_default_no_page_is_allowed(tmp_path: Path) -> None:
    for made in service(tmp_path, []):
        assert crossing(made.consumer().get("/v1/jobs", headers={"origin": PORTAL})) == {}
        assert made.client().options("/v1/jobs", headers=PREFLIGHT).status_code == 401


@pytest.mark.parametrize(
    "origin",
    [
        "portal.example",
        "https://portal.example/",
        "https://portal.example/app",
        "https://Portal.example",
        "HTTPS://portal.example",
        "https://portal.example:443",
        "http://portal.example:80",
        "https://user@portal.example",
        "https://portal.example?x",
        "https://*.example",
        "https://portal.example:99999",
        "https://pörtal.example",
        "ftp://portal.example",
        "https://portal.example, https://other.example",
        "https://portal.example\r\nx: y",
        "null",
        "",
    ],
)
def test_what_no_browser_would_say_is_a_mistake_of_the_settings(origin: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        check_origins(["https://good.example", origin])
    assert [problem.where for problem in caught.value.problems] == ["service.origins"]


def test_origins_as_browsers_say_them_are_none() -> None:
    good = ["*", PORTAL, "http://localhost:3000", "http://[::1]:8080", "https://10.0.0.1:8443"]
    assert check_origins(good) == ", ".join(good)


@pytest.mark.parametrize("more", [["--check"], ["--port", "0"]])
def test_a_service_with_such_a_mistake_says_so_and_does_not_start(
    tmp_path: Path, more: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--state", str(tmp_path), *more],
        env={**os.environ, "LONGSHORE_SERVICE__ORIGINS": f"{PORTAL}, {PORTAL}/"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert "service.origins" in said
    assert f"{PORTAL}/: an origin is as https://portal.example, without a slash behind" in said
