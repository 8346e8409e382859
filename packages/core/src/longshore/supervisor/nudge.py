"""A hint that there is something to do."""

from datetime import timedelta

import anyio

from longshore.clock import Clock


class Nudge:
    """Wakes the one who waits for it: several are one, and none is lost."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._given = anyio.Event()

    def give(self) -> None:
        """Let the wait, or the next one, end."""
        self._given.set()

    async def wait(self, at_most: timedelta) -> None:
        """Return when given since the last wait, or after a while in which nobody said so."""
        await self._clock.wait(self._given, at_most)
        self._given = anyio.Event()
