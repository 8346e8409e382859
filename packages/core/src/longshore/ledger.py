"""The one writer of job state: decide on what is stored, compare and swap, publish after."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from longshore.clock import Clock
from longshore.deadlines import Limits, next_deadline
from longshore.errors import LongshoreError, NotFound, Stale
from longshore.eventlog import EventLog
from longshore.jobs import Step, create, take
from longshore.models import Job, JobEvent
from longshore.parameters import is_light
from longshore.stores.abc import Store
from longshore.transfer import Transfer

#: jobs kept in memory to spare a read; the store's compare-and-swap decides all the same
_CACHED = 3072
_TRIES = 100

_MOVES_DEADLINE = {"dispatched", "stop"}

Decide = Callable[[Job], Step | None]
Notice = Callable[[Job, Sequence[JobEvent]], None]


class Ledger:
    """Every change of every job goes through here, whoever asks for it."""

    def __init__(self, store: Store, log: EventLog, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._log = log
        self._clock = clock
        self._limits = limits
        self._cache: OrderedDict[str, Job] = OrderedDict()
        self._noticing: list[Notice] = []

    def notify(self, notice: Notice) -> None:
        """Call ``notice`` after every change of this process; it must return at once."""
        self._noticing.append(notice)

    async def open(
        self,
        job: Job,
        transfers: Sequence[Transfer] = (),
        *,
        queue: bool,
        by: str | None = None,
    ) -> Job:
        """Keep a new job, QUEUED at once where ``queue``.

        Return it, or the job that the tenant made with the same key before.

        Raises:
            Denied: the job's agreement has ended or was revoked meanwhile.
        """
        born, events = create(job, by, self._stamps, queue=queue)
        kept = await self._store.add(born, events, transfers)
        if kept.id == born.id:
            self._published(kept, events)
        return kept

    async def job(self, job_id: str) -> Job:
        """Return the job as stored.

        Raises:
            NotFound: there is none.
        """
        job = await self._store.job(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id}")
        return job

    async def latest(self, job_id: str) -> Job:
        """Return the job as this process wrote it last, else as stored.

        Raises:
            NotFound: there is none.
        """
        return self._cache.get(job_id) or await self.job(job_id)

    async def change(
        self, job_id: str, decide: Decide, *, transfers: Sequence[Transfer] = ()
    ) -> Job:
        """Apply what ``decide`` says of the job as it is, and return the job as it is then.

        ``decide`` is pure and is asked again when another writer was faster; None changes nothing.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: the step is not in the lifecycle.
        """
        job = self._cache.get(job_id)
        is_fresh = job is None
        for _ in range(_TRIES):
            if job is None:
                job = await self.job(job_id)
            try:
                step = decide(job)
                taken = None if step is None else self._take(job, step)
            except LongshoreError:
                if is_fresh:
                    raise
                taken = None
            if taken is not None:
                changed, events = taken
                try:
                    await self._store.save(changed, events, expected=job.seq, transfers=transfers)
                except Stale:
                    pass
                else:
                    self._published(changed, events)
                    return changed
            elif is_fresh:
                return job
            # another process may have changed it since: never refuse on a remembered value
            self._cache.pop(job_id, None)
            job, is_fresh = None, True
        raise Stale(f"job {job_id} changes faster than it can be written")

    def _take(self, job: Job, step: Step) -> tuple[Job, tuple[JobEvent, ...]]:
        moves = step.target is not None or not _MOVES_DEADLINE.isdisjoint(step.changes)
        return take(job, step, self._clock.now(), self._stamps if moves else None)

    def _stamps(self, job: Job, at: datetime) -> dict[str, Any]:
        """Return what ``job``, which came to this point at ``at``, needs beside the change."""
        what, by = next_deadline(job, self._limits, at)
        stamps: dict[str, Any] = {}
        if what != job.next_what:
            stamps["next_what"] = what
        if by != job.next_by:
            stamps["next_by"] = by
        if job.is_final:
            stamps["finished_at"] = at
        return stamps

    def _published(self, job: Job, events: Sequence[JobEvent]) -> None:
        cache, known = self._cache, self._cache.pop(job.id, None)
        if not job.is_final and (known is not None or is_light(job.parameters)):
            cache[job.id] = job
            if len(cache) > _CACHED:
                cache.popitem(last=False)
        self._log.publish(events)
        for notice in self._noticing:
            notice(job, events)
