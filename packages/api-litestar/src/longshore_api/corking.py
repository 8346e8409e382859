"""Fewer writes: what is answered in one turn of the loop goes out at its end."""

from collections.abc import Callable
from typing import Protocol

#: bytes that are held at most
_MOST = 64 * 1024


class Transport(Protocol):
    """What an answer does with its connection."""

    def write(self, data: bytes) -> None: ...  # noqa: D102 - asyncio's
    def close(self) -> None: ...  # noqa: D102 - asyncio's
    def is_closing(self) -> bool: ...  # noqa: D102 - asyncio's


class Loop(Protocol):
    """The event loop."""

    def call_soon(self, callback: Callable[[], object], /) -> object: ...  # noqa: D102 - asyncio's


class Corked:
    """A transport that holds back what is written until the loop has gone round.

    The head of an answer goes out with its body, and the answers of all connections one right after
    the other: every write wakes the client, which costs more than a small request where it had gone
    to sleep in between. One for a connection, so that the order stays.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: Transport, loop: Loop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write, in order."""
        if not self._held and data:
            self._loop.call_soon(self.let_go)
        self._held += data
        if len(self._held) > _MOST:
            self.let_go()

    def close(self) -> None:
        """Write what is held, then close."""
        self.let_go()
        self._transport.close()

    def is_closing(self) -> bool:
        """Say whether nothing can be written any more."""
        return self._transport.is_closing()

    def let_go(self) -> None:
        """Write what is held; nothing, where the client has gone in the meantime."""
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)
