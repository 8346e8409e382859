"""The keeper of ends: what follows when an agreement's time is over, or it was revoked.

What is left to do is found in the store, at any time and by anybody: an agreement stays due until
all of it was done. Every step may be done twice.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

import anyio
import attrs

from longshore import decisions
from longshore.agreements import record
from longshore.clock import Clock
from longshore.errors import RetryError
from longshore.ledger import Ledger
from longshore.lifecycle import FINAL, JobState
from longshore.models import Agreement, AgreementState, AtEnd, Job
from longshore.stores.abc import JobQuery, Store

#: revocations of other processes are seen at the latest after this
_LOOK_AGAIN = timedelta(seconds=1)
_AT_ONCE = 50
_BY = "longshore"
_UNFINISHED = tuple(state for state in JobState if state not in FINAL)
_log = logging.getLogger("longshore.agreements")


class AgreementKeeper:
    """Ends agreements on time and, after an end or a revocation, what was made under them.

    ``purge`` deletes the bytes of a final job.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        clock: Clock,
        purge: Callable[[Job], Awaitable[object]],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._purge = purge

    async def run(self) -> None:
        """See to every end, for ever."""
        while True:
            pause = _LOOK_AGAIN
            try:
                pause = await self.keep()
            except RetryError as exc:
                _log.warning("the ends of agreements wait: %s", exc)
            await self._clock.sleep(pause)

    async def keep(self) -> timedelta:
        """Do what is due now; return how long it is to the next look."""
        now = self._clock.now()
        pause = _LOOK_AGAIN
        for agreement in await self._store.agreements_due(now + _LOOK_AGAIN):
            if agreement.due_at is not None and agreement.due_at > now:
                pause = min(pause, agreement.due_at - now)
                continue
            try:
                await self._see_to(agreement, now)
            except RetryError as exc:
                _log.warning("the end of agreement %s waits: %s", agreement.id, exc)
            except Exception:  # noqa: BLE001 - one agreement's trouble never keeps the others open
                _log.exception("the end of agreement %s cannot be seen to", agreement.id)
        return pause

    async def _see_to(self, agreement: Agreement, now: datetime) -> None:
        if agreement.state is AgreementState.ACTIVE:
            agreement = await self._end(agreement, now)
        if agreement.due_at is not None and await self._close(agreement, now):
            done = attrs.evolve(agreement, due_at=None)
            await self._store.put_agreement(done, [], expected=agreement.seq)

    async def _end(self, agreement: Agreement, now: datetime) -> Agreement:
        """Say that the agreement has ended; from here on no job is added to it."""
        due_at = now if agreement.at_end is AtEnd.STOP else None
        ended = attrs.evolve(agreement, state=AgreementState.ENDED, due_at=due_at)
        data = {"by": _BY, "why": "its time is over", "at_end": str(agreement.at_end)}
        return await record(self._store, ended, "AgreementEnded", data, now)

    async def _close(self, agreement: Agreement, now: datetime) -> bool:
        """Stop what was made under the agreement, and say whether nothing is left to do.

        A job that was asked to stop ends by itself. Of a revoked agreement that is waited for, and
        then its bytes are purged.
        """
        is_revoked = agreement.state is AgreementState.REVOKED
        left: list[str] = []
        failures: list[Exception] = []

        async def close(job: Job) -> None:
            try:
                job = await self._ledger.change(
                    job.id, partial(decisions.on_stop, by=_BY, why="agreement", at=now)
                )
                if is_revoked and job.is_final:
                    await self._purge(job)
                elif is_revoked:
                    left.append(job.id)
            except Exception as exc:  # noqa: BLE001 - one job's trouble never keeps the others going
                failures.append(exc)

        states = () if is_revoked else _UNFINISHED
        query = JobQuery(agreement=agreement.id, purged=False, states=states, limit=_AT_ONCE)
        while page := await self._store.jobs(query):
            async with anyio.create_task_group() as tasks:
                for job in page:
                    tasks.start_soon(close, job)
            query = attrs.evolve(query, before=page[-1].id)
        for exc in failures[:1]:
            _log.warning(
                "%d jobs of agreement %s are not closed yet: %s",
                len(failures),
                agreement.id,
                exc,
                exc_info=None if isinstance(exc, RetryError) else exc,
            )
        return not left and not failures
