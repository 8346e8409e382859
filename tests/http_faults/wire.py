"""Connections on which a test writes what no client would."""

import contextlib
import re
import socket
from types import TracebackType
from typing import Self

_PATIENCE = 20.0
_STATUS = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")


class Wire:
    """One connection. What is read is all there is, until the server closes it."""

    def __init__(
        self, port: int, data: bytes = b"", *, patience: float = _PATIENCE, room: int = 0
    ) -> None:
        """Connect, and send ``data``; ``room`` is how much may come before it is read."""
        self.socket = socket.socket()
        if room:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.socket.settimeout(patience)
        self.socket.connect(("127.0.0.1", port))
        self._file = self.socket.makefile("rb")
        if data:
            self.send(data)

    def send(self, data: bytes) -> None:
        """Send all of it; a server that has closed takes it or not."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def read_line(self) -> bytes:
        """Return the next line."""
        return self._file.readline()

    def read_head(self) -> bytes:
        """Return the first line and the headers of an answer."""
        return b"".join(iter(self.read_line, b"\r\n"))

    def read_exactly(self, count: int) -> bytes:
        """Return so many bytes."""
        return self._file.read(count)

    def read(self) -> bytes:
        """Return what comes until the server closes; what was reset counts as closed."""
        found = b""
        with contextlib.suppress(ConnectionError):
            while chunk := self._file.read1(65536):
                found += chunk
        return found

    def statuses(self) -> list[int]:
        """Return the statuses of all answers until the server closes."""
        return [int(status) for status in _STATUS.findall(self.read())]

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
