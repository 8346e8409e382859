"""The end of the server, as those learn of it who would otherwise wait for long."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class Stopping:
    """Set when the server is about to end: streams and long polls end, their clients come back."""

    def __init__(self) -> None:
        self._waiting: set[anyio.CancelScope] = set()
        self.is_set = False

    def set(self) -> None:
        """End every block that waits, and those that would begin to."""
        self.is_set = True
        for scope in self._waiting:
            scope.cancel()

    @contextmanager
    def waiting(self, seconds: float = math.inf) -> Iterator[anyio.CancelScope]:
        """Let the block wait until the server ends, or for ``seconds``."""
        with anyio.move_on_after(seconds) as scope:
            self._waiting.add(scope)
            try:
                if self.is_set:
                    scope.cancel()
                yield scope
            finally:
                self._waiting.discard(scope)
