"""One connection to a storage.

The heads of requests and answers are left to ``http.client``. Bodies go past it where there is no
TLS: one system call reads a whole buffer, or sends a piece of a file without reading it.
"""

import contextlib
import http.client
import os
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from longshore.errors import RequestError, StorageUnavailable
from longshore.transfer import SignedRequest
from longshore_mover.answers import code_of, seconds_to_wait

T = TypeVar("T")
#: seconds for a connection, and for a byte to move
CONNECT, STALL = 10.0, 60.0
#: most bytes between two looks at the clock
PIECE = 1024**2
_ERROR_BODY = 16 * 1024
_AGENT = "longshore-mover"


class Broken(Exception):
    """The connection failed; in words without the URL, whose reader may use it."""


class Answer:
    """The head of an answer, and its body to read."""

    def __init__(self, response: http.client.HTTPResponse, plain: socket.socket | None) -> None:
        self._response = response
        self._plain = None if response.chunked else plain
        self._left = response.length
        self._begun = -1
        self.status = response.status
        self.length = response.length
        self.etag = response.headers.get("ETag", "")
        self.content_range = response.headers.get("Content-Range", "")
        self.retry_after = seconds_to_wait(response.headers.get("Retry-After"))

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer`` as far as the body goes; return how many bytes came, 0 at its end.

        Raises:
            Broken: it ended too early.
        """
        return _told(lambda: self._read_into(buffer))

    def _read_into(self, buffer: memoryview) -> int:
        if self._left is not None:
            buffer = buffer[: self._left]
        if not buffer:
            return 0
        if self._plain is None:
            got = self._response.readinto(buffer)
        elif self._came_with_head():
            got = self._response.readinto(buffer[: self._begun])
            self._begun -= got
        else:
            got = self._plain.recv_into(buffer, 0, socket.MSG_WAITALL)
        if self._left is not None:
            if not got:
                raise Broken("the answer was cut short")
            self._left -= got
        return got

    def _came_with_head(self) -> bool:
        # the beginning of the body lies in http.client's buffer, and nothing after it does
        if self._begun < 0:
            self._begun = len(self._response.fp.peek())
        return self._begun > 0

    def code(self) -> str:
        """Return S3's code of an error."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            return code_of(self._response.read(_ERROR_BODY))
        return ""

    def end(self) -> bool:
        """Let go of the answer; say whether its connection can be used for the next request."""
        whole = self._left == 0 or self._response.isclosed()
        whole = whole and not self._response.will_close
        self._response.close()
        return whole


class Connection:
    """A connection that is made when it is needed and kept; of one thread, but for ``cut``."""

    def __init__(self, time_left: Callable[[], float]) -> None:
        self._time_left = time_left
        self._origin: tuple[str, str] = "", ""
        self._http: http.client.HTTPConnection | None = None
        self._answer: Answer | None = None

    def begin(self, request: SignedRequest, headers: Mapping[str, str]) -> None:
        """Send the head of a request.

        Raises:
            Broken: it could not be sent.
            StorageUnavailable: the server's certificate is not trusted.
        """
        parts = urlsplit(request.url)
        self._end_answer()
        if self._origin != (parts.scheme, parts.netloc):
            self.close()
        if self._http is None:
            self._http = self._open(parts.scheme, parts.netloc)
            self._origin = parts.scheme, parts.netloc
        connection = self._http
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"

        def send() -> None:
            connection.putrequest(request.method, target)
            for name, text in {"User-Agent": _AGENT, **request.headers, **headers}.items():
                connection.putheader(name, text)
            connection.endheaders()

        _told(send)

    def send(self, data: memoryview) -> None:
        """Send a piece of the body.

        Raises:
            Broken: it could not be sent.
        """
        _told(lambda: self._socket.sendall(data))

    def send_file(self, fd: int, at: int, size: int) -> int:
        """Send a piece of a file, at most ``PIECE`` bytes; return how many.

        Raises:
            Broken: it could not be sent.
        """
        size = min(size, PIECE)
        if sys.platform == "linux" and self._origin[0] == "http":
            return _told(lambda: os.sendfile(self._socket.fileno(), fd, at, size))
        data = os.pread(fd, size, at)
        self.send(memoryview(data))
        return len(data)

    def answer(self) -> Answer:
        """Return the answer to what was sent.

        Raises:
            Broken: none came.
        """
        if self._http is None:
            raise Broken("the connection was closed")
        response = _told(self._http.getresponse)
        plain = self._http.sock if self._origin[0] == "http" else None
        # an answer that ends the connection takes the socket along
        self._answer = Answer(response, plain)
        return self._answer

    def close(self) -> None:
        """Let go of the connection; the next request makes another."""
        self._answer = None
        if self._http is not None:
            self._http.close()
            self._http = None

    def __del__(self) -> None:
        """Leave no connection behind: a transport is used, and then forgotten."""
        self.close()

    def cut(self) -> None:
        """End what another thread waits for here."""
        connection = self._http
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    @property
    def is_open(self) -> bool:
        """Whether the next request uses a connection that is there already."""
        return self._http is not None

    @property
    def _socket(self) -> Any:
        if self._http is None or self._http.sock is None:
            raise Broken("the connection was closed")
        return self._http.sock

    def _end_answer(self) -> None:
        if self._answer is not None:
            if not self._answer.end():
                self.close()
            self._answer = None

    def _open(self, scheme: str, netloc: str) -> http.client.HTTPConnection:
        stall = max(0.01, min(STALL, self._time_left()))
        connect = min(CONNECT, stall)
        if scheme == "https":
            return self._open_tls(netloc, connect, stall)
        if scheme != "http":
            raise RequestError(f"{scheme!r} is no scheme of HTTP")
        connection = http.client.HTTPConnection(netloc, timeout=connect)
        _told(connection.connect)
        # Python's own timeouts make a socket non-blocking: then no call waits for a whole buffer
        connection.sock.settimeout(None)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            limit = struct.pack("ll", int(stall), int(stall % 1 * 1_000_000))
            connection.sock.setsockopt(socket.SOL_SOCKET, option, limit)
        return connection

    @staticmethod
    def _open_tls(netloc: str, connect: float, stall: float) -> http.client.HTTPConnection:
        import ssl  # noqa: PLC0415 - http.client has it already, where there is one

        context = ssl.create_default_context()  # with the CA that SSL_CERT_FILE names
        connection = http.client.HTTPSConnection(netloc, timeout=connect, context=context)
        try:
            _told(connection.connect)
        except Broken as exc:
            if isinstance(exc.__cause__, ssl.SSLCertVerificationError):
                raise StorageUnavailable(
                    f"the storage's certificate is not trusted: {exc.__cause__.verify_message}",
                    hint="SSL_CERT_FILE may name the file of another certificate authority",
                ) from exc
            raise
        connection.sock.settimeout(stall)
        return connection


def _told(call: Callable[[], T]) -> T:
    """Return what ``call`` returns; whatever goes wrong with a connection is ``Broken``."""
    try:
        return call()
    except (TimeoutError, BlockingIOError) as exc:
        raise Broken("the storage did not answer in time") from exc
    except OSError as exc:
        raise Broken(f"the connection failed: {exc.strerror or type(exc).__name__}") from exc
    except (http.client.HTTPException, ValueError) as exc:
        raise Broken(f"not an answer of HTTP: {type(exc).__name__}") from exc
