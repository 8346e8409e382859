"""One supervisor per open backend: it watches, and brings every attempt to its end.

It holds no truth. What it remembers is which attempts occupy the engine and what is being done
now; everything else is read from the store and from the engine, and may be done twice.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import anyio
from anyio.abc import TaskGroup

from longshore import decisions
from longshore.backends.abc import WorkflowBackend
from longshore.clock import Clock
from longshore.deadlines import Limits
from longshore.errors import NotFound, RetryError
from longshore.ledger import Ledger
from longshore.lifecycle import JobState
from longshore.models import Job, JobEvent, Observation, Phase, RunRef, Workflow, run_ref
from longshore.storages.abc import StorageBackend
from longshore.stores.abc import Store
from longshore.supervisor.dispatch import Dispatcher
from longshore.supervisor.finalise import Finaliser
from longshore.supervisor.nudge import Nudge
from longshore.uploads import abort_uploads

#: a watch is a hint; this is how often the truth is listed while jobs are active
RESYNC = timedelta(seconds=60)
#: an attempt is gone when two lists this far apart do not have it
SECOND_LOOK = timedelta(seconds=10)
#: an engine that does not answer for so long does not keep a deadline from passing
_PATIENCE = timedelta(seconds=5)
_POLL = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=60)
#: an attempt only goes forward through these
_ORDER = {phase: number for number, phase in enumerate(Phase)}
#: what the engine is done with
_OVER = frozenset({Phase.ENDED, Phase.TAKEN})
_log = logging.getLogger("longshore.supervisor")


class Supervisor:
    """Carries the jobs of one backend; ``name`` is the provider's name for it."""

    def __init__(
        self,
        name: str,
        backend: WorkflowBackend,
        store: Store,
        storage: StorageBackend,
        ledger: Ledger,
        dispatcher: Dispatcher,
        finaliser: Finaliser,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._name = name
        self._backend = backend
        self._store = store
        self._storage = storage
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._finaliser = finaliser
        self._clock = clock
        self._limits = limits
        self._latest: dict[RunRef, Observation] = {}
        self._busy: set[tuple[str, str]] = set()
        self._asked: set[RunRef] = set()
        self._absent: dict[RunRef, datetime] = {}
        self._wished = Nudge(clock)
        self._tasks: TaskGroup
        ledger.notify(self._notice)

    async def run(self) -> None:
        """Carry jobs until cancelled; the engine's attempts go on without it."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            await self._patiently("list the engine", self._resync)
            tasks.start_soon(self._watch)
            tasks.start_soon(self._resync_regularly)
            tasks.start_soon(self._renew_regularly)
            tasks.start_soon(self._dispatch)
            tasks.start_soon(self._hear_wishes)

    def wake(self) -> None:
        """Look for new jobs and wishes now: another process wrote some."""
        self._dispatcher.wake()
        self._wished.give()

    def _notice(self, job: Job, events: Sequence[JobEvent]) -> None:
        if job.backend != self._name:
            return
        if job.is_final:
            self._begin("settle", job.id, partial(self._settle, job))
        elif job.state is JobState.QUEUED and not job.dispatched:
            self._dispatcher.wake()
        elif job.stop is not None and events[-1].type == "StopRequested":
            self._begin("stop", job.id, partial(self._stop, job))

    def _begin(self, what: str, job_id: str, action: Callable[[], Awaitable[None]]) -> None:
        """Start an action unless the same is being done for the same job."""
        if (what, job_id) in self._busy or not hasattr(self, "_tasks"):
            return
        self._busy.add((what, job_id))

        async def act() -> None:
            try:
                await self._patiently(f"{what} job {job_id}", action)
            finally:
                self._busy.discard((what, job_id))

        self._tasks.start_soon(act)

    async def _patiently(self, what: str, action: Callable[[], Awaitable[None]]) -> None:
        """Do ``action`` until it succeeds, or fails for a reason that waiting does not mend."""
        pause = timedelta(seconds=1)
        while True:
            try:
                return await action()
            except RetryError as exc:
                _log.warning("cannot %s yet: %s", what, exc)
            except Exception:  # noqa: BLE001 - one job's trouble never ends the care for the others
                _log.exception("cannot %s", what)
                return None
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    # dispatch and stop

    async def _dispatch(self) -> None:
        """Give the engine what waits, whoever wrote it."""
        while True:
            try:
                await self._dispatcher.fill(self._tasks)
            except RetryError as exc:
                _log.warning("dispatch waits: %s", exc)
            await self._dispatcher.wait(_POLL)

    async def _hear_wishes(self) -> None:
        """Ask the engine to stop what another process, or one before, wants to stop."""
        while True:
            try:
                for job in await self._store.stopping(self._name, limit=1000):
                    if run_ref(job) not in self._asked:
                        self._begin("stop", job.id, partial(self._stop, job))
            except RetryError as exc:
                _log.warning("wishes to stop are not heard yet: %s", exc)
            await self._wished.wait(_POLL)

    async def _stop(self, job: Job) -> None:
        self._asked.add(run_ref(job))
        try:
            await self._backend.stop(run_ref(job), grace=self._limits.stop_grace)
        except RetryError:
            self._asked.discard(run_ref(job))
            raise

    # watch

    async def _watch(self) -> None:
        while True:
            try:
                async for seen in self._backend.observe():
                    self._hear(seen)
            except RetryError as exc:
                _log.warning("the watch of %s ended: %s", self._name, exc)
            except Exception:  # noqa: BLE001 - a defect of a watch, which is only a hint
                _log.exception("the watch of %s broke", self._name)
            await self._clock.sleep(timedelta(seconds=1))
            await self._patiently("list the engine", self._resync)

    def _hear(self, seen: Observation) -> None:
        """Take a report; of several on one attempt that wait, the furthest one counts."""
        ref = RunRef(seen.job_id, seen.attempt)
        waiting = self._latest.get(ref)
        if waiting is None or _ORDER[seen.phase] >= _ORDER[waiting.phase]:
            self._latest[ref] = seen
        self._begin("record", ref.name, partial(self._record, ref))

    async def _record(self, ref: RunRef) -> None:
        while (seen := self._latest.pop(ref, None)) is not None:
            try:
                await self._take_in(seen)
            except NotFound:
                _log.warning("the engine has an attempt of job %s, which is unknown", ref.job_id)
            except RetryError:
                self._latest.setdefault(ref, seen)
                raise

    async def _take_in(self, seen: Observation) -> None:
        job = await self._apply(seen)
        if job.attempt > seen.attempt:
            await self._drop(RunRef(job.id, seen.attempt, job.tenant))
        elif job.is_final:
            self._begin("settle", job.id, partial(self._settle, job))
        elif job.attempt == seen.attempt:
            if job.dispatched:  # else its create is repeated first
                self._dispatcher.occupy(job)
            if job.state is JobState.STAGING_OUT and seen.phase in _OVER:
                self._begin("finalise", job.id, partial(self._finalise, job, seen.message))

    async def _drop(self, stale: RunRef) -> None:
        """Remove an attempt that another one followed."""
        await self._backend.remove(stale)
        self._dispatcher.release(stale)

    async def _apply(self, seen: Observation) -> Job:
        restartable = False
        if seen.phase is Phase.TAKEN:
            restartable = (await self._workflow(await self._ledger.job(seen.job_id))).restartable
        return await self._ledger.change(
            seen.job_id, lambda now: decisions.on_observation(now, seen, restartable=restartable)
        )

    async def _workflow(self, job: Job) -> Workflow:
        return await self._dispatcher.workflow(job)

    # the truth

    async def _resync_regularly(self) -> None:
        while True:
            await self._clock.sleep(SECOND_LOOK if self._absent else RESYNC)
            await self._patiently("list the engine", self._resync)

    async def _renew_regularly(self) -> None:
        while True:
            await self._clock.sleep(RESYNC)
            await self._patiently("renew the plans", self._dispatcher.renew_due)

    async def look(self, jobs: Sequence[Job]) -> None:
        """Take in what the engine has of ``jobs`` now, to the end where it came to one.

        Their time is over: what happened while nobody looked must count before that does.
        """
        ids = {job.id for job in jobs if job.backend == self._name}
        observations: Sequence[Observation] = ()
        with anyio.move_on_after(_PATIENCE.total_seconds() if ids else 0):
            observations = (await self._backend.snapshot()).observations
        for seen in observations:
            if seen.job_id in ids:
                job = await self._apply(seen)
                is_ours = job.attempt == seen.attempt and seen.phase in _OVER
                if is_ours and job.state is JobState.STAGING_OUT:
                    await self._finalise(job, seen.message)

    async def _resync(self) -> None:
        """Compare the engine's list with the store; recovery is the running path."""
        snapshot = await self._backend.snapshot()
        there = {(seen.job_id, seen.attempt) for seen in snapshot.observations}
        for seen in snapshot.observations:
            self._hear(seen)
        absent: dict[RunRef, datetime] = {}
        after = ""
        while page := await self._store.unfinished(self._name, after=after):
            for job in page:
                now = await self._ledger.latest(job.id)  # it may have ended since it was listed
                if now.dispatched and not now.is_final:
                    self._dispatcher.occupy(now)
                if self._is_missing(job, snapshot.as_of) and (job.id, job.attempt) not in there:
                    # a watch that ends again and again lists, too: the time counts, not the lists
                    since = min(self._absent.get(run_ref(job), snapshot.as_of), snapshot.as_of)
                    absent[run_ref(job)] = since
                    if snapshot.as_of - since >= SECOND_LOOK:
                        self._begin("give up", job.id, partial(self._give_up, job))
            after = page[-1].id
        self._absent = absent

    def _is_missing(self, job: Job, as_of: datetime) -> bool:
        """Say whether a list begun at ``as_of`` must have the job's attempt."""
        return job.dispatched and (job.updated_at or job.created_at) < as_of

    async def _give_up(self, job: Job) -> None:
        """Two lists in a row lack the attempt: what it left in the storage is all there is."""
        seq, attempt = job.seq, job.attempt
        job = await self._ledger.change(
            job.id, lambda now: decisions.on_absence(now) if now.seq == seq else None
        )
        if job.state is JobState.STAGING_OUT and job.attempt == attempt:
            await self._finalise(job)

    # the end

    async def _finalise(self, job: Job, lack: str = "") -> None:
        job = await self._ledger.job(job.id)
        if not job.is_final:  # else its deadline was faster: nothing of it is committed any more
            await self._finaliser.finalise(job, await self._workflow(job), lack)

    async def _settle(self, job: Job) -> None:
        """Remove what a final job left in the engine, and drop uploads that nobody commits.

        Not while it is being submitted: that would create, and run, what was removed.
        """
        await self._dispatcher.submitted(job.id)
        await self._backend.remove(run_ref(job))
        self._dispatcher.release(run_ref(job))
        await abort_uploads(self._store, self._storage, job)
        self._asked.discard(run_ref(job))
