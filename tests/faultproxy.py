"""An HTTP proxy that misbehaves as told: it cuts, waits, refuses, dawdles and changes bytes.

It stands between a client and a real server. Requests are passed on as they are, with the ``Host``
that they name: what is signed for the proxy's address stays good.
"""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import attrs
from tests.answering import answering

_CHUNK = 64 * 1024


@attrs.frozen(kw_only=True)
class Fault:
    """What happens to one request.

    ``status`` is answered instead of asking the server, with ``headers`` and ``body``. Else, of the
    body that goes ``up`` (to the server) or down, byte ``at`` is where it happens: ``act`` is
    called, nothing moves for ``pause`` seconds, the connection is ``cut`` (reset), or the byte is
    ``changed``. ``at`` None is after the whole body: ``cut`` then loses the answer. ``rate`` are
    the bytes that move in a second, before and after.
    """

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    up: bool = True
    at: int | None = 0
    cut: bool = False
    changed: bool = False
    pause: float = 0.0
    rate: float | None = None
    act: Callable[[], object] = lambda: None


@attrs.frozen
class Asked:
    """A request that came: method, path with its query, and bytes of its body as announced."""

    method: str
    target: str
    length: int


#: says what happens to a request; None: nothing
Choice = Callable[[Asked], Fault | None]


class FaultProxy:
    """The proxy while it stands; ``url`` is its own address.

    ``choose`` decides for each request and may be replaced at any time. ``seen`` are all requests,
    and ``moved`` how many bytes of bodies went through, up and down. ``is_down`` closes the door:
    connections are reset at once, and ``refused`` counts them. ``host`` replaces the one that
    requests name, and answers lose the header ``hidden``.
    """

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self.upstream = parts.hostname or "", parts.port or 80
        self.choose: Choice = lambda _: None
        self.seen: list[Asked] = []
        self.moved = 0
        self.refused = 0
        self.is_down = False
        self.host: str | None = None
        self.hidden = ""
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        """The address that clients use."""
        host, port = self.server.server_address[:2]
        return f"http://{host!s}:{port}"

    def once(self, fault: Fault, matches: Callable[[Asked], bool] = lambda _: True) -> None:
        """Let ``fault`` happen to the next request that ``matches``, and to no other."""
        left = [fault]

        def choose(asked: Asked) -> Fault | None:
            with self.lock:
                return left.pop() if left and matches(asked) else None

        self.choose = choose


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Stand in front of ``upstream`` (``http://HOST:PORT``)."""
    proxy = FaultProxy(upstream)
    with answering(proxy.server):
        yield proxy


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        owner = proxy

    return Handler


class _Reset(Exception):
    """The connection is to be reset now."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultProxy
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):
            super().handle_one_request()
            return
        self.close_connection = True

    def do_any(self) -> None:
        """Pass one request on, or do to it what was chosen."""
        if self.owner.is_down:
            with self.owner.lock:
                self.owner.refused += 1
            return self._reset()
        length = int(self.headers.get("Content-Length", 0))
        asked = Asked(self.command, self.path, length)
        fault = self.owner.choose(asked) or Fault(at=-1)
        with self.owner.lock:
            self.owner.seen.append(asked)
        try:
            if fault.status is not None:
                self._refuse(fault, length)
            else:
                self._pass_on(fault, length)
        except (_Reset, ConnectionError, http.client.HTTPException):
            self._reset()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_OPTIONS = do_any  # noqa: N815 - the base's names

    def _refuse(self, fault: Fault, length: int) -> None:
        for _ in self._body(length):
            pass
        self.send_response(fault.status or 503)
        for name, value in fault.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(fault.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(fault.body)

    def _pass_on(self, fault: Fault, length: int) -> None:
        upstream = http.client.HTTPConnection(*self.owner.upstream, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() == "host":
                    upstream.putheader(name, self.owner.host or value)
                elif name.lower() not in {"expect", "connection"}:
                    upstream.putheader(name, value)
            upstream.endheaders()
            for chunk in _suffer(self._body(length), fault if fault.up else None):
                upstream.send(chunk)
                self._count(chunk)
            answer = upstream.getresponse()
            if fault.up and fault.at is None:
                self._after(fault)
            self._answer(answer, fault)
        finally:
            upstream.close()

    def _answer(self, answer: http.client.HTTPResponse, fault: Fault) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding", self.owner.hidden}:
                self.send_header(name, value)
        is_chunked = answer.getheader("Content-Length") is None and self.command != "HEAD"
        if is_chunked:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        for chunk in _suffer(iter(lambda: answer.read(_CHUNK), b""), None if fault.up else fault):
            self.wfile.write(chunk)
            self._count(chunk)
        if answer.length:  # the server went away: a client that is not told waits for the rest
            raise _Reset
        if not fault.up and fault.at is None:
            self._after(fault)

    def _count(self, chunk: bytes) -> None:
        with self.owner.lock:
            self.owner.moved += len(chunk)

    def _after(self, fault: Fault) -> None:
        fault.act()
        time.sleep(fault.pause)
        if fault.cut:
            raise _Reset

    def _body(self, length: int) -> Iterator[bytes]:
        while length:
            chunk = self.rfile.read1(min(length, _CHUNK))
            if not chunk:
                raise _Reset
            length -= len(chunk)
            yield chunk

    def _reset(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()


def _suffer(chunks: Iterator[bytes], fault: Fault | None) -> Iterator[bytes]:
    """Yield what is left of a body after the fault."""
    passed = 0
    for chunk in chunks:
        if fault is not None and fault.rate:
            time.sleep(len(chunk) / fault.rate)
        at = -1 if fault is None or fault.at is None else fault.at - passed
        passed += len(chunk)
        if fault is None or not 0 <= at < len(chunk):
            yield chunk
            continue
        if at:
            yield chunk[:at]
        fault.act()
        time.sleep(fault.pause)
        if fault.cut:
            raise _Reset
        yield (bytes([chunk[at] ^ 1]) if fault.changed else chunk[at : at + 1]) + chunk[at + 1 :]
