"""Alive and ready, as an orchestrator asks."""

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from tests.serving import PROGRAM, Service, serving, workspace

from longshore import embedded
from longshore.settings import parse_settings
from longshore_api import serve

PROBLEM = "application/problem+json"


def test_alive_and_ready_need_no_token(nobody: httpx2.Client) -> None:
    alive, ready = nobody.get("/livez"), nobody.get("/readyz")

    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert ready.status_code == 200
    assert ready.json() == {
        "status": "ready",
        "checks": {"store": "ok", "storage": "ok", "backend:local": "ok"},
    }
    assert ready.headers["cache-control"] == "no-store"


def test_a_part_that_does_not_work_is_named_without_its_reason(place: Path) -> None:
    settings = '[backends.local]\nisolation = "docker"\n'
    no_docker = {"DOCKER_HOST": f"unix://{place}/nothing"}

    with (
        serving(place, settings=settings, environment=no_docker) as service,
        service.client() as client,
    ):
        answer = client.get("/readyz")
        alive = client.get("/livez")

        assert answer.status_code == 503
        assert answer.headers["content-type"] == PROBLEM
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["checks"]["backend:local"] == "failed"
        assert answer.json()["checks"]["store"] == "ok"
        assert "docker" not in answer.text
        assert alive.status_code == 200
        told = [
            event for event in service.log() if event["event"] == "a part of the service changed"
        ]
        assert "docker does not work" in told[0]["reason"]


def test_unknown_routes_and_methods_are_problems(service: Service) -> None:
    with service.as_admin() as client:
        unknown = client.get("/v1/nothing")
        method = client.put("/v1/jobs")

    assert (unknown.status_code, unknown.headers["content-type"]) == (404, PROBLEM)
    assert unknown.json()["code"] == "unknown-route"
    assert (method.status_code, method.headers["content-type"]) == (405, PROBLEM)
    assert "POST" in method.headers["allow"]


def test_the_first_lines_say_where_it_is_and_how_to_get_on(service: Service) -> None:
    first, second = service.out.read_text().splitlines()[:2]

    assert first == (
        f"Longshore listens on {service.url} and explains itself at {service.url}/docs"
    )
    assert str(service.home) in second
    assert "isolation none" in second
    assert service.said().splitlines()[0] == f"admin token (shown once): {service.admin}"
    assert service.said().count(service.admin) == 1


def test_a_person_on_a_terminal_is_told_once_where_it_listens(place: Path) -> None:
    ours, theirs = pty.openpty()
    argv = ["--config", str(workspace(place)), "--state", str(place / "state"), "--port", "0"]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *argv], stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        try:
            said = _read_to(ours, "stop with")
            url = said.partition("listens on ")[2].split()[0]
            assert httpx2.get(f"{url}/readyz").status_code == 200
            process.send_signal(signal.SIGTERM)
            said += _read_to(ours, "")
        finally:
            process.kill()
            os.close(ours)

    assert said.count(url) == 2  # that it listens, and its documentation
    assert "serving" not in said


def _read_to(terminal: int, words: str) -> str:
    """Return what is written up to ``words``; to the end where there are none."""
    said = ""
    while not words or words not in said:
        assert select.select([terminal], [], [], 30)[0], said
        try:
            said += os.read(terminal, 4096).decode()
        except OSError:  # the other end is closed
            break
    return said


def test_who_reads_the_log_elsewhere_is_told_in_the_log(service: Service) -> None:
    (event,) = [one for one in service.log() if one["event"] == "serving"]

    assert event["url"] == service.url


def test_settings_are_parsed_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[object] = []

    def counting(*given: object, **more: object) -> object:
        times.append(given)
        return parse_settings(*given, **more)  # type: ignore[arg-type]  # as they were given

    for module in (serve, embedded):
        monkeypatch.setattr(module, "parse_settings", counting)

    assert serve.serve(["--new-admin-token", "--state", str(place / "state")]) == 0
    assert len(times) == 1
