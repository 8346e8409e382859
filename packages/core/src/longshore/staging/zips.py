"""Reading zip, member by member, in the order of its directory.

The directory at the end is read entry by entry; the standard library would take all of it, with
names cut at NUL, into memory before the first check.
"""

import stat
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from longshore.errors import ArchiveRefused
from longshore.staging.members import CHUNK, Budget, Member, read_chunks, read_exactly, refused

_END = struct.Struct("<4s4H2LH")
_END_64_PLACE = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT = 65535
_IN_64 = 0xFFFFFFFF
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_STORED, _DEFLATED = 0, 8
_FEED = 65536


class _Entry(NamedTuple):
    name: bytes
    mode: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def zip_members(source: BinaryIO, budget: Budget) -> Iterator[Member]:
    """Yield the members of a zip file.

    Raises:
        ArchiveRefused: a link, an encrypted member, an unknown compression; or no zip.
    """
    entries, position, end = _directory(source)
    budget.count(entries)
    budget.count(-entries)  # only asked: each file and directory is counted when it is made
    start = position
    while position < end:
        entry, position = _entry(source, position)
        kind = stat.S_IFMT(entry.mode)
        is_directory = entry.name.endswith(b"/")
        if kind and kind != (stat.S_IFDIR if is_directory else stat.S_IFREG):
            raise refused(entry.name, "a link or a special file is never unpacked")
        if is_directory and entry.size:
            raise refused(entry.name, "a directory with content")
        _find_data(source, entry, start)
        chunks = iter(()) if is_directory else _content(source, entry)
        yield Member(entry.name, is_directory, bool(entry.mode & stat.S_IXUSR), chunks)


def _directory(source: BinaryIO) -> tuple[int, int, int]:
    """Return how many entries the central directory has, where it begins and where it ends."""
    size = source.seek(0, 2)
    tail_start = max(0, size - _END.size - _MAX_COMMENT)
    source.seek(tail_start)
    tail = read_exactly(source, size - tail_start)
    found = tail.rfind(b"PK\5\6")
    if found < 0 or found + _END.size > len(tail):
        raise ArchiveRefused("the archive is truncated: it has no directory")
    _, disk, first, _, entries, length, start, comment = _END.unpack_from(tail, found)
    end = tail_start + found
    if found + _END.size + comment != len(tail) or disk or first:
        raise ArchiveRefused("the archive has data behind its end, or several parts")
    place = end - _END_64_PLACE.size
    if place >= 0 and _read_at(source, place, 4) == b"PK\6\7":
        entries, start, length, end = _directory_64(source, place)
    if start + length != end:
        raise ArchiveRefused("the archive is damaged: its directory is not where it says")
    return entries, start, end


def _directory_64(source: BinaryIO, place: int) -> tuple[int, int, int, int]:
    _, _, end, _ = _END_64_PLACE.unpack(_read_at(source, place, _END_64_PLACE.size))
    mark, *_, entries, length, start = _END_64.unpack(_read_at(source, end, _END_64.size))
    if mark != b"PK\6\6":
        raise ArchiveRefused("the archive is damaged: it has no zip64 directory")
    return entries, start, length, end


def _entry(source: BinaryIO, position: int) -> tuple[_Entry, int]:
    head = _CENTRAL.unpack(_read_at(source, position, _CENTRAL.size))
    mark, _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, comment = head[:13]
    attributes, offset = head[-2:]
    if mark != b"PK\1\2":
        raise ArchiveRefused("the archive is damaged: a directory entry")
    name = read_exactly(source, name_size)
    extra = read_exactly(source, extra_size)
    if flags & _ENCRYPTED:
        raise refused(name, "an encrypted member is never unpacked")
    if method not in {_STORED, _DEFLATED}:
        raise refused(name, f"compression method {method}; only stored and deflate are unpacked")
    size, packed, offset = _with_64(name, extra, (size, packed, offset))
    entry = _Entry(name, attributes >> 16, method, crc, packed, size, offset)
    return entry, position + _CENTRAL.size + name_size + extra_size + comment


def _with_64(name: bytes, extra: bytes, values: tuple[int, int, int]) -> tuple[int, ...]:
    """Return size, packed size and offset, from the zip64 field where they did not fit."""
    if _IN_64 not in values:
        return values
    while len(extra) >= 4:  # noqa: PLR2004 - a field's kind and length
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra[: 4 + length], 4))
            try:
                return tuple(next(wide) if value == _IN_64 else value for value in values)
            except RuntimeError:  # StopIteration within a generator
                break
        extra = extra[4 + length :]
    raise refused(name, "the archive is damaged: a zip64 size is missing")


def _find_data(source: BinaryIO, entry: _Entry, directory: int) -> None:
    head = _LOCAL.unpack(_read_at(source, entry.offset, _LOCAL.size))
    name_size, extra_size = head[-2:]
    if head[0] != b"PK\3\4" or read_exactly(source, name_size) != entry.name:
        raise refused(entry.name, "the archive is damaged: directory and member disagree")
    if source.seek(extra_size, 1) + entry.packed > directory:
        raise refused(entry.name, "the archive is damaged: a member reaches into the directory")


def _content(source: BinaryIO, entry: _Entry) -> Iterator[bytes]:
    crc = size = 0
    reader = _inflated if entry.method == _DEFLATED else read_chunks
    for chunk in reader(source, entry.packed):
        crc = zlib.crc32(chunk, crc)
        size += len(chunk)
        yield chunk
    if crc != entry.crc or size != entry.size:
        raise refused(entry.name, "the archive is damaged: wrong checksum or size")


def _inflated(source: BinaryIO, packed: int) -> Iterator[bytes]:
    press = zlib.decompressobj(-zlib.MAX_WBITS)
    data = b""
    while not press.eof:
        if not data and packed:
            data = read_exactly(source, min(packed, _FEED))
            packed -= len(data)
        chunk = press.decompress(data, CHUNK)
        if not (chunk or data):
            raise ArchiveRefused("the archive is truncated")
        data = press.unconsumed_tail
        yield chunk


def _read_at(source: BinaryIO, position: int, size: int) -> bytes:
    if position < 0:
        raise ArchiveRefused("the archive is damaged: a position before its beginning")
    source.seek(position)
    return read_exactly(source, size)
