"""Unpacking what a stranger sent: regular files and directories, below one directory, bounded.

Nothing is believed: every name is checked, every step down is taken through a descriptor without
following a link, nothing existing is written to, and bytes are counted as they are written.
"""

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self, cast

from longshore.errors import ArchiveRefused
from longshore.models.workflow import ARCHIVE_MEMBERS, ARCHIVE_RATIO
from longshore.staging.chunks import chunked
from longshore.staging.members import CHUNK, Budget, Member, refused
from longshore.staging.tars import tar_members
from longshore.staging.zips import zip_members

#: small archives of zeros are no bombs
_RATIO_ALLOWANCE = 10 * 1024**2
#: what xz -9 needs, twice
_XZ_MEMORY = 128 * 1024**2
_MAX_PATH = 4096
_MAX_SEGMENT = 255
_MAX_DEPTH = 64
_DRIVE = re.compile(r"[A-Za-z]:")

_STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(
    source: BinaryIO,
    into: Path,
    *,
    max_unpacked: int,
    max_members: int = ARCHIVE_MEMBERS,
    max_ratio: int = ARCHIVE_RATIO,
) -> None:
    """Unpack tar (plain, gzip, bzip2, xz) or zip into the empty directory ``into``.

    When it returns, every member is there, with at most ``max_unpacked`` bytes and
    ``max_members`` files and directories in all. Files have mode 0644, or 0755 where the owner
    could execute them; owners, times and all else of an archive are dropped. After an error the
    caller removes ``into``. ``source`` must be seekable; memory does not grow with it.

    Raises:
        ArchiveRefused: a link, a device, a name that leads out, too much, damaged or truncated.
        OSError: the disk is full, or fails.
    """
    packed = source.seek(0, os.SEEK_END)
    source.seek(0)
    by_ratio = packed * max_ratio + _RATIO_ALLOWANCE
    size, rule = (
        (by_ratio, f"{max_ratio} times its size")
        if by_ratio < max_unpacked
        else (max_unpacked, f"{max_unpacked} bytes")
    )
    budget = Budget(size, max_members, rule)
    try:
        with _Tree(into, budget) as tree:
            for member in _members(source, budget):
                tree.add(member)
    except (EOFError, zlib.error, lzma.LZMAError) as exc:
        raise ArchiveRefused(f"the archive is damaged or truncated: {exc}") from exc
    except OSError as exc:
        if exc.errno is not None:
            raise
        # gzip and bz2 say so of damaged data
        raise ArchiveRefused(f"the archive is damaged: {exc}") from exc


def _members(source: BinaryIO, budget: Budget) -> Iterator[Member]:
    head = source.read(6)
    source.seek(0)
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return zip_members(source, budget)
    if head.startswith(b"\x1f\x8b"):
        return tar_members(cast("BinaryIO", gzip.GzipFile(fileobj=source)), budget)
    for magic, make in _PRESSES.items():
        if head.startswith(magic):
            return tar_members(chunked(_pressed_out(source, make)), budget)
    return tar_members(source, budget)


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)


_PRESSES: dict[bytes, Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]] = {
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": _xz,
}


def _pressed_out(
    source: BinaryIO, make: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
) -> Iterator[bytes]:
    """Yield what one compressed stream after another holds, in bounded chunks."""
    data = source.read(CHUNK)
    while data:
        press = make()
        while not press.eof:
            yield press.decompress(data, CHUNK)
            data = b""
            if press.needs_input and not press.eof:
                data = source.read(CHUNK)
                if not data:
                    raise EOFError("its compressed data ends too early")
        data = (press.unused_data or source.read(CHUNK)).lstrip(b"\0")


class _Tree:
    """The directory that is filled, with the way to the present directory held open."""

    def __init__(self, into: Path, budget: Budget) -> None:
        self._budget = budget
        self._root = os.open(into, _STEP)
        self._way: list[tuple[str, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave(0)
        os.close(self._root)

    def add(self, member: Member) -> None:
        """Make the member's directory, or its file with its content."""
        segments = safe_segments(member.name)
        if member.is_directory:
            self._enter(member.name, segments)
            return
        if not segments or member.name.endswith(b"/"):
            raise refused(member.name, "not a file name")
        directory = self._enter(member.name, segments[:-1])
        self._budget.count()
        try:
            fd = os.open(segments[-1], _CREATE, 0o600, dir_fd=directory)
        except FileExistsError as exc:
            raise refused(member.name, "the same name twice") from exc
        with os.fdopen(fd, "wb", buffering=0) as file:
            for chunk in member.chunks:
                self._budget.spend(len(chunk))
                _write_all(file, chunk)
            os.fchmod(fd, 0o755 if member.is_executable else 0o644)

    def _enter(self, name: bytes, segments: list[str]) -> int:
        """Return a descriptor of the directory, which is made as far as it is missing."""
        common = 0
        for (held, _), wanted in zip(self._way, segments, strict=False):
            if held != wanted:
                break
            common += 1
        self._leave(common)
        for segment in segments[common:]:
            self._way.append((segment, self._step(name, segment)))
        return self._here()

    def _step(self, name: bytes, segment: str) -> int:
        made = False
        try:
            os.mkdir(segment, 0o755, dir_fd=self._here())
            made = True
            self._budget.count()
        except FileExistsError:
            pass
        try:
            fd = os.open(segment, _STEP, dir_fd=self._here())
        except NotADirectoryError as exc:
            raise refused(name, f"{segment!r} is no directory") from exc
        if made:
            os.fchmod(fd, 0o755)  # whatever the umask
        return fd

    def _here(self) -> int:
        return self._way[-1][1] if self._way else self._root

    def _leave(self, depth: int) -> None:
        while len(self._way) > depth:
            os.close(self._way.pop()[1])


def safe_segments(name: bytes) -> list[str]:
    """Return the steps of a member's relative path; none for the directory itself (``./``).

    Raises:
        ArchiveRefused: the name leads out, or is none that every system keeps as it is.
    """
    try:
        text = name.decode()
    except UnicodeDecodeError as exc:
        raise refused(name, "the name is not UTF-8") from exc
    segments = [segment for segment in text.split("/") if segment not in {"", "."}]
    rules = (
        (not text, "an empty name"),
        ("\0" in text, "NUL in a name"),
        ("\\" in text, "a backslash in a name"),
        (text.startswith("/"), "an absolute name"),
        (_DRIVE.match(text) is not None, "a drive letter"),
        (".." in segments, "'..' in a name"),
        (len(name) > _MAX_PATH, f"a name of more than {_MAX_PATH} bytes"),
        (len(segments) > _MAX_DEPTH, f"more than {_MAX_DEPTH} directories deep"),
        (
            any(len(segment.encode()) > _MAX_SEGMENT for segment in segments),
            f"a part of the name has more than {_MAX_SEGMENT} bytes",
        ),
    )
    for broken, rule in rules:
        if broken:
            raise refused(name, rule)
    return segments


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
