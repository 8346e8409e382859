"""S16: what one token may ask for is bounded, exactly, and others hardly notice who asks for more.

Slow, endless and too many clients are in ``tests/http_faults``.
"""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings, strategies as st
from tests.http_faults.http import Answer, Client
from tests.http_faults.measuring import MIB, memory, p99, slowest_live, times
from tests.http_faults.mutations import mutated
from tests.http_faults.wire import Wire
from tests.serving import Service, end_everything, serving
from tests.support import until

from longshore_api.errors import RateLimited
from longshore_api.limiting import RateLimiter

pytestmark = pytest.mark.timeout(300)

Count = Callable[[str], None]
RATE, BURST = 100, 40
STREAMS, ALL_STREAMS = 1100, 1000
SECOND = 10**9
LIMITS = f"""\
[limits]
requests_per_second = {RATE}
burst = {BURST}
streams = 3
all_streams = 5
"""
MANY = f"""\
[limits]
requests_per_second = 0
streams = {STREAMS}
all_streams = {ALL_STREAMS}
"""
SETTINGS = """\
[workflows]
directory = "workflows"
[backends.local]
isolation = "none"
[deadlines]
stop_grace = "1s"
"""


def _serving(place: Path, limits: str, *mutations: str) -> Iterator[Service]:
    try:
        with serving(place, settings=limits + SETTINGS, program=mutated(*mutations)) as service:
            yield service
    finally:
        end_everything(place)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    yield from _serving(tmp_path_factory.mktemp("limits"), LIMITS)


@pytest.fixture
def open_hall(tmp_path: Path) -> Iterator[Service]:
    yield from _serving(tmp_path, MANY)


@pytest.fixture
def leaky(tmp_path: Path) -> Iterator[Service]:
    yield from _serving(tmp_path, LIMITS, "leaky-limiter")


# the bucket


@attrs.define
class Clock:
    """Nanoseconds that pass when a test says so."""

    now: int = 1_790_000_000 * SECOND

    def __call__(self) -> int:
        return self.now


def _passes(limiter: RateLimiter, key: str = "t") -> bool:
    try:
        limiter.take(key)
    except RateLimited:
        return False
    return True


@settings(deadline=None)
@given(rate=st.floats(0.1, 10_000), burst=st.integers(1, 2000), start=st.integers(0, 2 * 10**18))
def test_a_burst_is_exactly_what_passes_at_once(rate: float, burst: int, start: int) -> None:
    limiter = RateLimiter(rate, burst, Clock(start))
    assert [limiter.take("t").remaining for _ in range(burst)] == list(range(burst))[::-1]
    assert not _passes(limiter)


@settings(deadline=None)
@given(
    rate=st.floats(0.1, 10_000),
    burst=st.integers(1, 50),
    pauses=st.lists(st.integers(0, 3 * SECOND), max_size=60),
)
def test_never_more_than_the_burst_and_the_flow_passes_in_any_span(
    rate: float, burst: int, pauses: list[int]
) -> None:
    clock = Clock()
    limiter = RateLimiter(rate, burst, clock)
    passed = []
    for pause in pauses:
        clock.now += pause
        passed += [clock.now for _ in range(burst + 1) if _passes(limiter)]
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            seconds = (passed[last] - begin) / SECOND
            assert last - first + 1 <= burst + seconds * rate * (1 + 1e-4) + 1e-6


@settings(deadline=None)
@given(rate=st.floats(0.1, 10_000), burst=st.integers(1, 50))
def test_after_what_retry_after_says_a_request_passes(rate: float, burst: int) -> None:
    clock = Clock()
    limiter = RateLimiter(rate, burst, clock)
    while _passes(limiter):
        pass
    with pytest.raises(RateLimited) as caught:
        limiter.take("t")
    clock.now += math.ceil(caught.value.retry_after * SECOND)
    assert _passes(limiter)
    assert not _passes(limiter)


# over HTTP


def _hammer(service: Service, token: str, seconds: float) -> tuple[list[Answer], float]:
    """Ask as fast as 16 clients can; return the answers, and the seconds from first to last."""
    began = time.monotonic()

    def ask(_: int) -> list[Answer]:
        answers = []
        with Client(service.port, token) as client:
            while time.monotonic() < began + seconds:
                answers.append(client.get("/v1/me"))
        return answers

    with ThreadPoolExecutor(16) as threads:
        found = [one for answers in threads.map(ask, range(16)) for one in answers]
    return found, time.monotonic() - began


def test_of_many_at_once_exactly_what_is_allowed_passes(service: Service, count: Count) -> None:
    answers, took = _hammer(service, service.consumer(), 2.0)
    passed = [one for one in answers if one.status == 200]
    count(f"{len(passed)} of {len(answers)} requests passed in {took:.2f} s")
    assert {one.status for one in answers} == {200, 429}
    assert len(answers) > 3 * len(passed)
    assert BURST + 1.8 * RATE < len(passed) <= BURST + took * RATE + 1


def test_negative_control_a_limiter_that_waits_before_it_writes_lets_more_through(
    leaky: Service,
) -> None:
    answers, took = _hammer(leaky, leaky.consumer(), 2.0)
    assert sum(one.status == 200 for one in answers) > BURST + took * RATE + 1


def test_every_answer_says_what_is_left_and_a_refusal_when_to_come_again(
    service: Service,
) -> None:
    with Client(service.port, service.consumer()) as client:
        _check_headers(client)


def _check_headers(client: Client) -> None:
    first = client.get("/v1/me")
    assert first.headers["ratelimit-limit"] == str(BURST)
    assert first.headers["ratelimit-policy"].startswith(f"{BURST};w=")
    assert int(first.headers["ratelimit-remaining"]) == BURST - 1
    assert int(first.headers["ratelimit-reset"]) == 1
    answers = (client.get("/v1/me") for _ in range(100 * BURST))
    refused = next(one for one in answers if one.status == 429)
    assert refused.json["code"] == "rate-limited"
    assert refused.json["hint"]
    assert refused.headers["ratelimit-remaining"] == "0"
    after = int(refused.headers["retry-after"])
    assert 1 <= after <= BURST / RATE + 1
    at = time.monotonic() + after
    until(lambda: time.monotonic() >= at, "the time that Retry-After names", after + 1)
    assert client.get("/v1/me").status == 200


@pytest.mark.thorough
def test_another_tenant_hardly_notices_ten_times_too_many_requests(
    service: Service, count: Count
) -> None:
    """Measured some times: what else the machine does comes and goes, a queue stays."""
    greedy, ratios = service.consumer(), [math.inf]
    with Client(service.port, service.consumer("globex")) as client:
        while min(ratios) >= 2 and len(ratios) < 8:
            alone = p99(_paced(client, 100))
            with ThreadPoolExecutor(1) as threads:
                attack = threads.submit(_offer, service, greedy, 10 * RATE, 1.3)
                crowded = p99(_paced(client, 100))
                statuses = attack.result()
            assert set(statuses) == {200, 429}
            ratios.append(crowded / alone)
            others = len(statuses)
            count(f"p99 {alone * 1e3:.1f} ms alone, {crowded * 1e3:.1f} ms with {others} others")
    assert min(ratios) < 2


def _paced(client: Client, requests: int) -> list[float]:
    """Return how long requests took that stay within the limit."""
    began, sent = time.monotonic(), 0

    def ask() -> None:
        assert client.get("/v1/me").status == 200

    found: list[float] = []
    while sent < requests:
        due = began + sent / (RATE * 0.9)
        until(lambda due=due: time.monotonic() >= due, "the next request to be due")  # type: ignore[misc]
        found += times(ask, 1)
        sent += 1
    return sorted(found)


def _offer(service: Service, token: str, rate: float, seconds: float) -> list[int]:
    """Ask ``rate`` times a second, ten at once; return the statuses."""
    ask = f"GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    began, sent, found = time.monotonic(), 0, b""
    with Wire(service.port) as wire:
        while time.monotonic() < began + seconds:
            due = began + sent / rate
            until(lambda due=due: time.monotonic() >= due, "the next requests to be due")  # type: ignore[misc]
            wire.send(ask * 10)
            sent += 10
            while found.count(b"HTTP/1.1 ") < sent:
                found += wire.socket.recv(65536)
    return [int(piece[:3]) for piece in found.split(b"HTTP/1.1 ")[1:]]


# streams


def _job(client: Client, gate: Path) -> str:
    made = client.post("/v1/jobs", {"workflow": "patient", "parameters": {"gate": str(gate)}})
    assert made.status == 201, made
    return str(made.json["id"])


def _stream(service: Service, token: str, job: str) -> Wire:
    ask = f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
    return Wire(service.port, f"{ask}Authorization: Bearer {token}\r\n\r\n".encode())


def test_a_token_follows_so_many_streams_and_all_together_so_many(
    service: Service, tmp_path: Path
) -> None:
    tokens = [service.consumer(), service.consumer(), service.consumer()]
    with Client(service.port, tokens[0]) as client:
        job = _job(client, tmp_path / "gate")
    expected = [200, 200, 200, 429], [200, 200, 503], [503]
    with ExitStack() as stack:
        for token, statuses in zip(tokens, expected, strict=True):
            for status in statuses:
                wire = stack.enter_context(_stream(service, token, job))
                head = wire.read_head()
                assert int(head.split()[1]) == status
                assert (b"retry-after: " in head) == (status != 200)
    until(lambda: _opens(service, tokens[2], job), "the places to be free again")
    (tmp_path / "gate").touch()


def _opens(service: Service, token: str, job: str) -> bool:
    with _stream(service, token, job) as wire:
        return b" 200 " in wire.read_line()


def test_a_thousand_open_streams_leave_the_service_quick(
    open_hall: Service, tmp_path: Path, count: Count
) -> None:
    token = open_hall.consumer()
    with Client(open_hall.port, token) as client, ExitStack() as stack:
        jobs = [_job(client, tmp_path / "gate") for _ in range(4)]
        alone, before = slowest_live(client), memory(open_hall.process.pid)
        wires = []
        for number in range(ALL_STREAMS):
            wires.append(stack.enter_context(_stream(open_hall, token, jobs[number % 4])))
            assert b" 200 " in wires[-1].read_head()
        with _stream(open_hall, token, jobs[0]) as one_more:
            assert b" 503 " in one_more.read_head()
        live = slowest_live(client)
        job = p99(times(lambda: client.get(f"/v1/jobs/{jobs[0]}"), 100))
        grown = (memory(open_hall.process.pid) - before) / MIB
        count(
            f"/livez p99 {alone * 1e3:.1f} ms alone, {live * 1e3:.1f} ms with {len(wires)}"
            f" streams; a job {job * 1e3:.1f} ms; {grown:.1f} MiB more"
        )
        assert max(live, job) < 0.25
        assert grown < 100
        (tmp_path / "gate").touch()
        for wire in wires:
            assert b'"state":"SUCCEEDED"' in _to_the_end(wire)


def _to_the_end(wire: Wire) -> bytes:
    """Read until the stream ends; the connection stays."""
    found = b""
    while not found.endswith(b"0\r\n\r\n"):
        chunk = wire.read_line()
        assert chunk, found
        found += chunk
    return found
