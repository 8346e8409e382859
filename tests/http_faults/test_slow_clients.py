"""S16: clients that are slow, silent, endless or too many take nothing from the others for long.

The service here gives its clients about a second where an operator's gives ten, or sixty.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest
from tests.http_faults.http import Client
from tests.http_faults.measuring import (
    MIB,
    forget_peak,
    memory,
    open_files,
    open_sockets,
    peak,
    slowest_live,
)
from tests.http_faults.mutations import PATIENCE, mutated
from tests.http_faults.wire import Wire
from tests.serving import Service, end_everything, serving
from tests.support import until

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
LAST = GET + b"Connection: close\r\n\r\n"
CONNECTIONS = 400
AT_ONCE = 8
TALKER = """\
id = "talker"
command = ["/bin/sh", "-c", "head -c 24000000 /dev/zero | tr '\\\\000' x"]
[resources]
memory = "64 MiB"
"""
SETTINGS = f"""\
[limits]
requests_per_second = 0
requests_at_once = {AT_ONCE}
streams = 4
connections = {CONNECTIONS}
[workflows]
directory = "workflows"
[backends.local]
isolation = "none"
[deadlines]
stop_grace = "1s"
"""
#: long enough to be seen to be late, on a busy machine
LATE = 15.0


@attrs.frozen
class Hall:
    """The service, a client of it, and its token."""

    service: Service
    client: Client
    token: str

    def wire(self, data: bytes = b"") -> Wire:
        """Return a connection on which ``data`` was sent."""
        return Wire(self.service.port, data)

    def ask(self, method: str, path: str, more: str = "") -> bytes:
        """Return a request's head, with the token."""
        bearer = f"Authorization: Bearer {self.token}"
        return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{bearer}\r\n{more}\r\n".encode()

    def job(self, workflow: str, **parameters: str) -> str:
        """Submit a job, return its id."""
        body = {"workflow": workflow, "parameters": parameters}
        made = self.client.post("/v1/jobs", body)
        assert made.status == 201, made
        return str(made.json["id"])

    def streams(self) -> int:
        """Return how many streams the service has open."""
        admin = Client(self.service.port, self.service.admin)
        text = admin.get("/metrics").body.decode()
        admin.close()
        (line,) = [one for one in text.splitlines() if one.startswith("longshore_http_streams ")]
        return int(float(line.split()[1]))

    @contextmanager
    def bounded(self, most: int = 16 * MIB) -> Iterator[None]:
        """See that the service stays quick, and takes ``most`` more memory, and no more files."""
        pid = self.service.process.pid
        before, sockets = memory(pid), open_sockets(pid)
        forget_peak(pid)
        yield
        assert slowest_live(self.client) < 1.0
        assert peak(pid) - before < most
        until(lambda: open_sockets(pid) <= sockets + 4, "the connections to be gone", LATE)


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    place = tmp_path_factory.mktemp("hall")
    (place / "workflows").mkdir()
    (place / "workflows" / "talker.toml").write_text(TALKER)
    try:
        with serving(place, settings=SETTINGS, program=mutated("short-patience")) as service:
            token = service.consumer()
            hall = Hall(service, Client(service.port, token), token)
            hall.streams()  # what is made once is made now
            yield hall
            hall.client.close()
    finally:
        end_everything(place)


def _trickle(wire: Wire, byte: bytes) -> Callable[[], bool]:
    """Return what sends one more byte, and says whether the server has closed."""

    def send() -> bool:
        try:
            wire.socket.sendall(byte)
        except ConnectionError:
            return True
        wire.socket.setblocking(False)
        try:
            return wire.socket.recv(1, socket.MSG_PEEK) == b"" or _has_all(wire)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        finally:
            wire.socket.settimeout(LATE)

    return send


def _has_all(wire: Wire) -> bool:
    return b"connection: close" in wire.socket.recv(65536, socket.MSG_PEEK)


@pytest.mark.parametrize(
    ("begin", "byte", "statuses"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: ", b"a", [408]),
        (b"GET /", b"a", [408]),
        (b"", b"\n", []),
        (GET + b"\r\n", b"\n", [200]),
    ],
    ids=["header", "URL", "empty lines", "empty lines behind an answer"],
)
def test_a_head_that_trickles_is_given_up(
    hall: Hall, begin: bytes, byte: bytes, statuses: list[int]
) -> None:
    with hall.bounded(), hall.wire(begin) as wire:
        until(_trickle(wire, byte), "the server to give up", LATE)
        assert wire.statuses() == statuses


def test_who_connects_and_says_nothing_is_sent_away(hall: Hall) -> None:
    with hall.bounded(), ExitStack() as stack:
        wires = [stack.enter_context(hall.wire()) for _ in range(200)]
        assert slowest_live(hall.client) < 1.0
        assert [wire.read() for wire in wires] == [b""] * len(wires)


@pytest.mark.thorough
def test_negative_control_without_patience_a_head_may_take_for_ever(tmp_path: Path) -> None:
    try:
        with (
            serving(tmp_path, program=mutated("no-patience")) as service,
            Wire(service.port, b"GET /", patience=3 * PATIENCE.head) as wire,
            pytest.raises(TimeoutError),
        ):
            wire.read()
    finally:
        end_everything(tmp_path)


def test_a_body_that_trickles_is_given_up_and_takes_nobodys_place(hall: Hall) -> None:
    head = hall.ask("POST", "/v1/jobs", "Content-Type: application/json\r\nContent-Length: 900\r\n")
    with hall.bounded(), ExitStack() as stack:
        wires = [stack.enter_context(hall.wire(head + b"{")) for _ in range(30)]
        for _ in range(5):  # AT_ONCE are worked on at a time
            assert hall.client.get("/v1/me").status == 200
        until(_trickle(wires[0], b" "), "the server to give up", LATE)
        statuses = [status for wire in wires for status in wire.statuses()]
    assert statuses.count(408) >= AT_ONCE // 2
    assert set(statuses) <= {408, 429}  # of bodies in pieces a token may send a few


def test_many_bodies_that_stop_in_the_middle_fill_no_memory(hall: Hall) -> None:
    size = 900_000
    head = hall.ask(
        "POST", "/v1/jobs", f"Content-Type: application/json\r\nContent-Length: {size + 1}\r\n"
    )
    with hall.bounded(AT_ONCE * MIB + 32 * MIB), ExitStack() as stack:
        wires = [stack.enter_context(hall.wire(head + b" " * size)) for _ in range(100)]
        assert {status for wire in wires for status in wire.statuses()} <= {408, 429, 503}
    assert hall.client.get("/v1/me").status == 200


def test_a_body_that_goes_on_behind_its_refusal_is_not_read_for_ever(hall: Hall) -> None:
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = hall.ask(
        "POST", "/v1/jobs", "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    )
    with hall.bounded(), hall.wire(head) as wire:
        wire.socket.settimeout(LATE)
        until(lambda: not _sends(wire, piece), "the server to close", LATE)
    with hall.wire(head) as wire:
        for _ in range(20):
            wire.send(piece)
        assert wire.read_line().startswith(b"HTTP/1.1 413 ")


def _sends(wire: Wire, data: bytes) -> bool:
    try:
        wire.socket.sendall(data)
    except ConnectionError:
        return False
    return True


def test_a_connection_that_carried_much_is_as_good_as_before(hall: Hall) -> None:
    content = b"c" * (2 * MIB)
    announced = {"text": {"upload": {"size": len(content)}}}
    made = hall.client.post("/v1/jobs", {"workflow": "hello", "inputs": announced})
    assert hall.client.put(made.json["uploads"]["text"]["url"], content).status == 200
    over = time.monotonic() + 2 * PATIENCE.end
    until(lambda: time.monotonic() > over, "the time after which a refused body is cut off")
    connected = hall.client.local_port
    assert hall.client.post(f"/v1/jobs/{made.json['id']}/start").status == 200
    assert hall.client.local_port == connected


@pytest.mark.parametrize(
    ("begin", "more", "statuses"),
    [
        (GET + b"A: ", b"a" * 8192, [431]),
        (b"GET /", b"a" * 8192, [431]),
        (GET, b"A: b\r\n" * 1000, [431]),
        (GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: ", b"a" * 8192, [200]),
        (b"", b"\r\n" * 4096, [431]),
    ],
    ids=["value", "URL", "headers", "trailer", "empty lines"],
)
def test_a_head_without_an_end_is_cut_off(
    hall: Hall, begin: bytes, more: bytes, statuses: list[int]
) -> None:
    with hall.bounded(), hall.wire(begin) as wire:
        count = sum(1 for _ in range(10_000) if _sends(wire, more))
        assert count < 10_000
        assert wire.statuses() in (statuses, [])  # a reset may overtake it


def test_a_head_of_some_size_is_taken(hall: Hall) -> None:
    with hall.wire(GET + b"A: " + b"a" * 60_000 + b"\r\nConnection: close\r\n\r\n") as wire:
        assert wire.statuses() == [200]
    with hall.wire(GET + b"A: " + b"a" * 70_000 + b"\r\nConnection: close\r\n\r\n") as wire:
        assert wire.statuses() in ([431], [])


def test_of_many_pipelined_requests_the_first_are_answered_and_the_rest_not_kept(
    hall: Hall,
) -> None:
    with hall.bounded(), hall.wire((GET + b"\r\n") * 20_000) as wire:
        assert set(wire.statuses()) == {200}


def test_who_never_reads_a_log_is_dropped(hall: Hall) -> None:
    job = hall.job("talker")
    until(lambda: hall.client.get(f"/v1/jobs/{job}").json["state"] == "SUCCEEDED", "the job", 60)
    ask = hall.ask("GET", f"/v1/jobs/{job}/logs?follow=true")
    with hall.bounded(), ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Wire(hall.service.port, ask, room=4096))
        until(lambda: hall.streams() == 4, "the streams to begin")
        assert hall.client.get(f"/v1/jobs/{job}/logs?follow=true").status == 429
        until(lambda: hall.streams() == 0, "the streams to be dropped", LATE)


def test_who_leaves_one_half_of_a_stream_leaves_it(hall: Hall, tmp_path: Path) -> None:
    job = hall.job("patient", gate=str(tmp_path / "gate"))
    paths = [f"/v1/jobs/{job}/logs?follow=true", f"/v1/jobs/{job}/events"]
    with hall.bounded():
        for path in paths:
            with hall.wire(hall.ask("GET", path, "Accept: text/event-stream\r\n")) as wire:
                until(lambda: hall.streams() == 1, "the stream to begin")
                wire.socket.shutdown(socket.SHUT_WR)
                until(lambda: hall.streams() == 0, "the stream to end")
    (tmp_path / "gate").touch()


def test_a_submission_whose_sender_closed_one_half_is_taken_or_not_but_never_half(
    hall: Hall,
) -> None:
    body = b'{"workflow":"talker"}'
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    before = len(hall.client.get("/v1/jobs?limit=1000").json["items"])
    with hall.bounded(), hall.wire(hall.ask("POST", "/v1/jobs", length) + body) as wire:
        wire.socket.shutdown(socket.SHUT_WR)
        answered = wire.statuses()
    after = len(hall.client.get("/v1/jobs?limit=1000").json["items"])
    assert (answered, after - before) in (([201], 1), ([], 0), ([], 1))


def test_a_flood_of_connections_closes_those_that_wait_longest_and_nobody_else(hall: Hall) -> None:
    hall.client.close()  # it waits as well
    with hall.bounded(), ExitStack() as stack:
        for _ in range(2 * CONNECTIONS):
            stack.enter_context(hall.wire())
        assert open_files(hall.service.process.pid) < CONNECTIONS + 100
        for _ in range(20):
            with hall.wire(LAST) as wire:
                assert wire.statuses() == [200]
