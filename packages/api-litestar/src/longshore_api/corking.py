"""One write for an answer: its head goes out with the first piece of its body."""

from collections.abc import Callable
from typing import Protocol


class Transport(Protocol):
    """What an answer does with its connection."""

    def write(self, data: bytes) -> None: ...  # noqa: D102 - asyncio's
    def close(self) -> None: ...  # noqa: D102 - asyncio's
    def is_closing(self) -> bool: ...  # noqa: D102 - asyncio's


class Loop(Protocol):
    """The event loop."""

    def call_soon(self, callback: Callable[[], object], /) -> object: ...  # noqa: D102 - asyncio's


class Corked:
    """A transport that holds a head back until more is written, or the loop goes on.

    A system call and a packet cost as much as half of a small request.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: Transport, loop: Loop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write, in order."""
        if self._held:
            self._transport.write(self._held + data)
            self._held = b""
        elif data.startswith(b"HTTP/1.1 "):
            self._held = data
            self._loop.call_soon(self._let_go)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Write what is held, then close."""
        self._let_go()
        self._transport.close()

    def is_closing(self) -> bool:
        """Say whether nothing can be written any more."""
        return self._transport.is_closing()

    def _let_go(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)
