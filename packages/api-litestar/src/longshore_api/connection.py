"""One connection of a client: what it may send, and how long it may take.

uvicorn bounds neither. What is relied on of its inside stands here and in ``blobs.protocol``, and
nowhere else.
"""

import resource
import urllib.parse
from collections.abc import Iterable
from enum import Enum, auto
from typing import Any, cast

import attrs
import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from longshore.blobs import PATH
from longshore_api.blobs.protocol import LendingProtocol
from longshore_api.corking import Corked
from longshore_api.cycle import EXTENSIONS, Cycle

#: most bytes of a request's first line and headers
HEAD_SIZE = 64 * 1024
#: requests that may wait behind one that is being answered
PIPELINE = 16
#: files that the service has open besides its connections, and for each of them, at most
_OTHER_FILES = 512
_FILES_EACH = 2
#: of the connections, so many are closed at once where there are too many
_ROOM = 50
_HTTP_1_1 = "1.1"
_BYTES = PATH.encode()
_BAD_REQUEST = "400 Bad Request"
_TOO_LARGE = "431 Request Header Fields Too Large"
_SLOW = "408 Request Timeout"
_FULL = "503 Service Unavailable"
_ANSWER = (
    "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n{more}"
    "content-length: {length}\r\nconnection: close\r\n\r\n{status}"
)


class Waiting(Enum):
    """What a connection waits for its client to do."""

    NEXT = auto()
    HEAD = auto()
    BODY = auto()
    UNREAD = auto()
    END = auto()


@attrs.frozen(kw_only=True)
class Patience:
    """Seconds that a client has; whether they are over is looked at about once a second.

    ``next`` to go on after an answer; ``head`` for the head of a request, and for the first byte of
    a connection; ``body`` for all of a body, but those of ``/v1/blobs``; ``unread`` to read any of
    an answer that waits for it; ``end`` to take notice that nothing more is read.
    """

    next: float = 30.0
    head: float = 10.0
    body: float = 60.0
    unread: float = 60.0
    end: float = 5.0

    def of(self, waiting: Waiting) -> float:
        """Return the seconds for one of them."""
        seconds: float = getattr(self, waiting.name.lower())
        return seconds


class _Refused(Exception):
    """Raised through the parser: what is said of a request that is not taken."""


class Connection(LendingProtocol):
    """Refuses what is too much, or could be understood in two ways."""

    def __init__(self, *arguments: Any, most: int = 10_000, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._most = most
        self._at_work: RequestResponseCycle | None = None  # uvicorn's ``cycle`` is the last heard
        self._is_in_head = self._is_in_body = self._is_of_bytes = False
        self._unparsed = 0  # bytes that came since the parser told of anything
        self._awaits_head = True
        self._is_deaf = False
        self._framing = b""
        self._is_repeating = False
        self._pauses = 0
        self._active_at = self.loop.time()
        self._waiting: tuple[object, ...] = ()
        self._waiting_since = 0.0

    # what it may send

    def connection_made(self, transport: Any) -> None:
        """Begin; of too many, those that have waited longest for their clients are closed."""
        super().connection_made(transport)
        self._corked = Corked(transport, self.loop)
        if len(self.connections) > self._most and not _make_room(self):
            self._answer(_FULL, "retry-after: 1\r\n")

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        self._unparsed += len(data)
        try:
            while data and not self._is_deaf:
                data = self._feed(data)
        except httptools.HttpParserError as exc:
            refused = isinstance(exc.__context__, _Refused)
            self._refuse(str(exc.__context__) if refused else _BAD_REQUEST)
        if self._unparsed > HEAD_SIZE and not self._is_deaf:  # an endless head, or endless trailers
            self._refuse(_TOO_LARGE)
        if not self._is_in_body and self._is_answered:
            self._awaits_head = True

    def _feed(self, data: bytes) -> bytes:
        """Parse; return what is left. Nobody here speaks another protocol, so HTTP goes on.

        The parser knows no body of a request that offers another one (as Java's client does with
        every first request): it is told of the body by a head of its own, which goes nowhere.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            if self._framing:
                self._is_repeating = True
                self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n\r\n" % self._framing)
                self._is_repeating = False
                self._framing = b""
            return data[exc.args[0] :]
        return b""

    def on_message_begin(self) -> None:
        """Begin a head."""
        if not self._is_repeating:
            super().on_message_begin()
            self._is_in_head = True

    def on_url(self, url: bytes) -> None:
        """Keep a piece of the URL."""
        if not self._is_repeating:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. What comes behind the body is none: nobody in front has checked it."""
        if self._is_in_head:  # as uvicorn does it, without a call for every header
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin the request."""
        if self._is_repeating:
            return
        framing = _framing(self.headers, self.parser.get_http_version())
        if self._unparsed > HEAD_SIZE and _size_of_head(self) > HEAD_SIZE:
            raise _Refused(_TOO_LARGE)
        if len(self.pipeline) >= PIPELINE:
            raise _Refused(_BAD_REQUEST)
        self._begin()
        if framing and self.parser.should_upgrade():
            self._framing = framing
        self._is_in_head, self._is_in_body = False, True
        self._unparsed = 0
        self._awaits_head = False
        self._active_at = self.loop.time()

    def _begin(self) -> None:
        """Let the request be answered, or wait for its turn: as uvicorn does it, and quicker."""
        scope, parser = self.scope, self.parser
        scope["method"] = parser.get_method().decode("ascii")
        version = parser.get_http_version()
        if version != _HTTP_1_1:
            scope["http_version"] = version
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        scope["extensions"] = EXTENSIONS  # type: ignore[typeddict-item]  # ours
        self._is_of_bytes = _BYTES in url.path
        before: RequestResponseCycle | None = self.cycle
        self.cycle = Cycle.of(
            self,
            transport=self.transport if self._is_of_bytes else cast("Any", self._corked),
            keep_alive=version != "1.0" and parser.should_keep_alive(),
        )
        if self._is_of_bytes:
            self.lend()
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, cast("Any", self.app))
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, cast("Any", self.app)))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._at_work = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell it to the request that is answered now: uvicorn tells the last one alone."""
        if self._at_work is not None and not self._at_work.response_complete:
            self._at_work.disconnected = True
            self._at_work.message_event.set()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close when all is answered, at once where it is: also what is still held back."""
        self._corked.let_go()
        super().shutdown()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        if self._framing and not self._is_repeating:
            return
        self._is_in_head = self._is_in_body = False
        self._unparsed = 0
        super().on_message_complete()

    def renew_parser(self) -> None:
        """Begin anew behind a body that the parser has not seen."""
        super().renew_parser()
        self._is_in_head = self._is_in_body = False
        self._unparsed = 0

    def on_response_complete(self) -> None:
        """Go on with the next request, if one is heard."""
        if self._is_deaf and not self.pipeline:
            self._corked.close()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    @property
    def _is_answered(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _refuse(self, status: str) -> None:
        """Read no more. What was asked before is still answered, and nothing is said instead."""
        self._is_deaf = True
        if self.pipeline:
            if self._is_in_body:
                self.pipeline.popleft()  # its body will never be whole
        elif self._is_answered:
            self._corked.close() if self._is_in_body else self._answer(status)
        elif self._is_in_body and self.cycle.response_started:
            self.transport.abort()
        elif self._is_in_body:
            self._answer(status)

    def _answer(self, status: str, more: str = "") -> None:
        self._is_deaf = True
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        text = _ANSWER.format(status=status, more=more, length=len(status))
        self._corked.write(text.encode())
        self._corked.close()

    # how long it may take

    def pause_writing(self) -> None:
        """Wait until the client has read some of what it asked for."""
        self._pauses += 1
        super().pause_writing()

    def awaits(self) -> tuple[Waiting, object] | None:
        """Return what the client is waited for, and what tells it from the time before."""
        if self.transport.is_closing():
            return Waiting.END, None
        if self.flow.write_paused:
            return Waiting.UNREAD, self._pauses
        if self._is_answered and (self._awaits_head or not self._is_in_body):
            return Waiting.HEAD if self._awaits_head else Waiting.NEXT, self.cycle
        if not self._is_in_body or self.flow.read_paused or self.pipeline:
            return None
        if self._is_answered:
            return Waiting.END, self.cycle
        return None if self._is_of_bytes else (Waiting.BODY, self.cycle)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is done for the client."""
        waiting = self.awaits()
        return self._is_answered or (waiting is not None and waiting[0] is Waiting.BODY)

    @property
    def active_at(self) -> float:
        """When the last request began, or the connection."""
        return self._active_at

    def look(self, now: float, patience: Patience) -> None:
        """End what has waited for too long; to be called about once a second."""
        waiting = self.awaits()
        if waiting is None or waiting != self._waiting:
            self._waiting, self._waiting_since = waiting or (), now
        elif now - self._waiting_since >= patience.of(waiting[0]):
            self.give_up(waiting[0])

    def give_up(self, waiting: Waiting) -> None:
        """Close: in peace where the client may still listen."""
        is_at_fault = waiting is Waiting.BODY or self._is_in_head
        if waiting in {Waiting.UNREAD, Waiting.END}:
            self.transport.abort()
        elif is_at_fault:
            self._refuse(_SLOW)
        else:
            self._corked.close()


def look_at_all(connections: Iterable[object], now: float, patience: Patience) -> None:
    """End those that have waited for too long."""
    for one in list(connections):
        if isinstance(one, Connection):
            one.look(now, patience)


def most_connections(wanted: int) -> int:
    """Return how many connections this process can hold, at most ``wanted``.

    Its limit of open files is raised where that is allowed: with all of them used up it could
    neither read its store nor start a job.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted * _FILES_EACH + _OTHER_FILES
    if soft < needed:
        soft = min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(wanted, (soft - _OTHER_FILES) // _FILES_EACH))


def _framing(headers: list[tuple[bytes, bytes]], version: str) -> bytes:
    """Return the header that says how long the body is; empty where there is no body.

    Raises:
        _Refused: another reader of the same headers could see another request.
    """
    names = [name for name, _ in headers]
    hosts = names.count(b"host")
    if hosts != 1 and (hosts or version == _HTTP_1_1):
        raise _Refused(_BAD_REQUEST)
    if b"transfer-encoding" in names:
        if dict(headers)[b"transfer-encoding"].strip().lower() != b"chunked":
            raise _Refused("501 Not Implemented")
        return b"transfer-encoding: chunked"
    if b"content-length" in names:
        return b"content-length: " + dict(headers)[b"content-length"]
    return b""


def _size_of_head(connection: Connection) -> int:
    return len(connection.url) + sum(
        len(name) + len(value) + len(": \r\n") for name, value in connection.headers
    )


def _make_room(newest: Connection) -> bool:
    """Close the connections that have waited longest for their clients; say whether any did."""
    idle = [
        one
        for one in newest.connections
        if isinstance(one, Connection) and one is not newest and one.is_idle
    ]
    idle.sort(key=lambda one: one.active_at)
    for one in idle[: max(1, len(newest.connections) // _ROOM)]:
        one.transport.abort()
    return bool(idle)
