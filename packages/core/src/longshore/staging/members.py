"""What the readers of archives yield, and the bounds that they share."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from longshore.errors import ArchiveRefused

#: bytes held at once while unpacking
CHUNK = 1024**2


class Member(NamedTuple):
    """One member of an archive; ``chunks`` must be used up before the next one is asked for."""

    name: bytes
    is_directory: bool
    is_executable: bool
    chunks: Iterator[bytes]


class Budget:
    """How much may still be unpacked, counted as it comes and never as it is declared."""

    def __init__(self, size: int, members: int, rule: str) -> None:
        self._size = size
        self._members = members
        self._rule = rule
        self._max_members = members

    def spend(self, size: int) -> None:
        """Take ``size`` bytes.

        Raises:
            ArchiveRefused: there are not as many left.
        """
        self._size -= size
        if self._size < 0:
            raise ArchiveRefused(f"the archive unpacks to more than {self._rule}")

    def count(self, members: int = 1) -> None:
        """Take a file or directory.

        Raises:
            ArchiveRefused: there were as many as may be.
        """
        self._members -= members
        if self._members < 0:
            raise ArchiveRefused(f"the archive makes more than {self._max_members} files")


def refused(name: bytes | str, rule: str) -> ArchiveRefused:
    """Return the error for the member ``name``, which can hold anything."""
    shown = repr(name[:200]).removeprefix("b")
    return ArchiveRefused(f"member {shown}: {rule}")


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """Return ``size`` bytes.

    Raises:
        ArchiveRefused: the archive ends before.
    """
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise ArchiveRefused("the archive is truncated")
        data += more
    return data


def read_chunks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield ``size`` bytes.

    Raises:
        ArchiveRefused: the archive ends before.
    """
    while size:
        chunk = stream.read(min(size, CHUNK))
        if not chunk:
            raise ArchiveRefused("the archive is truncated")
        size -= len(chunk)
        yield chunk
