"""The one sleeper: wakes at the earliest deadline of all jobs and does what it means."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from longshore.clock import Clock
from longshore.deadlines import expire
from longshore.errors import LongshoreError, RetryError
from longshore.ledger import Ledger
from longshore.models import Job
from longshore.stores.abc import Store

#: deadlines that another process wrote are seen at the latest after this
_LOOK_AGAIN = timedelta(seconds=5)
_log = logging.getLogger("longshore.deadlines")

Look = Callable[[Sequence[Job]], Awaitable[None]]


async def _see_nothing(_: Sequence[Job]) -> None:
    """Take in nothing: there is no engine."""


class DeadlineKeeper:
    """Owns the ``next_by`` of every job of a store.

    ``look`` takes in what engines know of jobs whose time is over. While nobody supervised, or the
    machine slept, they may have gone on in time.
    """

    def __init__(
        self, store: Store, ledger: Ledger, clock: Clock, look: Look = _see_nothing
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._look = look

    async def run(self) -> None:
        """Let deadlines pass, for ever."""
        while True:
            try:
                await self.expire_due()
                first = await self._store.next_due()
            except RetryError as exc:
                _log.warning("deadlines wait: %s", exc)
                first = None
            pause = _LOOK_AGAIN
            if first is not None:
                pause = max(timedelta(milliseconds=50), min(pause, first - self._clock.now()))
            await self._clock.sleep(pause)

    async def expire_due(self) -> None:
        """Do what every deadline that has passed means."""
        now = self._clock.now()
        due = await self._store.due(now)
        if dispatched := [job for job in due if job.dispatched]:
            try:
                await self._look(dispatched)
            except Exception as exc:  # noqa: BLE001 - an engine that fails holds no deadline up
                _log.warning("deadlines pass without a last look: %s", exc)
        for job in due:
            try:
                await self._ledger.change(job.id, lambda current: expire(current, now))
            except RetryError:
                raise
            except LongshoreError:
                _log.exception("the deadline of job %s cannot be kept", job.id)
