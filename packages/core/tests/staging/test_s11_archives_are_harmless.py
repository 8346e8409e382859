"""S11: whatever an archive holds, nothing leaves its directory, and nothing grows without bound."""

import bz2
import gzip
import io
import lzma
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from longshore.errors import ArchiveRefused
from longshore.staging import archives
from longshore.staging.archives import safe_segments, unpack
from longshore.testing.hostile import ARCHIVES, MIB, HostileArchive, zip_of

Tar = Callable[..., bytes]
Unpacked = Callable[..., dict[str, bytes]]


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


class TestHostileArchives:
    @pytest.mark.parametrize("archive", ARCHIVES, ids=str)
    def test_an_archive_that_breaks_a_rule_is_refused_and_nothing_of_it_leads_out(
        self, unpacked: Unpacked, into: Path, archive: HostileArchive
    ) -> None:
        packed = archive.make()
        with pytest.raises(ArchiveRefused, match=archive.says):
            unpacked(packed)
        assert outside(into) == []
        found = [path.lstat() for path in into.rglob("*")]
        assert all(stat.S_ISREG(it.st_mode) or stat.S_ISDIR(it.st_mode) for it in found)
        assert sum(it.st_size for it in found if stat.S_ISREG(it.st_mode)) <= bound(packed)

    def test_what_was_there_first_stays(self, tar: Tar, unpacked: Unpacked, into: Path) -> None:
        with pytest.raises(ArchiveRefused, match="twice"):
            unpacked(tar([("file", "a", b"1"), ("file", "./a", b"2")]))
        assert (into / "a").read_bytes() == b"1"

    def test_a_dictionary_of_a_usual_size_is_no_harm(self, unpacked: Unpacked) -> None:
        assert unpacked(lzma.compress(bytes(10240))) == {}


def bound(packed: bytes) -> int:
    """Return how many bytes may be written of an archive before it is found to be a bomb."""
    return 10 * MIB + 100 * len(packed)


class TestNames:
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
    def test_the_same_directory_twice_is_no_harm(self, tar: Tar, unpacked: Unpacked) -> None:
        assert unpacked(tar([("directory", "a", None)] * 2)) == {"a/": b""}

    def test_a_comment_as_git_writes_it_is_no_harm(self, tar: Tar, unpacked: Unpacked) -> None:
        comment = tarfile.TarInfo.create_pax_global_header({"comment": "0" * 40})
        assert unpacked(comment + tar([("file", "a", b"1")])) == {"a": b"1"}


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

    def test_zeros_within_the_allowance_are_no_bomb(self, tar: Tar, unpacked: Unpacked) -> None:
        assert unpacked(tar([("file", "zeros", bytes(9 * MIB))], compression="gz"))

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
