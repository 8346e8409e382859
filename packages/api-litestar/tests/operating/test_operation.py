"""Alive and ready, as an orchestrator asks."""

from pathlib import Path

import httpx2
from tests.serving import Service, serving

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
