"""The one sleeper: wakes at the earliest deadline of all jobs and does what it means."""

import logging
from datetime import timedelta

from longshore.clock import Clock
from longshore.deadlines import expire
from longshore.errors import LongshoreError, RetryError
from longshore.ledger import Ledger
from longshore.stores.abc import Store

#: deadlines that another process wrote are seen at the latest after this
_LOOK_AGAIN = timedelta(seconds=5)
_log = logging.getLogger("longshore.deadlines")


class DeadlineKeeper:
    """Owns the ``next_by`` of every job of a store."""

    def __init__(self, store: Store, ledger: Ledger, clock: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock

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
        for job in await self._store.due(now):
            try:
                await self._ledger.change(job.id, lambda current: expire(current, now))
            except RetryError:
                raise
            except LongshoreError:
                _log.exception("the deadline of job %s cannot be kept", job.id)
