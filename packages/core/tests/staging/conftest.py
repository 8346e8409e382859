import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from longshore.staging.archives import unpack

type_of = {
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

presses: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def _tar(
    members: Iterable[tuple[str, str, Any]],
    *,
    compression: str = "",
    tar_format: int = tarfile.PAX_FORMAT,
) -> bytes:
    """Return a tar of (kind, name, bytes of a file | target of a link)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tar_format) as archive:
        for kind, name, content in members:
            info = tarfile.TarInfo(name)
            info.type = type_of[kind]
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content or ""
                archive.addfile(info)
    return presses[compression](stream.getvalue())


@pytest.fixture(scope="session")
def tar() -> Callable[..., bytes]:
    return _tar


@pytest.fixture
def into(tmp_path: Path) -> Path:
    directory = tmp_path / "outer" / "into"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def unpacked(into: Path) -> Callable[..., dict[str, bytes]]:
    """Unpack into ``into`` and return what is there: files with their bytes, names ending in /."""

    def unpack_bytes(archive: bytes, **bounds: int) -> dict[str, bytes]:
        unpack(io.BytesIO(archive), into, **{"max_unpacked": 10**9, **bounds})
        return {
            path.relative_to(into).as_posix() + ("/" if path.is_dir() else ""): (
                b"" if path.is_dir() else path.read_bytes()
            )
            for path in sorted(into.rglob("*"))
        }

    return unpack_bytes
