"""A file sent in the parts of an upload: by several connections from disk, or one after another."""

import hashlib
import io
import os
import stat
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from longshore.errors import DataRefused, StorageUnavailable, TooLarge
from longshore.transfer import SignedRequest, SignedUpload, UploadReceipt
from longshore_mover.connection import Answer
from longshore_mover.crew import Crew
from longshore_mover.fetching import Report
from longshore_mover.line import BUFFER, Line

#: parts of what cannot be read twice are kept in memory up to here, else in a file without a name
IN_MEMORY = 32 * 1024**2
_READ = 1024**2

#: (ticket, number) of a part -> its MD5, its size and its tag
Sent = dict[tuple[str, int], tuple[bytes, int, str]]


class Sending:
    """One upload on its way. ``sent`` are parts that have arrived: they are not sent again."""

    def __init__(
        self,
        upload: SignedUpload,
        max_size: int,
        sent: Sent,
        *,
        scratch: Path | None = None,
        report: Report = lambda *_: None,
    ) -> None:
        self._upload = upload
        takes = upload.max_size
        self._most = max_size if takes is None else min(max_size, takes)
        self._sent = sent
        self._scratch = scratch
        self._report = report
        self._done = 0
        self._sha256 = hashlib.sha256()

    def run(self, lines: Sequence[Line], source: BinaryIO) -> UploadReceipt:
        """Send ``source`` and say what was sent.

        Raises:
            TooLarge: it is larger than the upload may be.
            DataRefused: it changed while it was read.
            LongshoreError: see ``Line.ask``.
            OSError: it cannot be read.
        """
        fd = _descriptor(source)
        if fd is None:
            size, count = self._send_stream(lines[0], source)
        else:
            size = os.fstat(fd).st_size
            count = self._send_file(lines, fd, size)
        tags = [self._sent[self._upload.ticket_id, number][2] for number in range(1, count + 1)]
        self._report(size, size)
        return UploadReceipt(size=size, sha256=self._sha256.hexdigest(), parts=tuple(tags))

    def _send_file(self, lines: Sequence[Line], fd: int, size: int) -> int:
        part = self._upload.part_size
        count = max(1, -(-size // part))
        self._check_size(size, count)
        buffer = memoryview(bytearray(BUFFER))

        def work(line: Line, piece: int) -> None:
            start = piece * part
            self._send_part(line, piece + 1, fd, start, min(part, size - start))

        def tell() -> None:
            self._report(self._done, size)

        if count == 1:
            self._send_part(lines[0], 1, fd, 0, size)
            _each(fd, 0, size, buffer, self._sha256.update)
            return count
        # A part is read for the whole's checksum about when it is sent: from the disk only once.
        ahead = len(lines)
        with Crew(lines, count, work, allowed=ahead, report=tell) as crew:
            for piece in range(count):
                start = piece * part
                _each(fd, start, min(part, size - start), buffer, self._sha256.update)
                crew.wait_for(max(0, piece - ahead))
                crew.allow(piece + 1 + ahead)
                tell()
            for piece in range(count):
                crew.wait_for(piece)
        return count

    def _send_stream(self, line: Line, source: BinaryIO) -> tuple[int, int]:
        """Send what can only be read once; return its size and how many parts it has."""
        size = number = 0
        with self._keeper() as kept:
            while True:
                # one byte more than allowed is enough to know that it is too much
                wanted = min(self._upload.part_size, self._most + 1 - size)
                got = self._keep(source, kept, wanted)
                if not got and number:
                    return size, number
                size += got
                self._check_size(size, number + 1)
                number += 1
                if isinstance(kept, io.BytesIO):
                    with kept.getbuffer() as part:
                        self._send_bytes(line, number, part)
                else:
                    self._send_part(line, number, kept.fileno(), 0, got)
                self._report(size, size)
                if got < wanted:
                    return size, number

    def _keeper(self) -> BinaryIO:
        """Return a file for one part."""
        if self._upload.part_size <= IN_MEMORY:
            return io.BytesIO()
        import tempfile  # noqa: PLC0415 - seldom needed, and the first byte is waited for

        return cast("BinaryIO", tempfile.TemporaryFile(dir=self._scratch, buffering=0))

    def _keep(self, source: BinaryIO, kept: BinaryIO, size: int) -> int:
        """Copy at most ``size`` bytes; return how many."""
        kept.seek(0)
        kept.truncate()
        got = 0
        while got < size and (data := source.read(min(_READ, size - got))):
            self._sha256.update(data)
            kept.write(data)
            got += len(data)
        return got

    def _check_size(self, size: int, count: int) -> None:
        if size > self._most or count > len(self._upload.parts):
            raise TooLarge(f"more than {self._most} bytes")

    def _send_part(self, line: Line, number: int, fd: int, start: int, size: int) -> None:
        """Send a part from disk: its checksum comes before it, so it is read twice."""
        md5 = hashlib.md5(usedforsecurity=False)
        _each(fd, start, size, line.buffer, md5.update)

        def body() -> None:
            at, end = start, start + size
            while at < end:
                moved = line.connection.send_file(fd, at, end - at)
                if not moved:
                    raise DataRefused("it changed while it was sent")
                at += moved
                line.patience.check()

        self._send(line, number, md5.digest(), size, body)

    def _send_bytes(self, line: Line, number: int, part: memoryview) -> None:
        md5 = hashlib.md5(part, usedforsecurity=False)

        def body() -> None:
            for at in range(0, len(part), _READ):
                line.connection.send(part[at : at + _READ])
                line.patience.check()

        self._send(line, number, md5.digest(), len(part), body)

    def _send(
        self, line: Line, number: int, md5: bytes, size: int, body: Callable[[], None]
    ) -> None:
        place = self._upload.ticket_id, number
        if self._sent.get(place, ())[:2] == (md5, size):
            return
        headers = {"Content-MD5": b64encode(md5).decode(), "Content-Length": str(size)}

        def send(request: SignedRequest) -> None:
            line.connection.begin(request, headers)
            body()

        def take(answer: Answer) -> None:
            if not answer.etag:
                raise StorageUnavailable("the storage does not say what it took: no ETag")
            self._sent[place] = md5, size, answer.etag.removeprefix("W/").strip('"')
            line.patience.moved(size)
            self._done += size  # of several threads: only ever shown

        line.ask(self._upload.parts[number - 1], send, take)


def _descriptor(source: BinaryIO) -> int | None:
    """Return the descriptor of a regular file that is read from its beginning; None else."""
    try:
        fd = source.fileno()
    except (OSError, AttributeError):
        return None
    regular = stat.S_ISREG(os.fstat(fd).st_mode)
    return fd if regular and os.lseek(fd, 0, os.SEEK_CUR) == 0 else None


def _each(
    fd: int, start: int, size: int, buffer: memoryview, each: Callable[[memoryview], object]
) -> None:
    """Give the bytes of a part of a file to ``each``."""
    at, end = start, start + size
    while at < end:
        got = os.preadv(fd, [buffer[: end - at]], at)
        if not got:
            raise DataRefused("it changed while it was read")
        each(buffer[:got])
        at += got
