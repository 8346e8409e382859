"""Gives waiting jobs to an engine: intent first, deterministic name, adopt on restart.

The job is in the store before the engine hears of it; the engine's object is named after the job
and its attempt; ``dispatched`` is stored after the engine acknowledged. A crash in between repeats
the create, which is success when it is there already.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

import anyio
from anyio.abc import TaskGroup

from longshore import decisions
from longshore.backends.abc import SupportsCapacity, WorkflowBackend
from longshore.clock import Clock
from longshore.errors import AttemptGone, LongshoreError, NotFound, RequestInvalid, RetryError
from longshore.inputs import Inputs
from longshore.jobs import Step
from longshore.ledger import Ledger
from longshore.lifecycle import JobState
from longshore.models import InputKind, Job, JobSpec, Reason, RunRef, Workflow, run_ref
from longshore.reasons import REASONS, reason
from longshore.specs import make_spec
from longshore.stores.abc import Store
from longshore.supervisor.nudge import Nudge
from longshore.supervisor.plans import PLAN_LIFE, Plans
from longshore.transfer import TransferPlan

#: most submissions on their way to an engine at once
_AT_ONCE = 64
_log = logging.getLogger("longshore.dispatch")


class Dispatcher:
    """Fills one engine and remembers which attempts occupy it."""

    def __init__(
        self,
        name: str,
        backend: WorkflowBackend,
        store: Store,
        ledger: Ledger,
        inputs: Inputs,
        plans: Plans,
        clock: Clock,
        *,
        grace: timedelta = timedelta(seconds=30),
    ) -> None:
        self._name = name
        self._backend = backend
        self._store = store
        self._ledger = ledger
        self._inputs = inputs
        self._plans = plans
        self._clock = clock
        self._grace = grace
        self._slots = backend.slots if isinstance(backend, SupportsCapacity) else None
        self._occupied: dict[RunRef, datetime] = {}
        self._signer: str | None = None
        self._under_way: dict[str, anyio.Event] = {}
        self._workflows: dict[tuple[str, str], Workflow] = {}
        self._nudge = Nudge(clock)

    def wake(self) -> None:
        """Look for waiting jobs now, if there is room for any."""
        if self._room > 0:
            self._nudge.give()

    async def wait(self, at_most: timedelta) -> None:
        """Return when woken, or after a while in case another process wrote a job."""
        await self._nudge.wait(at_most)

    @property
    def _room(self) -> int:
        room = _AT_ONCE - len(self._under_way)
        return room if self._slots is None else min(room, self._slots - len(self._occupied))

    def occupy(self, job: Job) -> None:
        """Count an attempt that the engine has; its plan is renewed soon."""
        self._occupied.setdefault(run_ref(job), self._clock.now())

    def release(self, ref: RunRef) -> None:
        """Forget an attempt that the engine has no longer."""
        self._occupied.pop(ref, None)
        self._nudge.give()

    async def submitted(self, job_id: str) -> None:
        """Return when no attempt of the job is on its way to the engine."""
        if job_id in self._under_way:
            await self._under_way[job_id].wait()

    async def workflow(self, job: Job) -> Workflow:
        """Return the version that the job was made with.

        Raises:
            NotFound: the store has it no longer.
        """
        key = (job.workflow, job.version)
        if key not in self._workflows:
            found = await self._store.workflow(*key)
            if found is None:
                raise NotFound(f"workflow {job.workflow!r} version {job.version} is gone")
            self._workflows[key] = found
        return self._workflows[key]

    async def fill(self, tasks: TaskGroup) -> None:
        """Start the submission of as many waiting jobs as the engine has room for."""
        room = self._room
        if room <= 0:
            return
        waiting = await self._store.waiting(self._name, limit=room + len(self._under_way))
        for job in waiting:
            if job.id not in self._under_way and room > 0:
                room -= 1
                self._under_way[job.id] = anyio.Event()
                self._occupied[run_ref(job)] = self._clock.now() + PLAN_LIFE / 2
                tasks.start_soon(self._dispatch, job)

    async def _dispatch(self, job: Job) -> None:
        try:
            await self._submit(job)
        except RetryError as exc:
            _log.warning("job %s waits for the engine: %s", job.id, exc)
            self._occupied.pop(run_ref(job), None)
            await self._clock.sleep(timedelta(seconds=1))
        except Exception:  # noqa: BLE001 - one job's trouble never ends the care for the others
            _log.exception("job %s cannot be dispatched", job.id)
            self._occupied.pop(run_ref(job), None)
            await self._clock.sleep(timedelta(seconds=1))
        finally:
            self._under_way.pop(job.id).set()
            self._nudge.give()

    async def _submit(self, job: Job) -> None:
        # The list that named it may be older than an end that was just recorded: what then was
        # removed must not be created, and run, a second time.
        now = await self._ledger.latest(job.id)
        if now.is_final or now.attempt != job.attempt:
            self.release(run_ref(job))
        if now.state is not JobState.QUEUED or now.dispatched or now.attempt != job.attempt:
            return
        try:
            workflow = await self.workflow(job)
            spec = await self._spec(job, workflow)
            if self._signer is None:
                self._signer = await self._plans.signer()
            plan = await self._plans.prepare(job, workflow)
            self._renew_at(run_ref(job), plan)
            await self._backend.submit(run_ref(job), spec, plan)
        except RetryError:
            raise
        except LongshoreError as exc:
            await self._refuse(job, reason(_code(exc), exc.message))
            return
        except Exception as exc:  # noqa: BLE001 - a defect ends one job, never the supervisor
            _log.exception("job %s cannot be dispatched", job.id)
            await self._refuse(job, reason("internal", f"{type(exc).__name__}: {exc}"))
            return
        now = await self._ledger.change(
            job.id, lambda now: decisions.on_dispatched(now) if now.attempt == job.attempt else None
        )
        if now.is_final or now.attempt != job.attempt:  # ended while the engine created it
            await self._backend.remove(run_ref(job))
            self.release(run_ref(job))

    async def _spec(self, job: Job, workflow: Workflow) -> JobSpec:
        environment: dict[str, str] = {}
        for declared in workflow.inputs.values():
            if declared.kind is InputKind.ENV and declared.name in job.inputs:
                environment |= await self._inputs.environment(job, declared)
        return make_spec(
            workflow,
            parameters=job.parameters,
            resources=job.resources,
            environment=environment,
            grace=self._grace,
        )

    async def _refuse(self, job: Job, why: Reason) -> None:
        """End a job that no engine will take: waiting does not mend it."""
        _log.warning("job %s is refused: %s", job.id, why.message)

        def fail(now: Job) -> Step | None:
            waiting = now.state is JobState.QUEUED and not now.dispatched
            refused = waiting and now.attempt == job.attempt
            return Step(JobState.FAILED, {"reason": why}) if refused else None

        await self._ledger.change(job.id, fail)
        self.release(run_ref(job))

    async def renew_due(self) -> None:
        """Give the engine a fresh plan for every attempt whose plan is half over.

        Where another signs than before, for every attempt.
        """
        now = self._clock.now()
        signer = await self._plans.signer()
        if self._signer not in {None, signer}:
            self._occupied = dict.fromkeys(self._occupied, now)
        self._signer = signer
        for ref in [ref for ref, at in self._occupied.items() if at <= now]:
            job = await self._ledger.job(ref.job_id)
            if job.is_final or job.attempt != ref.attempt:
                self.release(ref)  # counted again while it ended
                continue
            try:
                transfers = await self._store.transfers(ref.job_id, ref.attempt)
                plan = await self._plans.sign(job, await self.workflow(job), transfers)
                await self._backend.renew(ref, plan)
            except (AttemptGone, NotFound) as exc:
                _log.info("the plan of job %s is not renewed: %s", ref.job_id, exc)
                plan = None
            except Exception as exc:  # noqa: BLE001 - the others' plans end as well
                _log.warning("the plan of job %s is not renewed yet: %s", ref.job_id, exc)
                continue
            self._renew_at(ref, plan)

    def _renew_at(self, ref: RunRef, plan: TransferPlan | None) -> None:
        if ref in self._occupied:  # else it ended meanwhile
            later = self._clock.now() + PLAN_LIFE / 2
            self._occupied[ref] = later if plan is None else self._plans.due(plan)


_CODES: Mapping[type[LongshoreError], str] = {
    NotFound: "input-unavailable",
    RequestInvalid: "env-invalid",
}


def _code(error: LongshoreError) -> str:
    if error.code in REASONS:
        return error.code
    return _CODES.get(type(error), "backend-refused")
