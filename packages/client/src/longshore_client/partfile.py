"""A download that is not whole yet: ``NAME.part`` beside its place, which a later try goes on with.

Behind the bytes that it will have, the file holds one line that says whose they are and how many of
each segment have arrived. Losing it, or finding another's, costs a new beginning and nothing else:
the checksum of the whole decides at the end.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from longshore_client.errors import ChecksumMismatch, Conflict

SEGMENT = 64 * 1024**2
_MOST_SEGMENTS = 64
_STATE_SIZE = 4096
_READ = 1024**2
_MODE = 0o666  # less what the person's umask takes


@dataclass
class Segment:
    """The bytes from ``start`` up to ``end``, of which ``got`` are there."""

    start: int
    end: int
    got: int = 0

    @property
    def at(self) -> int:
        """Where the next byte belongs."""
        return self.start + self.got

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return self.at == self.end


class PartFile:
    """The file of one unfinished download. Made by ``open_part``."""

    def __init__(self, path: Path, fd: int, size: int, sha256: str) -> None:
        self._path = path
        self._fd = fd
        self._size = size
        self._sha256 = sha256
        length = max(SEGMENT, -(-size // _MOST_SEGMENTS))
        self.segments = [
            Segment(at, min(at + length, size)) for at in range(0, size, length) if size
        ]
        self.was_resumed = self._resume()

    @property
    def got(self) -> int:
        """How many bytes are there."""
        return sum(segment.got for segment in self.segments)

    def _resume(self) -> bool:
        counts = self._state()
        if counts is None:
            os.ftruncate(self._fd, 0)
            self.note()
            return False
        for segment, got in zip(self.segments, counts, strict=True):
            segment.got = got
        return any(counts)

    def _state(self) -> list[int] | None:
        line = os.pread(self._fd, _STATE_SIZE, self._size)
        try:
            state = json.loads(line)
            counts = [int(count) for count in state["got"]]
            whose = (state["sha256"], state["size"])
        except (ValueError, TypeError, KeyError):
            return None
        lengths = [segment.end - segment.start for segment in self.segments]
        fits = len(counts) == len(lengths) and all(
            0 <= count <= length for count, length in zip(counts, lengths, strict=False)
        )
        return counts if fits and whose == (self._sha256, self._size) else None

    def write(self, segment: Segment, data: bytes) -> None:
        """Add ``data`` to a segment."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, segment.at)
            segment.got += written
            view = view[written:]

    def note(self) -> None:
        """Say in the file what is there."""
        state = {
            "sha256": self._sha256,
            "size": self._size,
            "got": [segment.got for segment in self.segments],
        }
        os.pwrite(self._fd, json.dumps(state).encode().ljust(_STATE_SIZE), self._size)

    def forget(self) -> None:
        """Begin anew."""
        for segment in self.segments:
            segment.got = 0
        self.was_resumed = False
        self.note()

    def discard(self) -> None:
        """Remove the file."""
        self._path.unlink()

    def finish(self, target: Path) -> None:
        """Check the bytes and give them their name; they survive a power failure from then on.

        Raises:
            ChecksumMismatch: they are not those that the job made.
        """
        if self._digest() != self._sha256:
            raise ChecksumMismatch(f"{target.name} is not what was stored", hint="fetch it again")
        os.ftruncate(self._fd, self._size)
        os.fsync(self._fd)
        self._path.replace(target)
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _digest(self) -> str:
        sha256 = hashlib.sha256()
        at = 0
        while chunk := os.pread(self._fd, min(_READ, self._size - at), at):
            sha256.update(chunk)
            at += len(chunk)
        return sha256.hexdigest()


@contextlib.contextmanager
def open_part(target: Path, size: int, sha256: str) -> Iterator[PartFile]:
    """Open the unfinished download of ``target``, which another process may have left.

    Raises:
        Conflict: another process is fetching it just now.
        OSError: it cannot be written.
    """
    path = target.with_name(target.name + ".part")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise Conflict(
                f"another process is fetching {target}",
                hint="wait for it, or use another directory",
            ) from exc
        yield PartFile(path, fd, size, sha256)
    finally:
        os.close(fd)
