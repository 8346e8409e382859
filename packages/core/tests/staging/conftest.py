import io
from collections.abc import Callable
from pathlib import Path

import pytest

from longshore.staging.archives import unpack
from longshore.testing.hostile import tar_of


@pytest.fixture(scope="session")
def tar() -> Callable[..., bytes]:
    return tar_of


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
