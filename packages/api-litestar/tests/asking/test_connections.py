"""What becomes of answers on their way: of those that are held back, of many, and of who leaves."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from tests.http_faults.wire import Wire
from tests.support import until
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from longshore.settings import ServiceSettings
from longshore_api import server as serving
from longshore_api.connection import Connection, Patience, Waiting
from longshore_api.corking import Corked
from longshore_api.cycle import send_whole
from longshore_api.gate import App, Receive, Scope, Send
from longshore_api.server import Server, listen, make_server

_RESET = struct.pack("ii", 1, 0)
_LARGE = 1_000_000
SHORT = Patience(next=0.3, head=0.3, body=0.3, unread=0.3, end=0.3)


@attrs.frozen
class Hall:
    """A server around an application, and what went wrong in its loop beside of it."""

    server: Server
    portal: BlockingPortal
    faults: list[Any] = attrs.field(factory=list[Any])

    def wire(self, *paths: str, more: str = "", room: int = 0) -> Wire:
        """Return a connection on which each path was asked for, all at once."""
        asked = "".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n" for path in paths)
        port = int(self.server.address.rpartition(":")[2])
        return Wire(port, asked.encode(), room=room)

    def connections(self) -> list[Connection]:
        return [one for one in self.server.server_state.connections if isinstance(one, Connection)]


@contextmanager
def answering(app: App) -> Iterator[Hall]:
    """Serve ``app``."""

    async def hear_faults() -> None:
        loop: Any = anyio.lowlevel.current_token().native_token
        loop.set_exception_handler(lambda _, said: hall.faults.append(said))

    settings = ServiceSettings(port=0)
    with start_blocking_portal("asyncio", {"use_uvloop": True}) as portal:
        server = make_server(settings, app, listen(settings))  # type: ignore[arg-type]  # any app
        hall = Hall(server, portal)
        portal.call(hear_faults)
        portal.start_task_soon(server.run_to_end)
        try:
            until(lambda: server.started, "the server")
            yield hall
        finally:
            server.should_exit = True
            portal.call(server.ended.wait)


LAST = "Connection: close\r\n"


async def _mixed(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the path: whole or in pieces, at once or later, large or small."""
    how = scope["path"].split("/")
    body = scope["path"].encode() * (_LARGE // len(scope["path"]) if "large" in how else 1)
    if "later" in how:
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
    if "whole" in how:
        await send_whole(scope, send, 200, [], body)
        return
    length = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body[:3], "more_body": True})
    await send({"type": "http.response.body", "body": body[3:]})


_PATHS = [f"/{a}/{b}/{c}" for a in ("whole", "pieces") for b in ("now", "later") for c in "ab"]


def test_answers_of_all_kinds_come_in_the_order_of_their_requests() -> None:
    with answering(_mixed) as hall, hall.wire(*_PATHS) as wire:
        assert [_answer(wire) for _ in _PATHS] == [path.encode() for path in _PATHS]


@pytest.mark.parametrize("kind", ["whole", "pieces"])
def test_answers_to_who_reads_slowly_come_whole_and_in_order(kind: str) -> None:
    paths = [f"/{kind}/large/{number}" for number in range(12)]
    with answering(_mixed) as hall, hall.wire(*paths, room=4096) as wire:
        until(lambda: any(one.flow.write_paused for one in hall.connections()), "a full way")
        for path in paths:
            assert set(_answer(wire).split(path.encode())) == {b""}
        assert not hall.faults


def _answer(wire: Wire) -> bytes:
    length = int(wire.read_head().lower().partition(b"content-length: ")[2].split()[0])
    return wire.read_exactly(length)


def test_an_old_client_is_told_that_the_connection_ends() -> None:
    with answering(_mixed) as hall, hall.wire() as wire:
        wire.send(b"GET /whole HTTP/1.0\r\n\r\n")
        assert b"connection: close" in wire.read_head()
        assert wire.read() == b"/whole"


# the end


async def _ended_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer, and have the server ask all connections to end before it has turned round."""
    await send_whole(scope, send, 201, [], b"kept")
    for one in scope["state"]["hall"][0].connections():
        one.shutdown()


@contextmanager
def _ending() -> Iterator[Hall]:
    halls: list[Hall] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["hall"] = halls
        await _ended_at_once(scope, receive, send)

    with answering(app) as hall:
        halls.append(hall)
        yield hall


def test_an_answer_that_is_held_back_when_the_server_ends_is_sent() -> None:
    with _ending() as hall, hall.wire("/") as wire:
        assert wire.read().endswith(b"kept")


def test_control_an_end_that_does_not_let_go_loses_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Connection, "shutdown", HttpToolsProtocol.shutdown)
    with _ending() as hall, hall.wire("/") as wire:
        assert wire.read() == b""


# who leaves


class _Watched:
    """An application that waits until its client has left; a request behind it is not begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.left = 0

    async def __call__(self, _: Scope, receive: Receive, __: Send) -> None:
        self.begun += 1
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left += 1


def _leave_with_two_requests(watched: _Watched, hall: Hall) -> None:
    with hall.wire("/", "/"):
        until(lambda: watched.begun == 1, "the first request")
    until(lambda: not hall.connections(), "the connection to be gone")


def test_who_leaves_is_missed_by_the_request_that_is_answered_also_where_one_waits() -> None:
    watched = _Watched()
    with answering(watched) as hall:
        _leave_with_two_requests(watched, hall)
        until(lambda: watched.left == 1, "the request to notice")
        assert watched.begun == 1
        assert not hall.server.server_state.tasks


def test_control_uvicorn_tells_the_last_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "connection_lost", HttpToolsProtocol.connection_lost)
    watched = _Watched()
    with answering(watched) as hall:
        _leave_with_two_requests(watched, hall)
        hall.portal.call(anyio.wait_all_tasks_blocked)
        assert (watched.begun, watched.left) == (1, 0)
        for task in list(hall.server.server_state.tasks):
            hall.portal.call(task.cancel)


async def _aborted(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer somebody who has left, and nobody has heard of it."""
    send.__self__.transport._transport.abort()  # type: ignore[attr-defined]  # a cycle's, corked
    await send_whole(scope, send, 200, [], b"nobody")


def _write_anyway(corked: Corked) -> None:
    held, corked._held = corked._held, b""
    if held:
        corked._transport.write(held)


@pytest.mark.parametrize(("let_go", "faults"), [(Corked.let_go, 0), (_write_anyway, 1)])
def test_nothing_is_written_to_who_has_left(
    monkeypatch: pytest.MonkeyPatch, let_go: Callable[[Corked], None], faults: int
) -> None:
    monkeypatch.setattr(Corked, "let_go", let_go)
    with answering(_aborted) as hall, hall.wire("/") as wire:
        assert wire.read() == b""
        until(lambda: not hall.connections(), "the connection to be gone")
        hall.portal.call(anyio.wait_all_tasks_blocked)
        assert len(hall.faults) == faults


def test_of_many_connections_that_come_and_go_nothing_stays() -> None:
    with answering(_mixed) as hall:
        for number in range(500):
            with hall.wire(*["/whole/later", "/pieces"][: number % 3]) as wire:
                if number % 5 == 0:  # with a reset
                    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                elif number % 5 == 1 and number % 3:
                    wire.read_line()
        until(lambda: not hall.connections(), "the connections to be gone")
        until(lambda: not hall.server.server_state.tasks, "the requests to be over")
        assert not hall.faults


# what goes wrong


async def _broken(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] != "/before":
        await send_whole(scope, send, 200, [], b"whole")
    if scope["path"] == "/twice":
        await send_whole(scope, send, 200, [], b"again")
    if scope["path"] == "/reads":
        await receive()
        return
    raise ValueError("a defect")


@pytest.mark.parametrize(
    ("path", "statuses"), [("/before", [500]), ("/after", [200]), ("/twice", [200])]
)
def test_a_defect_ends_the_connection_and_is_no_second_answer(
    path: str, statuses: list[int]
) -> None:
    with answering(_broken) as hall, hall.wire(path) as wire:
        assert wire.statuses() == statuses


def test_a_body_is_not_asked_for_behind_the_answer() -> None:
    with answering(_broken) as hall, hall.wire("/reads", more="Expect: 100-continue\r\n") as wire:
        wire.send(b"GET /after HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"Continue" not in wire.read()


# patience


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the connections often, and give their clients little time."""
    monkeypatch.setattr(serving, "PATIENCE", SHORT)
    monkeypatch.setattr(serving, "LOOKS", 1)


def test_who_asks_nothing_more_is_sent_away_in_peace(short: None) -> None:
    with answering(_mixed) as hall, hall.wire("/whole") as wire:
        assert _answer(wire) == b"/whole"
        (one,) = hall.connections()
        assert one.awaits() == (Waiting.NEXT, one.cycle)
        assert wire.read() == b""


async def _reading(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs?x=/v1/blobs/", "/v1/jobs#/v1/blobs/"])
def test_a_body_that_only_says_to_be_bytes_has_no_more_time_than_others(
    short: None, path: str
) -> None:
    with answering(_reading) as hall, hall.wire(path, more="Content-Length: 9\r\n") as wire:
        assert wire.statuses() == [408]
