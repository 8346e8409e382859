"""S11: whatever an archive holds, nothing leaves its directory, and nothing grows without bound."""

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from longshore.errors import ArchiveRefused
from longshore.staging import archives
from longshore.staging.archives import safe_segments, unpack

Tar = Callable[..., bytes]
Unpacked = Callable[..., dict[str, bytes]]
MIB = 1024**2


def zip_of(
    *members: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED
) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def zip_info(name: str, mode: int = 0, **fields: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def patched(archive: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    assert old in archive
    return archive.replace(old, new)


def outside(into: Path) -> list[Path]:
    """Return what lies beside the directory of an archive, where nothing may come to lie."""
    return [path for path in into.parent.rglob("*") if into not in (path, *path.parents)]


class TestOrdinaryArchives:
    MEMBERS = (
        ("directory", "a", None),
        ("file", "a/one", b"1"),
        ("file", "./b/c/two", b"2" * 100_000),
        ("directory", "./", None),
        ("file", "Grüße 🚢", b""),
        ("file", "x" * 255, b"longest"),
        ("file", "/".join("d" * 63), b"deep"),
    )

    @pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
    @pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    def test_tar_is_unpacked_in_every_form(
        self, tar: Tar, unpacked: Unpacked, compression: str, tar_format: int
    ) -> None:
        found = unpacked(tar(self.MEMBERS, compression=compression, tar_format=tar_format))
        assert found["a/one"] == b"1"
        assert found["b/c/two"] == b"2" * 100_000
        assert found["Grüße 🚢"] == b""
        assert found["x" * 255] == b"longest"
        assert found["/".join("d" * 63)] == b"deep"

    @pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_zip_is_unpacked(self, unpacked: Unpacked, compression: int) -> None:
        archive = zip_of(
            ("a/", b""), ("a/one", b"1"), ("b/ü", os.urandom(3 * MIB)), compression=compression
        )
        found = unpacked(archive)
        assert found["a/one"] == b"1"
        assert len(found["b/ü"]) == 3 * MIB

    def test_a_streamed_zip_with_sizes_behind_the_data_is_unpacked(
        self, unpacked: Unpacked
    ) -> None:
        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

            def seek(self, *_: int) -> int:
                raise io.UnsupportedOperation

            def tell(self) -> int:
                raise io.UnsupportedOperation

        stream = Pipe()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", b"1" * 1000)
        assert unpacked(stream.getvalue()) == {"a": b"1" * 1000}

    def test_a_zip64_is_unpacked(self, unpacked: Unpacked, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
        archive = zip_of(("a", b"1" * 1000), ("b", b"2" * 1000))
        assert b"PK\6\6" in archive
        archive = archive[:-14] + b"\xff" * 12 + archive[-2:]  # as where it does not fit
        assert unpacked(archive) == {"a": b"1" * 1000, "b": b"2" * 1000}

    @pytest.mark.parametrize(
        "archive",
        [zip_of(), bytes(1024), gzip.compress(bytes(10240))],
        ids=["zip", "tar", "tar.gz"],  # not their bytes: they have the time in them
    )
    def test_an_empty_archive_is_an_empty_directory(
        self, unpacked: Unpacked, archive: bytes
    ) -> None:
        assert unpacked(archive) == {}

    @pytest.mark.parametrize("press", [gzip.compress, bz2.compress, lzma.compress])
    def test_a_stream_in_several_compressed_pieces_is_unpacked(
        self, tar: Tar, unpacked: Unpacked, press: Callable[[bytes], bytes]
    ) -> None:
        whole = tar([("file", "a", b"x" * 5000)])
        assert unpacked(press(whole[:700]) + press(whole[700:])) == {"a": b"x" * 5000}

    def test_of_a_members_mode_only_the_owners_x_bit_counts(self, into: Path) -> None:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, mode in (("plain", 0o6666), ("tool", 0o4755), ("none", 0)):
                info = tarfile.TarInfo(name)
                info.mode, info.uid, info.mtime = mode, 12345, 1
                archive.addfile(info)
            info = tarfile.TarInfo("dir")
            info.type, info.mode = tarfile.DIRTYPE, 0
            archive.addfile(info)
        unpack(stream, into, max_unpacked=MIB)
        found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in into.iterdir()}
        assert found == {"plain": 0o644, "tool": 0o755, "none": 0o644, "dir": 0o755}
        assert (into / "plain").stat().st_uid == os.getuid()
        assert (into / "plain").stat().st_mtime > 1

    def test_archives_in_archives_stay_packed(self, tar: Tar, unpacked: Unpacked) -> None:
        inner = zip_of(("../x", b""))
        assert unpacked(tar([("file", "inner.zip", inner)])) == {"inner.zip": inner}


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


class TestNames:
    @pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    @pytest.mark.parametrize("kind", ["file", "directory"])
    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_a_tar_name_that_leads_out_is_refused(
        self, tar: Tar, unpacked: Unpacked, into: Path, name: str, kind: str, tar_format: int
    ) -> None:
        with pytest.raises(ArchiveRefused, match="member"):
            unpacked(tar([(kind, name, b"" if kind == "file" else None)], tar_format=tar_format))
        assert outside(into) == []

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_a_zip_name_that_leads_out_is_refused(
        self, unpacked: Unpacked, into: Path, name: str
    ) -> None:
        with pytest.raises(ArchiveRefused, match="member"):
            unpacked(zip_of((name, b"x")))
        assert outside(into) == []

    @pytest.mark.parametrize("raw", [b".", b"./", b"a/", b"a\0b", b"\xff\xfe", b"\xed\xa0\x80"])
    def test_a_name_that_is_none_is_refused(self, unpacked: Unpacked, raw: bytes) -> None:
        placeholder = b"N" * len(raw)
        archive = zip_of((placeholder.decode(), b"content"))
        with pytest.raises(ArchiveRefused, match="member"):
            unpacked(patched(archive, placeholder, raw))

    def test_a_tar_name_that_is_not_utf_8_is_refused(self, unpacked: Unpacked) -> None:
        with tarfile.open(
            fileobj=(stream := io.BytesIO()),
            mode="w",
            encoding="latin-1",
            format=tarfile.GNU_FORMAT,
        ) as archive:
            archive.addfile(tarfile.TarInfo("Grüße"))
        with pytest.raises(ArchiveRefused, match="UTF-8"):
            unpacked(stream.getvalue())

    def test_an_empty_tar_name_is_refused(self, tar: Tar, unpacked: Unpacked) -> None:
        with pytest.raises(ArchiveRefused, match="empty name"):
            unpacked(tar([("file", "", b"")]))

    @settings(deadline=None)
    @given(st.text(max_size=40) | st.binary(max_size=40))
    def test_whatever_the_name_it_is_refused_or_stays_below(self, name: str | bytes) -> None:
        raw = name.encode("utf-8", "surrogatepass") if isinstance(name, str) else name
        try:
            segments = safe_segments(raw)
        except ArchiveRefused:
            return
        assert not {"..", ".", ""} & set(segments)
        assert not any("/" in segment or "\0" in segment for segment in segments)
        assert not raw.startswith(b"/")


class TestKinds:
    @pytest.mark.parametrize(
        ("kind", "target"),
        [
            ("link", "/etc/passwd"),
            ("link", "harmless"),
            ("hard link", "/etc/passwd"),
            ("hard link", "../../x"),
            ("pipe", None),
            ("device", None),
            ("block device", None),
            ("sparse", None),
            ("unknown", None),
        ],
    )
    @pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    def test_what_is_no_file_or_directory_is_refused(
        self, tar: Tar, unpacked: Unpacked, into: Path, kind: str, target: Any, tar_format: int
    ) -> None:
        with pytest.raises(ArchiveRefused, match="never unpacked"):
            unpacked(tar([(kind, "odd", target)], tar_format=tar_format))
        assert list(into.iterdir()) == []

    def test_a_link_and_then_a_file_through_it_reaches_nothing(
        self, tar: Tar, unpacked: Unpacked, into: Path
    ) -> None:
        archive = tar([("link", "way", "../"), ("file", "way/escaped", b"gotcha")])
        with pytest.raises(ArchiveRefused):
            unpacked(archive)
        assert outside(into) == []

    @pytest.mark.parametrize(
        "mode", [stat.S_IFLNK | 0o777, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK]
    )
    def test_a_zip_member_with_a_unix_mode_of_something_else_is_refused(
        self, unpacked: Unpacked, mode: int
    ) -> None:
        with pytest.raises(ArchiveRefused, match="never unpacked"):
            unpacked(zip_of((zip_info("odd", mode), b"/etc/passwd")))

    @pytest.mark.parametrize(
        "second",
        [
            ("file", "a", b"2"),
            ("directory", "a", None),
            ("file", "a/b", b"2"),
            ("file", "./a", b"2"),
        ],
    )
    def test_a_name_that_is_taken_is_refused(
        self, tar: Tar, unpacked: Unpacked, into: Path, second: tuple[str, str, Any]
    ) -> None:
        with pytest.raises(ArchiveRefused, match=r"twice|no directory"):
            unpacked(tar([("file", "a", b"1"), second]))
        assert (into / "a").read_bytes() == b"1"

    def test_a_file_over_a_directory_is_refused(self, tar: Tar, unpacked: Unpacked) -> None:
        with pytest.raises(ArchiveRefused, match="twice"):
            unpacked(tar([("file", "a/b", b"1"), ("file", "a", b"2")]))

    def test_the_same_directory_twice_is_no_harm(self, tar: Tar, unpacked: Unpacked) -> None:
        assert unpacked(tar([("directory", "a", None)] * 2)) == {"a/": b""}

    def test_a_pax_header_cannot_smuggle_a_name_a_size_or_a_sparse_map(
        self, unpacked: Unpacked, into: Path
    ) -> None:
        for headers in (
            {"path": "../escaped"},
            {"path": "a\0b"},
            {"size": "-1"},
            {"size": "1e9"},
            {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(10**15)},
        ):
            info = tarfile.TarInfo("fine")
            info.pax_headers = headers
            archive = info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)
            with pytest.raises(ArchiveRefused):
                unpacked(archive)
        assert outside(into) == []

    @pytest.mark.parametrize("headers", [{"path": "x"}, {"size": "5"}, {"GNU.sparse.map": "0,1"}])
    def test_a_global_header_that_changes_members_is_refused(
        self, unpacked: Unpacked, headers: dict[str, str]
    ) -> None:
        archive = tarfile.TarInfo.create_pax_global_header(headers) + bytes(1024)
        with pytest.raises(ArchiveRefused, match="global"):
            unpacked(archive)

    def test_a_comment_as_git_writes_it_is_no_harm(self, tar: Tar, unpacked: Unpacked) -> None:
        comment = tarfile.TarInfo.create_pax_global_header({"comment": "0" * 40})
        assert unpacked(comment + tar([("file", "a", b"1")])) == {"a": b"1"}

    def test_an_encrypted_zip_member_is_refused(self, unpacked: Unpacked) -> None:
        archive = zip_of((zip_info("secret", flag_bits=0), b"x"))
        at = archive.index(b"PK\1\2") + 8
        with pytest.raises(ArchiveRefused, match="encrypted"):
            unpacked(archive[:at] + b"\1" + archive[at + 1 :])

    @pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_an_unusual_zip_compression_is_refused(
        self, unpacked: Unpacked, compression: int
    ) -> None:
        with pytest.raises(ArchiveRefused, match="compression method"):
            unpacked(zip_of(("a", b"x"), compression=compression))

    def test_a_zip_whose_directory_and_members_disagree_is_refused(
        self, unpacked: Unpacked
    ) -> None:
        archive = zip_of(("good", b"x"))
        with pytest.raises(ArchiveRefused, match="disagree"):
            unpacked(archive.replace(b"good", b"evil", 1))


class TestBounds:
    def test_more_bytes_than_allowed_are_not_written(
        self, tar: Tar, unpacked: Unpacked, into: Path
    ) -> None:
        with pytest.raises(ArchiveRefused, match="more than 1000 bytes"):
            unpacked(tar([("file", str(n), b"x" * 400) for n in range(3)]), max_unpacked=1000)
        assert sum(path.stat().st_size for path in into.iterdir()) <= 1000

    def test_exactly_as_many_as_allowed_are(self, tar: Tar, unpacked: Unpacked) -> None:
        assert unpacked(
            tar([("file", "a", b"x" * 1000)], tar_format=tarfile.GNU_FORMAT), max_unpacked=1000
        )

    @pytest.mark.parametrize("name", ["{}", "{}/", "{0}/{0}"])
    def test_more_files_and_directories_than_allowed_are_not_made(
        self, tar: Tar, unpacked: Unpacked, into: Path, name: str
    ) -> None:
        members = [
            ("directory" if name.endswith("/") else "file", name.format(n), None) for n in range(20)
        ]
        with pytest.raises(ArchiveRefused, match="more than 10 files"):
            unpacked(tar(members), max_members=10)
        assert sum(1 for _ in into.rglob("*")) <= 11

    def test_a_zip_that_declares_too_many_members_makes_none(
        self, unpacked: Unpacked, into: Path
    ) -> None:
        with pytest.raises(ArchiveRefused, match="more than 10 files"):
            unpacked(zip_of(*((str(n), b"") for n in range(11))), max_members=10)
        assert list(into.iterdir()) == []

    def test_a_bomb_of_zeros_in_a_zip_is_refused(self, unpacked: Unpacked, into: Path) -> None:
        archive = zip_of(("zeros", bytes(200 * MIB)))
        assert len(archive) < MIB
        with pytest.raises(ArchiveRefused, match="100 times its size"):
            unpacked(archive)
        assert (into / "zeros").stat().st_size <= 10 * MIB + 100 * len(archive)

    @pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
    def test_a_bomb_of_zeros_in_a_tar_is_refused(
        self, tar: Tar, unpacked: Unpacked, compression: str
    ) -> None:
        archive = tar([("file", "zeros", bytes(40 * MIB))], compression=compression)
        with pytest.raises(ArchiveRefused, match="100 times its size"):
            unpacked(archive)

    def test_zeros_within_the_allowance_are_no_bomb(self, tar: Tar, unpacked: Unpacked) -> None:
        assert unpacked(tar([("file", "zeros", bytes(9 * MIB))], compression="gz"))

    def test_members_that_share_their_data_count_each_time(self, unpacked: Unpacked) -> None:
        single = zip_of((zip_info("a"), os.urandom(1000)), compression=zipfile.ZIP_STORED)
        start = single.index(b"PK\1\2")
        end = single.index(b"PK\5\6")
        entries = single[start:end] * 50
        tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 50, 50, len(entries), start, 0)
        with pytest.raises(ArchiveRefused, match="twice"):
            unpacked(single[:start] + entries + tail)

    def test_headers_without_members_count_too(self, unpacked: Unpacked) -> None:
        header = tarfile.TarInfo("x")
        header.type, header.size = tarfile.XHDTYPE, MIB
        record = b"30 comment=".ljust(29, b"c") + b"\n"
        block = header.tobuf(tarfile.USTAR_FORMAT) + record + bytes(MIB - len(record))
        with pytest.raises(ArchiveRefused, match="100 times its size"):
            unpacked(gzip.compress(block * 30))

    @pytest.mark.parametrize(
        "data", [b"\n", b"=\n", b"0 a=\n", b"5a=b\n", b"3 =\n5 a=b\n", b"99 a=b\n", b"\n 1=\n"]
    )
    def test_an_extended_header_that_is_none_is_refused(
        self, unpacked: Unpacked, data: bytes
    ) -> None:
        header = tarfile.TarInfo("x")
        header.type, header.size = tarfile.XHDTYPE, len(data)
        with pytest.raises(ArchiveRefused, match="damaged"):
            unpacked(header.tobuf(tarfile.USTAR_FORMAT) + data.ljust(512, b"\0") + bytes(1024))

    @pytest.mark.parametrize("size", [2 * MIB, 10**12])
    @pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
    def test_an_extended_header_of_any_size_is_not_taken_into_memory(
        self, unpacked: Unpacked, size: int, kind: bytes
    ) -> None:
        header = tarfile.TarInfo("x")
        header.type, header.size = kind, size
        with pytest.raises(ArchiveRefused, match="extended header of"):
            unpacked(header.tobuf(tarfile.GNU_FORMAT) + bytes(3 * MIB))

    def test_a_sparse_member_of_a_petabyte_is_refused(self, unpacked: Unpacked) -> None:
        header = tarfile.TarInfo("x")
        header.type, header.size = tarfile.GNUTYPE_SPARSE, 10**15
        with pytest.raises(ArchiveRefused, match="sparse"):
            unpacked(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))

    def test_xz_that_wants_gibibytes_of_memory_is_refused(self, unpacked: Unpacked) -> None:
        small = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": MIB}]
        archive = lzma.compress(bytes(10240), filters=small)
        assert unpacked(archive) == {}
        # the dictionary's size is one byte of a header whose checksum follows
        at = archive.index(b"\x21\x01") + 2
        block = bytearray(archive[12 : 12 + 8])
        block[at - 12] = 0x25
        forged = archive[:12] + bytes(block) + struct.pack("<I", zlib.crc32(block))
        with pytest.raises(ArchiveRefused, match=r"[Mm]emory"):
            unpacked(forged + archive[24:])

    @pytest.mark.parametrize("kind", ["tar.gz", "zip"])
    def test_memory_stays_flat_over_hundreds_of_mebibytes(self, tmp_path: Path, kind: str) -> None:
        program = f"""
import io, pathlib, resource, sys, tarfile, zipfile
from longshore.staging.archives import unpack
MIB = 1024**2
class Zeros(io.RawIOBase):
    def readable(self): return True
    def readinto(self, buffer): buffer[:] = bytes(len(buffer)); return len(buffer)
path = pathlib.Path({str(tmp_path)!r}) / "archive"
if {kind!r} == "zip":
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("zeros", "w", force_zip64=True) as member:
            for _ in range(300): member.write(bytes(MIB))
        for n in range(5000): archive.writestr(f"{{n:0100}}/x", b"")
else:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo("zeros"); info.size = 300 * MIB
        archive.addfile(info, Zeros())
        archive.members = []
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
into = path.with_name("into"); into.mkdir()
with path.open("rb", buffering=0) as file:
    unpack(file, into, max_unpacked=10**12, max_ratio=10**6)
assert (into / "zeros").stat().st_size == 300 * MIB
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * (1 if sys.platform == "darwin" else 1024))
"""
        result = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert int(result.stdout) < 64 * MIB


class TestDamage:
    @pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
    def test_a_truncated_tar_is_refused_wherever_it_ends(
        self, tar: Tar, into: Path, compression: str
    ) -> None:
        whole = tar([("file", "a", os.urandom(3000)), ("file", "b", b"2")], compression=compression)
        whole = whole if compression else whole.rstrip(b"\0").ljust(4608, b"\0")
        for number, length in enumerate(range(1, len(whole), max(1, len(whole) // 60))):
            place = into / str(number)
            place.mkdir()
            with pytest.raises(ArchiveRefused):
                unpack(io.BytesIO(whole[:length]), place, max_unpacked=MIB)

    def test_a_truncated_zip_is_refused_wherever_it_ends(self, into: Path) -> None:
        whole = zip_of(("a", os.urandom(500)), ("b", b"2"))
        for length in range(1, len(whole), 7):
            place = into / str(length)
            place.mkdir()
            with pytest.raises(ArchiveRefused):
                unpack(io.BytesIO(whole[:length]), place, max_unpacked=MIB)

    @pytest.mark.parametrize(
        "archive", [b"", b"#!/bin/sh\n" * 100, b"PK\3\4", b"\x1f\x8b", b"BZh9"]
    )
    def test_what_is_no_archive_is_refused(self, unpacked: Unpacked, archive: bytes) -> None:
        with pytest.raises(ArchiveRefused):
            unpacked(archive)

    @pytest.mark.parametrize("tail", [b"hidden", bytes(2 * MIB)])
    def test_data_behind_the_end_is_refused(
        self, tar: Tar, unpacked: Unpacked, tail: bytes
    ) -> None:
        with pytest.raises(ArchiveRefused, match="behind its end"):
            unpacked(tar([("file", "a", b"1")]) + tail)

    def test_a_wrong_checksum_in_a_zip_is_refused(self, unpacked: Unpacked) -> None:
        archive = zip_of(("a", b"original"), compression=zipfile.ZIP_STORED)
        with pytest.raises(ArchiveRefused, match="checksum"):
            unpacked(archive.replace(b"original", b"tampered"))

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_any_damaged_archive_is_refused_or_unpacked_below(self, data: st.DataObject) -> None:
        whole = bytearray(data.draw(st.sampled_from(SAMPLES)))
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        with tempfile.TemporaryDirectory() as outer:
            into = Path(outer) / "into"
            into.mkdir()
            with suppress(ArchiveRefused):
                unpack(io.BytesIO(bytes(whole)), into, max_unpacked=MIB, max_members=100)
            assert outside(into) == []
            assert not any(path.is_symlink() for path in into.rglob("*"))

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"0", b"1", b"2", b"3", b"5", b"6", b"L", b"x", b"g", b"S"]),
                st.sampled_from(["a", "a/b", "../c", "/d", "a/../../e", "link", "link/f", "."]),
                st.sampled_from(["", "..", "/tmp", "a"]),
                st.binary(max_size=600),
            ),
            max_size=6,
        )
    )
    def test_random_members_never_escape(
        self, members: list[tuple[bytes, str, str, bytes]]
    ) -> None:
        parts = []
        for kind, name, target, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(content)
            parts += [info.tobuf(tarfile.USTAR_FORMAT), content, bytes(-len(content) % 512)]
        with tempfile.TemporaryDirectory() as outer:
            into = Path(outer) / "into"
            into.mkdir()
            with suppress(ArchiveRefused):
                unpack(io.BytesIO(b"".join([*parts, bytes(1024)])), into, max_unpacked=MIB)
            assert outside(into) == []


SAMPLES = (
    zip_of(("a", b"1" * 100), ("b/c", b"2")),
    gzip.compress(bytes(1024)),
    b"".join(tarfile.TarInfo(name).tobuf(tarfile.PAX_FORMAT) for name in ("a", "b/ü", "x" * 200))
    + bytes(1024),
)


def check_that_a_planted_link_is_not_followed(tar: Tar, into: Path) -> None:
    """The property: even with a link in the way, a member is refused and nothing is written."""
    elsewhere = into.parent / "elsewhere"
    elsewhere.mkdir()
    (into / "way").symlink_to(elsewhere)
    with pytest.raises(ArchiveRefused):
        unpack(io.BytesIO(tar([("file", "way/escaped", b"x")])), into, max_unpacked=MIB)
    assert list(elsewhere.iterdir()) == []


def check_that_parents_are_not_reached(tar: Tar, into: Path) -> None:
    """The property: a name with ``..`` is refused and nothing is written."""
    with pytest.raises(ArchiveRefused):
        unpack(io.BytesIO(tar([("file", "../escaped", b"x")])), into, max_unpacked=MIB)
    assert outside(into) == []


def test_a_link_in_the_way_is_not_followed(tar: Tar, into: Path) -> None:
    check_that_a_planted_link_is_not_followed(tar, into)


def test_a_parent_is_not_reached(tar: Tar, into: Path) -> None:
    check_that_parents_are_not_reached(tar, into)


def test_control_without_nofollow_the_link_is_followed(
    tar: Tar, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_STEP", archives._STEP & ~os.O_NOFOLLOW)
    with pytest.raises(pytest.fail.Exception):
        check_that_a_planted_link_is_not_followed(tar, into)
    assert (into.parent / "elsewhere" / "escaped").exists()


def test_control_without_the_rule_for_names_a_member_escapes(
    tar: Tar, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "safe_segments", lambda name: name.decode().split("/"))
    with pytest.raises(pytest.fail.Exception):
        check_that_parents_are_not_reached(tar, into)
    assert (into.parent / "escaped").exists()
