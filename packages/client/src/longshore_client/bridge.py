"""From a program that blocks to an event loop in a thread of its own."""

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

T = TypeVar("T")
#: seconds that a cancelled call gets to put away what it holds
_CLEANUP = 5.0


class Bridge:
    """Runs calls and iterators there. Several threads may use it. Made by ``open_bridge``."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._waiting: set[anyio.CancelScope] = set()
        self._ended = False

    def call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what ``ask`` returns there; a Ctrl-C here cancels it there."""
        over = threading.Event()

        async def answer() -> T:
            try:
                return await ask()
            finally:
                over.set()

        future = self._portal.start_task_soon(answer)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            over.wait(_CLEANUP)  # what it holds is free when this raises
            raise

    def stream(self, iterator: AsyncIterator[T]) -> Iterator[T]:
        """Yield what ``iterator`` yields there, until it ends or ``end_streams`` is called."""
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
            while not self._ended and (item := self.call(following)) is not missing:
                yield item
        except Exception:
            if not self._ended:  # else it is what closing does to whoever still follows
                raise
        finally:
            with suppress(RuntimeError):  # whoever drops an iterator may have closed before
                self._portal.call(close)

    def end_streams(self) -> None:
        """End what still follows in other threads: closing would wait for it otherwise."""
        self._ended = True

        def cancel() -> None:
            for scope in self._waiting:
                scope.cancel()

        self._portal.call(cancel)


@contextmanager
def open_bridge() -> Iterator[Bridge]:
    """Start an event loop in a thread; leaving the block ends what still goes on there."""
    with start_blocking_portal() as portal:
        bridge = Bridge(portal)
        try:
            yield bridge
        finally:
            bridge.end_streams()
