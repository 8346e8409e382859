"""One connection of a client: what it may send, and how long it may take.

uvicorn bounds neither. What is relied on of its inside stands here and in ``blobs.protocol``, and
nowhere else.
"""

from enum import Enum, auto
from typing import Any, ClassVar

import attrs
import httptools

from longshore_api.blobs.protocol import LendingProtocol

#: most bytes of a request's first line and headers
HEAD_SIZE = 64 * 1024
#: requests that may wait behind one that is being answered
PIPELINE = 16
_HTTP_1_1 = "1.1"
_NOT_CODED = frozenset({b"chunked"})
_ANSWER = "HTTP/1.1 {}\r\ncontent-type: text/plain; charset=utf-8\r\n{}content-length: {}\r\n\
connection: close\r\n\r\n{}"


@attrs.frozen(kw_only=True)
class Patience:
    """Seconds that a client has, each looked at about once a second.

    ``head`` for a request's head, and for the first byte of a connection; ``body`` for all of a
    body, but those of ``/v1/blobs``; ``unread`` to read anything of an answer that waits for it;
    ``end`` to take notice that the connection is closed.
    """

    head: float = 10.0
    body: float = 60.0
    unread: float = 60.0
    end: float = 5.0


class Waiting(Enum):
    """What a connection waits for its client to do."""

    HEAD = auto()
    BODY = auto()
    UNREAD = auto()
    END = auto()


class _Parsing(Enum):
    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class _Refused(Exception):
    """Raised out of the parser: this request is not taken; says what is answered."""


class Connection(LendingProtocol):
    """Refuses what is too much or ambiguous; ``look`` ends it where the client is too slow."""

    #: connections that may be open at a time
    most: ClassVar[int] = 10_000

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._parsing = _Parsing.NOTHING
        self._head = 0
        self._is_deaf = False
        self._waits_for_head = True
        self._pauses = 0
        self._seen: tuple[object, ...] = ()
        self._seen_at = 0.0

    # what it may send

    def connection_made(self, transport: Any) -> None:
        """Begin; where there are too many, those that wait for nothing are closed first."""
        super().connection_made(transport)
        if len(self.connections) > self.most and not _make_room(self.connections, self.most):
            self._answer("503 Service Unavailable", "too many connections", "retry-after: 1\r\n")

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        self._unset_keepalive_if_required()
        self._head += len(data)
        try:
            while data and not self._is_deaf:
                data = self._feed(data)
        except _Refused as exc:
            self._refuse(str(exc))
        except httptools.HttpParserError as exc:
            refused = exc.__context__ if isinstance(exc.__context__, _Refused) else None
            self._refuse(str(refused or "400 Bad Request"))
        if self._parsing is not _Parsing.BODY and self._is_answered:
            self._waits_for_head = True
            if self._head > HEAD_SIZE and not self._is_deaf:
                self._refuse("431 Request Header Fields Too Large")

    def _feed(self, data: bytes) -> bytes:
        """Parse; return what is left. Nobody here speaks another protocol: HTTP goes on."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            return data[exc.args[0] :]
        return b""

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._parsing = _Parsing.HEAD

    def on_headers_complete(self) -> None:
        """Begin the request, unless it can be understood in two ways."""
        if self._head > HEAD_SIZE:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > HEAD_SIZE:
                raise _Refused("431 Request Header Fields Too Large")
        hosts = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and value.strip().lower() not in _NOT_CODED:
                raise _Refused("501 Not Implemented")
        if hosts > 1 or (not hosts and self.parser.get_http_version() == _HTTP_1_1):
            raise _Refused("400 Bad Request")
        if len(self.pipeline) >= PIPELINE:
            raise _Refused("429 Too Many Requests")
        self._head = 0
        self._parsing = _Parsing.BODY
        self._waits_for_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request."""
        self._parsing = _Parsing.NOTHING
        self._head = 0
        super().on_message_complete()

    @property
    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, status: str) -> None:
        """Hear no more, let what was asked before be answered, and close."""
        self._is_deaf = True
        asked = [cycle for cycle, _ in self.pipeline]  # the last one first
        if self._parsing is _Parsing.BODY and asked:
            asked.pop(0)
            self.pipeline.popleft()  # its body will never be whole
        if asked:
            asked[0].keep_alive = False
        elif (
            self.cycle is not None and not self._is_answered and self._parsing is not _Parsing.BODY
        ):
            self.cycle.keep_alive = False
        elif not self._is_answered and self.cycle.response_started:
            self.transport.abort()
        else:
            self._answer(status, "this is not understood")

    def _answer(self, status: str, text: str, more: str = "") -> None:
        self._is_deaf = True
        self.transport.write(_ANSWER.format(status, more, len(text), text).encode())
        self.transport.close()

    # how long it may take

    def pause_writing(self) -> None:
        """Know that the client reads too slowly."""
        self._pauses += 1
        super().pause_writing()

    def look(self, now: float, patience: Patience) -> None:
        """End the connection if its client has let it wait for too long; called regularly."""
        seen = self._waiting()
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        waiting = seen[0]
