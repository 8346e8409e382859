"""An object fetched into a file: in ranges by several connections, hashed right behind them."""

import hashlib
import io
import os
import re
from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol

from longshore.errors import ChecksumMismatch
from longshore.transfer import SignedRequest
from longshore_mover.connection import Answer
from longshore_mover.crew import Crew
from longshore_mover.line import BUFFER, Line

#: bytes of one request; what is smaller is fetched by one
RANGE = 8 * 1024**2
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")
_WHOLE = 200

Report = Callable[[int, int], None]


class Target(Protocol):
    """Where the bytes go; ``write`` and ``read`` may be called by several threads."""

    def write(self, data: memoryview, at: int) -> None:
        """Write all of ``data`` at ``at``."""

    def read(self, buffer: memoryview, at: int) -> int:
        """Fill ``buffer`` from ``at`` on; return how many bytes were there."""
        ...


class _File:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: memoryview, at: int) -> None:
        while data:
            written = os.pwrite(self._fd, data, at)
            data, at = data[written:], at + written

    def read(self, buffer: memoryview, at: int) -> int:
        return os.preadv(self._fd, [buffer], at)


class _Stream:
    """A file without a descriptor; only ever filled by one line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: memoryview, at: int) -> None:
        self._file.seek(at)
        self._file.write(data)

    def read(self, buffer: memoryview, at: int) -> int:
        self._file.seek(at)
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _NoRangesError(Exception):
    """The server sends the whole object whatever it is asked for."""


class Fetching:
    """One object on its way."""

    def __init__(
        self, request: SignedRequest, into: BinaryIO, size: int, report: Report = lambda *_: None
    ) -> None:
        self._request = request
        self._size = size
        self._report = report
        self._etag = ""
        self._done = 0
        try:
            self._target: Target = _File(into.fileno())
            self._pieces = max(1, -(-size // RANGE))
        except io.UnsupportedOperation:
            self._target, self._pieces = _Stream(into), 1

    def run(self, lines: Sequence[Line], *, hashed: bool) -> str:
        """Fetch it and return its sha256, "" where that is not wanted.

        Raises:
            ChecksumMismatch: it has another size, or was replaced meanwhile.
            LongshoreError: see ``Line.ask``.
            OSError: it cannot be written.
        """
        digest = hashlib.sha256() if hashed else None
        if self._pieces > 1:
            try:
                self._by_ranges(lines, digest)
            except _NoRangesError:
                self._pieces, self._etag = 1, ""
                digest = hashlib.sha256() if hashed else None
        if self._pieces == 1:
            self._get(lines[0], 0, self._size, digest.update if digest else None)
        self._report(self._size, self._size)
        return digest.hexdigest() if digest else ""

    def _by_ranges(self, lines: Sequence[Line], digest: "hashlib._Hash | None") -> None:
        def work(line: Line, piece: int) -> None:
            self._get(line, piece * RANGE, min((piece + 1) * RANGE, self._size), None)

        buffer = memoryview(bytearray(BUFFER))
        with Crew(lines, self._pieces, work, report=self._tell) as crew:
            for piece in range(self._pieces):
                crew.wait_for(piece)
                at, end = piece * RANGE, min((piece + 1) * RANGE, self._size)
                while digest is not None and at < end:
                    got = self._target.read(buffer[: end - at], at)
                    if not got:
                        raise OSError("the file was cut short by somebody else")
                    digest.update(buffer[:got])
                    at += got
                self._done = end
                self._tell()

    def _tell(self) -> None:
        self._report(self._done, self._size)

    def _get(
        self, line: Line, start: int, end: int, each: Callable[[memoryview], object] | None
    ) -> None:
        """Fetch the bytes from ``start`` to ``end``; after an error, those that are missing."""
        at = start
        whole = start == 0 and end == self._size

        def send(request: SignedRequest) -> None:
            headers = {} if whole and not at else {"Range": f"bytes={at}-{end - 1}"}
            if self._etag:
                headers["If-Match"] = self._etag
            line.connection.begin(request, headers)

        def take(answer: Answer) -> None:
            nonlocal at
            skip = self._check(answer, at, end, whole=whole)
            while skip:
                skip -= answer.read_into(line.buffer[:skip])
            while at < end:
                got = answer.read_into(line.buffer[: end - at])
                data = line.buffer[:got]
                self._target.write(data, at)
                if each is not None:
                    each(data)
                at += got
                line.patience.moved(got)
                line.patience.check()
                if whole:
                    self._done = at
                    self._tell()

        line.ask(self._request, send, take)

    def _check(self, answer: Answer, at: int, end: int, *, whole: bool) -> int:
        """Return how many bytes of the answer are there already.

        Raises:
            ChecksumMismatch: it is not of an object of the announced size.
        """
        if answer.status == _WHOLE:
            if answer.length is not None and answer.length != self._size:
                raise ChecksumMismatch(f"{answer.length} bytes instead of {self._size} bytes")
            if not whole:
                raise _NoRangesError
            skip = at
        else:
            found = _CONTENT_RANGE.match(answer.content_range)
            if found is None or (int(found[1]), int(found[2])) != (at, end - 1):
                raise ChecksumMismatch("the storage sent other bytes than it was asked for")
            if found[3] not in {"*", str(self._size)}:
                raise ChecksumMismatch(f"{found[3]} bytes instead of {self._size} bytes")
            skip = 0
        strong = not answer.etag.startswith("W/")
        self._etag = self._etag or (answer.etag if strong else "")
        return skip
