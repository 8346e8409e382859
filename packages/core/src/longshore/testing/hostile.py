"""Archives that nobody may unpack, and names that a worker may leave: for whoever moves bytes.

``ARCHIVES`` holds one archive for each rule that ``longshore.staging.archives.unpack`` has, and
``NAMES`` what a file system takes as a name and other programs take for something else.
"""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import attrs

MIB = 1024**2
_TYPES: Mapping[str, bytes] = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "sparse": tarfile.GNUTYPE_SPARSE,
    "unknown": b"Z",
}
_PRESSES: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
_FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}
_END = bytes(2 * tarfile.BLOCKSIZE)
_ANYTHING = "."
#: names of members that lead out, or that not every system keeps as they are
BAD_NAMES = (
    "/etc/passwd",
    "//etc/passwd",
    "../escaped",
    "a/../../escaped",
    "a/..",
    "..",
    "a\\..\\..\\escaped",
    "C:evil",
    "c:/evil",
    "x" * 256,
    "é" * 128,
    "/".join("d" * 65),
    "d/" * 3000 + "x",
)
#: names that a worker can give to a file of a directory that is an output
NAMES = (
    b"...",
    b"..\\..\\escaped",
    b"C:evil",
    b"CON",
    b"%2e%2e%2fescaped",
    b"-rf",
    b"$(reboot)",
    b"line\nbreak",
    b"\x1b[2J",
    b" ",
    b".hidden",
    b"x" * 255,
    "e\u0301".encode(),  # not composed
    "\u202etxt.exe".encode(),  # from right to left
    "\ufeffbom".encode(),
    b"\xff\xfe",
    b"\xed\xa0\x80",
)


@attrs.frozen
class HostileArchive:
    """An archive that is refused; ``says`` is a regular expression of what the refusal says.

    ``make`` returns its bytes: some take a while, and hundreds of MiB while they are made.
    """

    name: str
    says: str
    make: Callable[[], bytes]

    def __str__(self) -> str:
        return self.name


def tar_of(
    members: Iterable[tuple[str, str, Any]],
    *,
    compression: str = "",
    tar_format: int = tarfile.PAX_FORMAT,
) -> bytes:
    """Return a tar of (kind, name, bytes of a file or target of a link)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tar_format) as archive:
        for kind, name, content in members:
            info = tarfile.TarInfo(name)
            info.type = _TYPES[kind]
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content or ""
                archive.addfile(info)
    return _PRESSES[compression](stream.getvalue())


def zip_of(
    *members: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """Return a zip of names and their bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def zip_info(name: str, mode: int = 0, **fields: Any) -> zipfile.ZipInfo:
    """Return a member with a mode of Unix."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def patched(archive: bytes, old: bytes, new: bytes) -> bytes:
    """Return ``archive`` with other bytes of the same length."""
    assert len(old) == len(new)
    assert old in archive
    return archive.replace(old, new)


def _names() -> Iterator[HostileArchive]:
    for number, name in enumerate(BAD_NAMES):
        said = f"{number} ({name[:20]!a})"
        for form, tar_format in _FORMATS.items():
            for kind, content in (("file", b""), ("directory", None)):
                make = partial(tar_of, [(kind, name, content)], tar_format=tar_format)
                yield HostileArchive(f"{form} {kind} name {said}", "member", make)
        yield HostileArchive(f"zip name {said}", "member", partial(zip_of, (name, b"x")))
    for raw in (b".", b"./", b"a/", b"a\0b", b"\xff\xfe", b"\xed\xa0\x80"):
        yield HostileArchive(f"zip name {raw!r}", "member", partial(_renamed, raw))
    yield HostileArchive("tar name latin-1", "UTF-8", _latin)
    yield HostileArchive("tar name empty", "empty name", lambda: tar_of([("file", "", b"")]))


def _renamed(raw: bytes) -> bytes:
    stand_in = "N" * len(raw)
    return patched(zip_of((stand_in, b"content")), stand_in.encode(), raw)


def _latin() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(
        fileobj=stream, mode="w", encoding="latin-1", format=tarfile.GNU_FORMAT
    ) as archive:
        archive.addfile(tarfile.TarInfo("Grüße"))
    return stream.getvalue()


def _kinds() -> Iterator[HostileArchive]:
    never = "never unpacked"
    odd = [("link", "/etc/passwd"), ("link", "harmless"), ("hard link", "/etc/passwd")]
    odd += [("hard link", "../../x"), ("pipe", ""), ("device", ""), ("block device", "")]
    odd += [("sparse", ""), ("unknown", "")]
    for form, tar_format in _FORMATS.items():
        for kind, target in odd:
            make = partial(tar_of, [(kind, "odd", target)], tar_format=tar_format)
            yield HostileArchive(f"{form} {kind} {target}".strip(), never, make)
    through = [("link", "way", "../"), ("file", "way/escaped", b"gotcha")]
    yield HostileArchive("tar file through a link", never, lambda: tar_of(through))
    for mode in (stat.S_IFLNK | 0o777, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK):
        make = partial(zip_of, (zip_info("odd", mode), b"/etc/passwd"))
        yield HostileArchive(f"zip mode {mode:o}", never, make)
    seconds: tuple[tuple[str, str, Any], ...] = (
        ("file", "a", b"2"),
        ("directory", "a", None),
        ("file", "a/b", b"2"),
        ("file", "./a", b"2"),
    )
    for second in seconds:
        make = partial(tar_of, [("file", "a", b"1"), second])
        yield HostileArchive(f"tar {second[0]} {second[1]} over a", "twice|no directory", make)
    over = [("file", "a/b", b"1"), ("file", "a", b"2")]
    yield HostileArchive("tar file over a directory", "twice", lambda: tar_of(over))


def _headers() -> Iterator[HostileArchive]:
    smuggled: tuple[dict[str, str], ...] = (
        {"path": "../escaped"},
        {"path": "a\0b"},
        {"size": "-1"},
        {"size": "1e9"},
        {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(10**15)},
    )
    for headers in smuggled:
        yield HostileArchive(f"pax {headers}", _ANYTHING, partial(_pax, headers))
    for headers in ({"path": "x"}, {"size": "5"}, {"GNU.sparse.map": "0,1"}):
        yield HostileArchive(f"pax global {headers}", "global", partial(_global, headers))
    for data in (b"\n", b"=\n", b"0 a=\n", b"5a=b\n", b"3 =\n5 a=b\n", b"99 a=b\n", b"\n 1=\n"):
        block = data.ljust(tarfile.BLOCKSIZE, b"\0") + _END
        make = partial(_bare, tarfile.XHDTYPE, len(data), block)
        yield HostileArchive(f"pax of {data!r}", "damaged", make)
    for size in (2 * MIB, 10**12):
        for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            make = partial(_bare, kind, size, bytes(3 * MIB))
            yield HostileArchive(f"tar header {kind!r} of {size}", "extended header of", make)
    petabyte = partial(_bare, tarfile.GNUTYPE_SPARSE, 10**15, _END)
    yield HostileArchive("tar sparse petabyte", "sparse", petabyte)


def _pax(headers: dict[str, str]) -> bytes:
    info = tarfile.TarInfo("fine")
    info.pax_headers = headers
    return info.tobuf(tarfile.PAX_FORMAT) + _END


def _global(headers: dict[str, str]) -> bytes:
    return tarfile.TarInfo.create_pax_global_header(headers) + _END


def _bare(kind: bytes, size: int, rest: bytes) -> bytes:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, size
    return header.tobuf(tarfile.GNU_FORMAT) + rest


def _zips() -> Iterator[HostileArchive]:
    yield HostileArchive("zip encrypted", "encrypted", _encrypted)
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        make = partial(zip_of, ("a", b"x"), compression=method)
        yield HostileArchive(f"zip method {method}", "compression method", make)
    two = partial(zip_of, ("good", b"x"))
    yield HostileArchive("zip two names", "disagree", lambda: two().replace(b"good", b"evil", 1))
    stored = partial(zip_of, ("a", b"original"), compression=zipfile.ZIP_STORED)
    yield HostileArchive(
        "zip checksum", "checksum", lambda: patched(stored(), b"original", b"tampered")
    )
    yield HostileArchive("zip shared data", "twice", _shared)


def _encrypted() -> bytes:
    archive = zip_of((zip_info("secret", flag_bits=0), b"x"))
    at = archive.index(b"PK\1\2") + 8
    return archive[:at] + b"\1" + archive[at + 1 :]


def _shared() -> bytes:
    single = zip_of((zip_info("a"), bytes(range(250)) * 4), compression=zipfile.ZIP_STORED)
    start, end = single.index(b"PK\1\2"), single.index(b"PK\5\6")
    entries = single[start:end] * 50
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 50, 50, len(entries), start, 0)
    return single[:start] + entries + tail


def _bombs() -> Iterator[HostileArchive]:
    ratio = "100 times its size"
    yield HostileArchive("zip bomb", ratio, lambda: zip_of(("zeros", bytes(200 * MIB))))
    for press in ("gz", "bz2", "xz"):
        yield HostileArchive(f"tar.{press} bomb", ratio, partial(_zeros, press))
    yield HostileArchive("tar.gz of headers", ratio, _headers_only)
    yield HostileArchive("xz memory", "[Mm]emory", _greedy)


def _zeros(press: str) -> bytes:
    return tar_of([("file", "zeros", bytes(40 * MIB))], compression=press)


def _headers_only() -> bytes:
    record = b"30 comment=".ljust(29, b"c") + b"\n"
    block = record + bytes(MIB - len(record))
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, MIB
    return gzip.compress((header.tobuf(tarfile.USTAR_FORMAT) + block) * 30)


def _greedy() -> bytes:
    """Return an xz that wants gibibytes: its dictionary's size is one byte of a header."""
    small = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": MIB}]
    archive = lzma.compress(bytes(10240), filters=small)
    block = bytearray(archive[12 : 12 + 8])
    block[archive.index(b"\x21\x01") + 2 - 12] = 0x25
    return archive[:12] + bytes(block) + struct.pack("<I", zlib.crc32(block)) + archive[24:]


def _damaged() -> Iterator[HostileArchive]:
    for content in (b"", b"#!/bin/sh\n" * 100, b"PK\3\4", b"\x1f\x8b", b"BZh9"):
        yield HostileArchive(f"none {content[:10]!r}", _ANYTHING, partial(bytes, content))
    whole = partial(tar_of, [("file", "a", b"1" * 3000)])
    yield HostileArchive("tar cut", _ANYTHING, lambda: whole()[:2000])
    behind = "behind its end"
    yield HostileArchive("tar with a tail", behind, lambda: whole() + b"hidden")
    yield HostileArchive("tar with a long tail", behind, lambda: whole() + bytes(2 * MIB))


ARCHIVES: tuple[HostileArchive, ...] = (
    *_names(),
    *_kinds(),
    *_headers(),
    *_zips(),
    *_bombs(),
    *_damaged(),
)
