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

    async def wait(self, event: anyio.Event, at_most: timedelta) -> None:
        """Return when ``event`` is set, at the latest after ``at_most``."""

        async def give_up() -> None:
            await self.sleep(at_most)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(give_up)
            await event.wait()
            tasks.cancel_scope.cancel()


class SystemClock(Clock):
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the system's time in UTC."""
        return datetime.fromtimestamp(time.time(), UTC)

    async def sleep(self, delay: timedelta) -> None:
        """Sleep on the event loop's monotonic clock."""
        await anyio.sleep(max(0.0, delay.total_seconds()))

    async def wait(self, event: anyio.Event, at_most: timedelta) -> None:
        """Wait on the event loop's monotonic clock, without a task of its own."""
        with anyio.move_on_after(at_most.total_seconds()):
            await event.wait()
