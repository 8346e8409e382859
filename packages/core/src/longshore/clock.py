"""Time, injected: nothing in Longshore asks the system for it directly."""

import abc
import time
from datetime import UTC, datetime, timedelta

import anyio


class Clock(abc.ABC):
    """Wall time for stamps and deadlines, and a way to wait."""

    @abc.abstractmethod
    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""

    @abc.abstractmethod
    async def sleep(self, delay: timedelta) -> None:
        """Return after ``delay``; at once when it is not positive."""


class SystemClock(Clock):
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the system's time in UTC."""
        return datetime.fromtimestamp(time.time(), UTC)

    async def sleep(self, delay: timedelta) -> None:
        """Sleep on the event loop's monotonic clock."""
        await anyio.sleep(max(0.0, delay.total_seconds()))
