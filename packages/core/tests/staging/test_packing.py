import io
import os
import socket
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from longshore.errors import ArchiveRefused, DataRefused
from longshore.staging.archives import safe_segments, unpack
from longshore.staging.below import open_directory
from longshore.staging.packing import pack


def packed(directory: Path) -> bytes:
    descriptor = open_directory(str(directory))
    try:
        return b"".join(pack(descriptor))
    finally:
        os.close(descriptor)


def content(directory: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(directory).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in directory.rglob("*")
    }


def is_safe(name: str) -> bool:
    try:
        return safe_segments(name.encode()) == [name]
    except (ArchiveRefused, UnicodeEncodeError):
        return False


names = st.text(min_size=1, max_size=60).filter(is_safe)
trees = st.recursive(
    st.binary(max_size=3000),
    lambda inner: st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
).filter(lambda tree: isinstance(tree, dict))


def grow(directory: Path, tree: dict[str, object]) -> None:
    directory.mkdir()
    for name, inner in tree.items():
        if isinstance(inner, dict):
            grow(directory / name, inner)
        elif isinstance(inner, bytes):
            (directory / name).write_bytes(inner)


@settings(max_examples=100, deadline=None)
@given(trees)
def test_what_is_packed_unpacks_to_the_same(tree: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as place:
        source, into = Path(place) / "source", Path(place) / "into"
        grow(source, tree)
        into.mkdir()
        unpack(io.BytesIO(packed(source)), into, max_unpacked=10**7)
        assert content(into) == content(source)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    directory = tmp_path / "out"
    (directory / "sub").mkdir(parents=True)
    (directory / "sub" / "file").write_bytes(b"content")
    return directory


def test_the_same_files_make_the_same_bytes(out: Path) -> None:
    first = packed(out)
    os.utime(out / "sub" / "file", (1, 1))
    (out / "sub" / "file").chmod(0o600)
    assert packed(out) == first


def test_other_programs_read_the_archive(out: Path) -> None:
    (out / "tool").write_bytes(b"#!/bin/sh\n")
    (out / "tool").chmod(0o700)
    (out / ("ü" * 120)).write_bytes(b"long name")
    with tarfile.open(fileobj=io.BytesIO(packed(out))) as archive:
        modes = {member.name: member.mode for member in archive}
    assert modes == {"sub": 0o755, "sub/file": 0o644, "tool": 0o755, "ü" * 120: 0o644}


@pytest.mark.parametrize("target", ["sub/file", "./sub/../sub/file", "second"])
def test_a_link_to_a_file_inside_is_packed_as_that_file(out: Path, target: str) -> None:
    (out / "second").symlink_to("sub/file")
    (out / "link").symlink_to(target)
    (out / "sub" / "up").symlink_to("../second")
    with tarfile.open(fileobj=io.BytesIO(packed(out))) as archive:
        for name in ("link", "sub/up"):
            member = archive.getmember(name)
            assert member.isreg()
            file = archive.extractfile(member)
            assert file is not None
            assert file.read() == b"content"


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "../secret", "sub/../../secret", "..", ".", "sub", "missing", "link", "way/x"],
)
def test_any_other_link_is_refused(out: Path, target: str) -> None:
    (out.parent / "secret").write_bytes(b"secret")
    (out.parent / "x").write_bytes(b"secret")
    (out / "way").symlink_to("..")
    (out / "link").symlink_to(target)
    with pytest.raises(DataRefused, match=r"link|a directory"):
        packed(out)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        directory = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)


def _device(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("making a device needs root")
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))


@pytest.mark.parametrize("make", [_pipe, _socket, _device])
def test_a_special_file_is_refused_and_not_opened(out: Path, make: Callable[[Path], None]) -> None:
    make(out / "sub" / "odd")
    with pytest.raises(DataRefused, match=r"'odd' is a (pipe|socket|device)"):
        packed(out)


def test_a_name_that_is_not_utf_8_is_refused(out: Path) -> None:
    (Path(os.fsdecode(bytes(out) + b"/\xff"))).write_bytes(b"")
    with pytest.raises(DataRefused, match="UTF-8"):
        packed(out)


@pytest.fixture
def descriptor(out: Path) -> Iterator[int]:
    opened = open_directory(str(out))
    yield opened
    os.close(opened)


def test_a_file_that_shrinks_while_it_is_packed_is_refused(out: Path, descriptor: int) -> None:
    (out / "a").write_bytes(os.urandom(5_000_000))
    blocks = pack(descriptor)
    next(blocks)
    os.truncate(out / "a", 10)
    with pytest.raises(DataRefused, match="changed"):
        list(blocks)


def test_a_stream_that_is_left_early_holds_nothing_open(out: Path, descriptor: int) -> None:
    (out / "sub" / "file").write_bytes(os.urandom(5_000_000))
    before = sum(1 for _ in Path("/dev/fd").iterdir())
    blocks = pack(descriptor)
    for _ in range(2):
        next(blocks)
    assert sum(1 for _ in Path("/dev/fd").iterdir()) > before
    del blocks
    assert sum(1 for _ in Path("/dev/fd").iterdir()) == before
