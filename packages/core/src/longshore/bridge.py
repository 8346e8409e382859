"""From a program that blocks to the event loop of its embedded service."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from longshore.embedded import Embedded

T = TypeVar("T")


class Bridge:
    """From a program that blocks to the event loop of its embedded service."""

    def __init__(self, portal: BlockingPortal, embedded: Embedded) -> None:
        self._portal = portal
        self.embedded = embedded
        self._waiting: set[anyio.CancelScope] = set()

    def call(self, ask: Callable[[Embedded], Awaitable[T]]) -> T:
        """Return what ``ask`` returns there."""

        async def answer() -> T:
            return await ask(self.embedded)

        return self._portal.call(answer)

    def stream(self, begin: Callable[[Embedded], AsyncIterator[T]]) -> Iterator[T]:
        """Yield what the iterator that ``begin`` returns yields there."""
        iterator = begin(self.embedded)
        missing = object()

        async def following() -> Any:
            with anyio.CancelScope() as scope:
                self._waiting.add(scope)
                try:
                    return await anext(iterator, missing)
                finally:
                    self._waiting.discard(scope)
            return missing

        async def close() -> None:
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()

        try:
            while (item := self._portal.call(following)) is not missing:
                yield item
        finally:
            self._portal.call(close)

    def end_streams(self) -> None:
        """End what still follows in other threads: closing would wait for it otherwise."""

        def cancel() -> None:
            for scope in self._waiting:
                scope.cancel()

        self._portal.call(cancel)

    def engage(self) -> None:
        """Have this program supervise, if nobody else does."""
        self._portal.call(self.embedded.engage)
