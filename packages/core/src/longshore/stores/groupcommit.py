"""One writer that commits whatever is waiting together.

While one commit is on its way to the disk the next writes gather; they share its cost. A write
that fails takes no other down: the group is then done one by one.

Statements run on the event loop, the commit in a thread. Every statement gives the interpreter's
lock away, and a thread gets it back from a busy loop only after milliseconds: in a thread, a group
of statements would wait for most of the time. What may take long (the disk, another process's lock)
is the thread's.
"""

import math
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from longshore.errors import LongshoreError, StoreUnavailable

T = TypeVar("T")
Write = Callable[[sqlite3.Cursor], Any]
#: most writes in one commit; keeps the wait of the first one short
_LARGEST_GROUP = 1024
#: seconds after which nobody else need wait for a commit
_HELD_UP = 2.0
#: statements' worth of writes before others get their turn
_TURN = 32


class _Group:
    """Writes of one commit and what became of each."""

    __slots__ = ("done", "results", "writes")

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.results: list[Any] = []
        self.done = anyio.Event()


class GroupCommit:
    """The one writing connection of this process to a database file."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, patience: float) -> None:
        """``patience`` is how many seconds another process's commit is waited for."""
        self._connection = connection
        self._patience = int(patience * 1000)
        self._wait_for_lock(0)  # never here; the thread does
        self._cursor = connection.cursor()  # one for all: making one costs a tenth of a write
        self._path = path
        self._groups: deque[_Group] = deque()
        self._wake = anyio.Event()
        self._limiter = anyio.CapacityLimiter(1)
        self._closed = False
        self._began = math.inf
        #: how many groups there were, written or not
        self.commits = 0

    async def write(self, operation: Callable[[sqlite3.Cursor], T]) -> T:
        """Run ``operation`` in a commit and return its result when that is durable.

        Raises:
            StoreUnavailable: the commit failed, or those before have waited for long; nothing of
                it was written.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self.is_held_up:
            raise StoreUnavailable(
                f"the state in {self._path} cannot be written now",
                hint="look at its disk, and at who else has it open; nothing was changed",
            )
        if not self._groups or len(self._groups[-1].writes) >= _LARGEST_GROUP:
            self._groups.append(_Group())
            self._wake.set()
        group = self._groups[-1]
        place = len(group.writes)
        group.writes.append(operation)
        await group.done.wait()
        result = group.results[place]
        if isinstance(result, BaseException):
            raise result
        return cast("T", result)

    @property
    def is_held_up(self) -> bool:
        """Whether a commit waits for the disk, or for another process, for long."""
        return time.monotonic() - self._began > _HELD_UP

    async def run(self) -> None:
        """Commit group after group, until cancelled; what waits then is still committed."""
        try:
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                await self._commit_all()
        finally:
            with anyio.CancelScope(shield=True):
                await self._commit_all()
            self._closed = True

    async def _commit_all(self) -> None:
        while self._groups:
            group = self._groups.popleft()
            with anyio.CancelScope(shield=True):
                await self._commit_group(group)
            self.commits += 1
            group.done.set()

    async def _commit_group(self, group: _Group) -> None:
        done = await self._commit_here(group.writes)
        if done is None:
            done = await self._in_thread(self._commit_patiently, group.writes)
        group.results = done

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        self._began = time.monotonic()
        try:
            return await anyio.to_thread.run_sync(function, *arguments, limiter=self._limiter)
        finally:
            self._began = math.inf

    async def _commit_here(self, writes: list[Write]) -> list[Any] | None:
        """Commit a group as it mostly goes; None where it does not, and nothing was written."""
        results: list[Any] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for number, operation in enumerate(writes, start=1):
                results.append(self._run(operation))
                if not number % _TURN:
                    await anyio.lowlevel.checkpoint()
            await self._in_thread(self._connection.execute, "COMMIT")
        except Exception:  # noqa: BLE001 - whatever it is, the thread meets it again
            self._roll_back()
            return None
        return results

    def _run(self, operation: Write) -> Any:
        try:
            return operation(self._cursor)
        except LongshoreError as refusal:  # raised before the operation wrote anything
            return refusal

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _wait_for_lock(self, milliseconds: int) -> None:
        self._connection.execute(f"PRAGMA busy_timeout = {milliseconds}")

    def _commit_patiently(self, writes: list[Write]) -> list[Any]:
        self._wait_for_lock(self._patience)
        try:
            return self._commit(writes)
        finally:
            self._wait_for_lock(0)

    def _commit(self, writes: list[Write]) -> list[Any]:
        try:
            return self._commit_together(writes)
        except sqlite3.Error as exc:
            # one by one, each of them would wait as long for the lock as all of them did
            if len(writes) == 1 or _is_locked(exc):
                return [self._unavailable(exc) for _ in writes]
        except Exception as exc:  # noqa: BLE001 - each caller gets its own; the writer goes on
            if len(writes) == 1:
                return [exc]
        return [self._commit([operation])[0] for operation in writes]

    def _commit_together(self, writes: list[Write]) -> list[Any]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [self._run(operation) for operation in writes]
            self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return results

    def _unavailable(self, cause: sqlite3.Error) -> StoreUnavailable:
        problem = StoreUnavailable(
            f"the state in {self._path} cannot be written: {cause}",
            hint="end the process that keeps it locked; nothing was changed"
            if _is_locked(cause)
            else "free space or repair the disk; nothing was changed",
        )
        problem.__cause__ = cause
        return problem


def _is_locked(cause: sqlite3.Error) -> bool:
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
