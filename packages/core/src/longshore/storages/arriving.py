"""Uploads that arrive over a network: parts, written where they belong in the upload's file.

Beside the file ``<upload id>`` lies ``<upload id>.parts``, a line for every part that is whole; a
part counts from then on. It is not synced: a line of an earlier boot may tell of bytes that never
reached the disk, so those are read again before they are believed. Senders lock the range that
they write, and a commit locks all of it. Blocking.
"""

import fcntl
import functools
import hashlib
import os
import secrets
import stat
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

import attrs

from longshore.blobs import Grant
from longshore.errors import ChecksumMismatch, NotFound, StorageUnavailable, TooLarge
from longshore.staging.transport import CHUNK, OPEN
from longshore.storages.failing import told
from longshore.transfer import SentPart, UploadTicket, follow_on

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_RANGES = sys.platform == "linux"  # whose layout of a lock we know
_ENDED = "."
_FIELDS = 5


@attrs.frozen
class KeptPart:
    """A part that is whole; ``is_sure`` where this boot of the machine has written it."""

    part: SentPart
    is_sure: bool


class PartsFile:
    """Which parts of an upload are whole."""

    def __init__(self, upload: Path) -> None:
        self.path = upload.with_name(f"{upload.name}.parts")

    def read(self) -> dict[int, KeptPart]:
        """Return the parts by number, in order; none where nothing was sent like this."""
        kept: dict[int, KeptPart] = {}
        with suppress(FileNotFoundError):
            for line in self.path.read_text("ascii").splitlines():
                fields = line.split()
                if len(fields) != _FIELDS or fields[-1] != _ENDED:
                    continue  # cut off by a full disk
                number, size, tag, boot, _ = fields
                kept.pop(int(number), None)
                if tag != "-":
                    part = SentPart(number=int(number), size=int(size), tag=tag)
                    kept[part.number] = KeptPart(part, boot == boot_id())
        return dict(sorted(kept.items()))

    def add(self, part: SentPart) -> None:
        """Say that a part is whole."""
        self._append(f"{part.number} {part.size} {part.tag}")

    def forget(self, numbers: Iterable[int]) -> None:
        """Say that parts are not, or no longer."""
        for number in numbers:
            self._append(f"{number} 0 -")

    def remove(self) -> None:
        """Forget all, with the file."""
        self.path.unlink(missing_ok=True)

    def _append(self, said: str) -> None:
        # after a line that was cut off, a new one begins
        line = f"\n{said} {boot_id()} {_ENDED}\n".encode()
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.write(fd, line) != len(line):
                os.write(fd, line)  # says why not
                raise StorageUnavailable("cannot write down which parts have arrived")
        finally:
            os.close(fd)


class ArrivingPart:
    """The bytes of one request on their way to disk; see ``longshore.storages.abc.Arrival``."""

    def __init__(self, upload: Path, grant: Grant) -> None:
        self._grant = grant
        self._number = grant.part or 1
        self._parts = PartsFile(upload)
        self._size = 0
        self._hash = hashlib.sha256()
        self._finished = False
        self._what = f"take bytes of {grant.key}"
        with told(self._what):
            self._fd = _open_upload(upload)
            try:
                self._begin(upload)
            except BaseException:
                self.close()
                raise

    def _begin(self, upload: Path) -> None:
        _lock_to_write(self._fd, self._grant)
        if not upload.exists():  # committed or aborted since it was opened
            raise NotFound("the upload is no longer open")
        found = os.fstat(self._fd)
        if stat.S_IMODE(found.st_mode) != OPEN:  # sent as a file, or by a commit that was killed
            self._parts.remove()
            os.fchmod(self._fd, OPEN)
        elif self._number in self._parts.read():
            self._parts.forget([self._number])
        self._make_room(found.st_size)

    def _make_room(self, size: int) -> None:
        if size and not self._grant.part:
            os.ftruncate(self._fd, 0)  # what is left of an earlier try

    def write(self, data: bytes | memoryview) -> None:
        """Write the next bytes; see ``Arrival``."""
        if self._size + len(data) > self._grant.size:
            raise TooLarge(f"more than the {self._grant.size} bytes that this URL takes")
        view = memoryview(data)
        with told(self._what):
            while view:
                written = os.pwrite(self._fd, view, self._grant.at + self._size)
                self._size += written
                view = view[written:]

    def hash(self, data: bytes | memoryview) -> None:
        """Hash the next bytes; see ``Arrival``."""
        self._hash.update(data)

    def finish(self) -> SentPart:
        """Compare the bytes with what was granted, and write down that they are there."""
        digest = self._hash.hexdigest()
        if self._grant.sha256 and digest != self._grant.sha256.lower():
            raise ChecksumMismatch(
                f"the bytes have sha256 {digest}, announced was {self._grant.sha256}",
                hint="send the file that was announced",
            )
        part = SentPart(number=self._number, size=self._size, tag=digest)
        with told(self._what):
            self._parts.add(part)
        self._finished = True
        return part

    def close(self) -> None:
        """Let go of the file; bytes that are not finished give their room back where they can."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            if not self._finished and self._size:
                self._drop(fd)
        finally:
            os.close(fd)

    def _drop(self, fd: int) -> None:
        with suppress(OSError):
            if not self._grant.part:
                os.ftruncate(fd, 0)


def _open_upload(path: Path) -> int:
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags)
        except PermissionError:  # wholly sent before: it is sent anew
            path.chmod(OPEN)
            return os.open(path, flags)
    except FileNotFoundError as exc:
        raise NotFound("the upload is no longer open") from exc


def _lock_to_write(fd: int, grant: Grant) -> None:
    try:
        # no mover sends to it as a file; without locks of ranges, one part at a time
        fcntl.flock(fd, (fcntl.LOCK_SH if _RANGES else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        _lock_range(fd, fcntl.F_WRLCK, grant.at, max(grant.size, 1))
    except BlockingIOError as exc:
        raise StorageUnavailable("another transfer of these bytes is going on") from exc


def lock_to_commit(file: FileIO, key: str) -> None:
    """Keep senders away from an upload's file until it is closed; other commits are welcome.

    Raises:
        StorageUnavailable: somebody is sending.
    """
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        _lock_range(file.fileno(), fcntl.F_RDLCK, 0, 0)
    except BlockingIOError as exc:
        raise StorageUnavailable(f"{key} is still being sent") from exc


def _lock_range(fd: int, kind: int, start: int, length: int) -> None:
    # of the open file, not of the process: threads of one process keep each other out
    if _RANGES:
        fcntl.fcntl(
            fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi0q", kind, os.SEEK_SET, start, length, 0)
        )


def assemble(
    file: FileIO, upload: Path, ticket: UploadTicket, kept: Sequence[KeptPart], *, is_sure: bool
) -> tuple[int, str]:
    """Return the size and sha256 of the object that the parts of a locked upload make up.

    What was hashed on its way in as a whole is not read again; parts are, once, all together.

    Raises:
        NotFound: a part is missing, or was lost when the machine stopped.
    """
    parts = [one.part for one in kept]
    if not follow_on(ticket, parts):
        raise NotFound(f"not all parts of {ticket.key} have arrived")
    size = sum(part.size for part in parts)
    has = os.fstat(file.fileno()).st_size
    if has > size:  # of an earlier try, which had more
        os.truncate(upload, size)
    sure = is_sure and all(one.is_sure for one in kept)
    if has >= size and sure and len(parts) == 1:
        return size, parts[0].tag
    digest, lost = _read(file, parts, verify=not sure)
    if lost:
        PartsFile(upload).forget(lost)
        raise NotFound(f"parts {lost} of {ticket.key} were lost", hint="send them again")
    return size, digest


def _read(file: FileIO, parts: Sequence[SentPart], *, verify: bool) -> tuple[str, list[int]]:
    whole, lost = hashlib.sha256(), list[int]()
    buffer = memoryview(bytearray(CHUNK))
    for part in parts:
        own, left = hashlib.sha256(), part.size
        while left and (got := file.readinto(buffer[: min(left, CHUNK)])):
            whole.update(buffer[:got])
            if verify:
                own.update(buffer[:got])
            left -= got
        if left or (verify and own.hexdigest() != part.tag):
            lost.append(part.number)
    return whole.hexdigest(), lost


@functools.cache
def boot_id() -> str:
    """Return what changes when the machine starts anew, and nothing that ever comes again."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:  # not Linux: of this process, so that nothing of any other is believed
        return secrets.token_hex(16)
