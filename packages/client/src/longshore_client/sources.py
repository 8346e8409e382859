"""What a person gives as an input, as bytes that can be read at any place and more than once."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from longshore_client.errors import DataRefused
from longshore_client.session import Json

#: text up to this size goes with the request itself
INLINE_LIMIT = 16 * 1024
_CHUNK = 1024**2
Given = Path | str | bytes


class Source:
    """An open regular file: its bytes are those of one moment, even where its name is replaced."""

    def __init__(self, file: BinaryIO) -> None:
        self._fd = file.fileno()
        self.size = os.fstat(self._fd).st_size

    def read(self, start: int, size: int) -> bytes:
        """Return the bytes from ``start``, at most ``size`` of them; any thread may call."""
        return os.pread(self._fd, size, start)

    def announcement(self) -> Json:
        """Return how a request names these bytes before their upload. Reads all of them."""
        sha256 = hashlib.sha256()
        at = 0
        while chunk := self.read(at, _CHUNK):
            sha256.update(chunk)
            at += len(chunk)
        return {"upload": {"size": at, "sha256": sha256.hexdigest()}}


def inline(given: Given) -> Json | None:
    """Return the input of a request whose text goes with it; None for what is to be uploaded."""
    if isinstance(given, Path) or len(given) > INLINE_LIMIT:
        return None
    try:
        return {"text": given if isinstance(given, str) else given.decode()}
    except UnicodeDecodeError:
        return None


@contextmanager
def open_source(given: Given) -> Iterator[Source]:
    """Open what is given: a file, a directory to be packed, a pipe, or the content itself.

    Raises:
        ArchiveRefused: a directory that holds more than files and directories.
        DataRefused: neither file nor directory nor pipe.
        OSError: it cannot be read.
    """
    if isinstance(given, Path) and given.is_file():
        with given.open("rb") as file:
            yield Source(file)
        return
    with tempfile.TemporaryFile() as copy:
        _fill(copy, given)
        copy.flush()
        yield Source(copy)


def _fill(copy: BinaryIO, given: Given) -> None:
    if not isinstance(given, Path):
        copy.write(given.encode() if isinstance(given, str) else given)
        return
    mode = given.stat().st_mode
    if stat.S_ISDIR(mode):
        from longshore_client.packing import pack  # noqa: PLC0415 - needed for directories only

        pack(given, copy)
    elif stat.S_ISFIFO(mode):
        import shutil  # noqa: PLC0415 - needed for pipes only

        with given.open("rb") as content:
            shutil.copyfileobj(content, copy)
    else:
        raise DataRefused(f"{given} is neither a file nor a directory nor a pipe")
