"""A file to read whose bytes are made on the way."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class _Chunks(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        target = memoryview(buffer).cast("B")
        got = min(len(target), len(self._rest))
        target[:got] = self._rest[:got]
        self._rest = self._rest[got:]
        return got

    def close(self) -> None:
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()  # a generator holds descriptors
        super().close()


def chunked(chunks: Iterator[bytes]) -> BinaryIO:
    """Return a file that reads as ``chunks`` one after another; closing it closes them."""
    return cast("BinaryIO", _Chunks(chunks))
