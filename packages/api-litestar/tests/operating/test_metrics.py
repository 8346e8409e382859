"""What the service counts, and that nobody can make it count without end."""

import random
import string
import time
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.serving import Service

from longshore.lifecycle import JobState
from longshore_api import metrics
from longshore_api.exposition import Numbers, render
from longshore_api.metrics import METHODS, OTHER, Tally

_SEED = 20261121


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def read(admin: httpx2.Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = admin.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples(answer.text)


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_numbers_are_for_administrators(service: Service, nobody: httpx2.Client) -> None:
    with service.client(service.consumer()) as consumer:
        assert consumer.get("/metrics").status_code == 403
    assert nobody.get("/metrics").status_code == 401


def test_requests_are_counted_by_route_method_and_class(admin: httpx2.Client) -> None:
    wanted = key("longshore_http_requests_total", route="/v1/me", method="GET", status="2xx")
    before = read(admin).get(wanted, 0.0)

    for _ in range(3):
        assert admin.get("/v1/me").status_code == 200
    after = read(admin)

    assert after[wanted] == before + 3
    count = after[key("longshore_http_request_duration_seconds_count", route="/v1/me")]
    last = after[key("longshore_http_request_duration_seconds_bucket", route="/v1/me", le="+Inf")]
    assert count == last >= 3


def test_jobs_parts_and_build_are_told(service: Service, admin: httpx2.Client) -> None:
    with service.client(service.consumer()) as consumer:
        made = consumer.post("/v1/jobs", json={"workflow": "hello"})
        assert made.status_code == 201, made.text
    told = read(admin)

    states = {dict(labels)["state"] for name, labels in told if name == "longshore_jobs"}
    assert states == set(map(str, JobState))
    assert key("longshore_queue_length") in told
    assert key("longshore_http_streams") in told
    assert told[key("longshore_up", part="store")] == 1
    assert told[key("longshore_up", part="backend:local")] == 1
    assert told[key("longshore_supervisor")] == 1
    assert any(name == "longshore_build_info" for name, _ in told)
    assert key("process_resident_memory_bytes") in told


def test_random_paths_and_methods_add_no_series(service: Service, admin: httpx2.Client) -> None:
    chance = random.Random(_SEED)
    methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "PROPFIND", "SEARCH"]

    def word() -> str:
        return "".join(chance.choices(string.ascii_lowercase, k=chance.randint(1, 20)))

    def hammer(times: int) -> int:
        with service.client() as client:
            for number in range(times):
                method = methods[number % len(methods)]
                client.request(method, f"/{word()}/{word()}")
                admin.request(method, f"/{word()}")
                admin.request(method, f"/v1/jobs/{word()}")
        return len(read(admin))

    first = hammer(30 * len(methods))

    assert hammer(30 * len(methods)) == first


def test_strange_methods_are_one() -> None:
    tally = Tally()
    for number in range(1000):
        tally.count({"method": f"X{number}"}, 405, 0.001)
        tally.count({"method": "GET", "path": f"/{number}"}, 404, 0.001)

    assert len(tally.requests) == 2
    assert tally.by_class()["none", OTHER, "4xx"] == 1000


def test_the_bound_is_what_holds_the_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: without it every strange method is a series of its own."""

    class All:
        def __contains__(self, _: object) -> bool:
            return True

    monkeypatch.setattr(metrics, "METHODS", All())
    tally = Tally()
    for number in range(100):
        tally.count({"method": f"X{number}"}, 405, 0.001)

    assert len(tally.requests) == 100


def test_buckets_hold_what_is_not_above_them() -> None:
    tally = Tally()
    scope: dict[str, Any] = {"method": "GET", "path_template": "/x"}
    for seconds in (0.001, 0.0011, 60.0):
        tally.count(scope, 200, seconds)

    told = samples(render(tally, Numbers(jobs={}, parts={}, streams=0, supervises=False)))

    def bucket(bound: str) -> float:
        name = "longshore_http_request_duration_seconds_bucket"
        return told[key(name, route="/x", le=bound)]

    assert (bucket("0.001"), bucket("0.0025"), bucket("10.0"), bucket("+Inf")) == (1, 2, 2, 3)
    assert "GET" in METHODS


def test_counting_a_request_costs_about_a_microsecond() -> None:
    tally = Tally()
    scope: dict[str, Any] = {"method": "GET", "path_template": "/v1/jobs/{job_id}"}
    best = min(_timed(tally, scope) for _ in range(20))

    assert best < 5e-6, f"{best * 1e6:.2f} us"  # far above 0.5 us: other work on the machine


def _timed(tally: Tally, scope: dict[str, Any]) -> float:
    began = time.perf_counter()
    for _ in range(1000):
        tally.count(scope, 200, 0.0004)
    return (time.perf_counter() - began) / 1000
