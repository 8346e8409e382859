"""Connections that only read, each for one query at a time."""

import sqlite3
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
from cattrs import BaseValidationError

from longshore.errors import StoreUnavailable

T = TypeVar("T")
Query = Callable[[sqlite3.Connection], T]
_MOST = 4
#: seconds: for what another process does to the file, and for those who read before
BUSY = 1.0
_PATIENCE = 5.0
#: a query that took so long here is a sign of a disk that hangs: for a while others go to a thread
_SLOW = 0.1
_WHILE = 5.0


class Readers:
    """Reads the file ``path``. ``is_held_up`` says whether its writer waits for disk or lock."""

    def __init__(
        self,
        path: Path,
        connect: Callable[[Path, float], sqlite3.Connection],
        is_held_up: Callable[[], bool],
    ) -> None:
        self.idle: deque[sqlite3.Connection] = deque()
        self._path = path
        self._connect = connect
        self._is_held_up = is_held_up
        self._limiter = anyio.CapacityLimiter(_MOST)
        self._is_closed = False
        self._slow_until = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        while self.idle:
            self.idle.pop().close()

    async def quickly(self, query: Query[T]) -> T:
        """Read here, as the way to a thread and back costs several times that.

        Not where it might take long: the event loop would stand still for everybody.
        """
        began = time.monotonic()
        if began < self._slow_until or self._is_held_up():
            return await self.read(query)
        try:
            return self._read(query)
        finally:
            ended = time.monotonic()
            if ended - began > _SLOW:
                self._slow_until = ended + _WHILE

    async def read(self, query: Query[T]) -> T:
        """Read in a thread.

        Raises:
            StoreUnavailable: the file cannot be read, or others have waited for that for long.
        """
        try:
            with anyio.fail_after(_PATIENCE):
                return await anyio.to_thread.run_sync(self._read, query, limiter=self._limiter)
        except TimeoutError as exc:
            raise StoreUnavailable(f"the state in {self._path} answers nobody") from exc

    def _read(self, query: Query[T]) -> T:
        if self._is_closed:
            raise StoreUnavailable("the store is closed")
        try:
            connection = self.idle.pop() if self.idle else self._connect(self._path, BUSY)
            try:
                return query(connection)
            finally:
                self.idle.append(connection)
        except (sqlite3.Error, ValueError, TypeError, BaseValidationError) as exc:
            raise StoreUnavailable(f"the state in {self._path} cannot be read: {exc}") from exc
