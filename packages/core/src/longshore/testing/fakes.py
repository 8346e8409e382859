"""Stand-ins with knobs: a clock that a test moves."""

import heapq
import itertools
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel

from longshore.clock import Clock

_START = datetime(2026, 1, 1, tzinfo=UTC)
#: turns of the loop after which most tasks wait again
_TURNS = 20


async def _all_else_waits() -> None:
    for _ in range(_TURNS):  # anyio looks again after a tenth of a second when one does not
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


class FakeClock(Clock):
    """A clock that stands still until a test moves it.

    Example:
        >>> clock = FakeClock()
        >>> await clock.advance(timedelta(hours=1))  # wakes whoever slept less than an hour
    """

    def __init__(self, start: datetime = _START) -> None:
        self._now = start
        self._order = itertools.count()
        self._sleepers: list[tuple[datetime, int, anyio.Event]] = []

    def now(self) -> datetime:
        """Return the time that was set."""
        return self._now

    def set(self, now: datetime) -> None:
        """Set the time, forwards or backwards, as an administrator would; wakes nobody."""
        self._now = now

    @property
    def sleepers(self) -> int:
        """How many tasks sleep."""
        return len(self._sleepers)

    async def sleep(self, delay: timedelta) -> None:
        """Return when ``advance`` has passed ``delay``; at once when it is not positive."""
        if delay <= timedelta(0):
            await anyio.lowlevel.checkpoint()
            return
        entry = (self._now + delay, next(self._order), anyio.Event())
        heapq.heappush(self._sleepers, entry)
        try:
            await entry[2].wait()
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)
                heapq.heapify(self._sleepers)

    async def advance(self, delta: timedelta) -> None:
        """Let ``delta`` pass: wake sleepers in the order of their times, each at its own time.

        When it returns, every other task waits for something. Work in threads or processes is not
        waited for.
        """
        end = self._now + delta
        await _all_else_waits()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, event = heapq.heappop(self._sleepers)
            self._now = max(self._now, at)
            event.set()
            await _all_else_waits()
        self._now = end
