"""Reading tar, member by member.

The standard library decodes a header; everything of unknown length is read here, because tarfile
takes extended headers of any declared size into memory and keeps every member that it saw.
"""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from longshore.errors import ArchiveRefused
from longshore.staging.members import Budget, Member, read_chunks, read_exactly, refused

_BLOCK = tarfile.BLOCKSIZE
_ZEROS = bytes(_BLOCK)
#: extended attributes may be large, names are not
_MAX_EXTENSION = 1024**2
#: what tar programs fill up behind the end mark
_MAX_PADDING = 1024**2
_LONGEST_NUMBER = 20

_FILES = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})
_NAMED = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


def tar_members(stream: BinaryIO, budget: Budget) -> Iterator[Member]:
    """Yield the members of an uncompressed tar stream.

    Raises:
        ArchiveRefused: a link, a device, anything that is no file or directory; or no tar.
    """
    extended: dict[bytes, bytes] = {}
    while (block := read_exactly(stream, _BLOCK)) != _ZEROS:
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as exc:
            raise ArchiveRefused(f"the archive is damaged: {exc}") from exc
        name = info.name.encode("utf-8", "surrogateescape")
        if reader := _EXTENSIONS.get(info.type):
            extended |= reader(_extension(stream, name, info.size, budget))
            continue
        name = extended.get(b"path", name)
        size = _size(name, extended, info.size)
        extended = {}
        if not (info.isdir() or info.type in _FILES):
            raise refused(name, f"{_NAMED.get(info.type, 'a special file')} is never unpacked")
        executable = bool(info.mode & 0o100)
        if info.isdir():
            yield Member(name, True, executable, iter(()))
        else:
            yield Member(name, False, executable, read_chunks(stream, size))
            read_exactly(stream, -size % _BLOCK)
    _check_end(stream)


def _extension(stream: BinaryIO, name: bytes, size: int, budget: Budget) -> bytes:
    if not 0 <= size <= _MAX_EXTENSION:
        raise refused(name, f"an extended header of {size} bytes")
    budget.spend(size + _BLOCK)  # or headers without members would be for free
    data = read_exactly(stream, size)
    read_exactly(stream, -size % _BLOCK)
    return data


def _size(name: bytes, extended: dict[bytes, bytes], size: int) -> int:
    if any(key.startswith(b"GNU.sparse") for key in extended):
        raise refused(name, "a sparse file is never unpacked")
    if (text := extended.get(b"size")) is not None:
        size = _number(text)
    if size < 0:
        raise refused(name, "a negative size")
    return size


def _long_name(data: bytes) -> dict[bytes, bytes]:
    return {b"path": data.partition(b"\0")[0]}


def _long_link(_: bytes) -> dict[bytes, bytes]:
    return {}  # a link is refused when it comes


def _records(data: bytes) -> dict[bytes, bytes]:
    """Return pax records: lines of ``<length> <key>=<value>``, each with its own length."""
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(data) and data[start]:
        space = data.find(b" ", start, start + _LONGEST_NUMBER)
        end = start + _number(data[start:space])
        key, found, value = data[space + 1 : end - 1].partition(b"=")
        if not (start < space < end <= len(data) and data[end - 1] == ord("\n") and found):
            raise ArchiveRefused("the archive is damaged: an extended header")
        records[key] = value
        start = end
    return records


def _defaults(data: bytes) -> dict[bytes, bytes]:
    changing = [key for key in _records(data) if key in {b"path", b"size"} or b"sparse" in key]
    if changing:
        raise ArchiveRefused(f"a global header sets {changing[0]!r} for every member")
    return {}


def _number(text: bytes) -> int:
    if not (text.isdigit() and len(text) < _LONGEST_NUMBER):
        raise ArchiveRefused(f"the archive is damaged: {text[:40]!r} is not a number")
    return int(text)


_EXTENSIONS = {
    tarfile.GNUTYPE_LONGNAME: _long_name,
    tarfile.GNUTYPE_LONGLINK: _long_link,
    tarfile.XHDTYPE: _records,
    tarfile.XGLTYPE: _defaults,
}


def _check_end(stream: BinaryIO) -> None:
    # read to the end: only there does a compressed stream compare its checksum
    left = _MAX_PADDING
    while chunk := stream.read(min(left, 65536) + 1):
        left -= len(chunk)
        if left < 0 or chunk.strip(b"\0"):
            raise ArchiveRefused("the archive has data behind its end")
