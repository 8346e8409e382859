"""What may happen to a job, as pure functions: a job and a step give a job and its events.

An event holds the fields that it changed, so a job is nothing but its events applied in order:
``replay(events) == job`` for every job at every time.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import attrs

from longshore.errors import IllegalTransition
from longshore.lifecycle import JobState, is_legal, path
from longshore.models.job import Job, JobEvent

#: the event that says that a job came into a state
ARRIVALS: Mapping[JobState, str] = MappingProxyType(
    {
        JobState.QUEUED: "JobQueued",
        JobState.STAGING_IN: "StagingInStarted",
        JobState.RUNNING: "WorkerStarted",
        JobState.STAGING_OUT: "WorkerEnded",
        JobState.IN_REVIEW: "ReviewRequested",
        JobState.SUCCEEDED: "JobSucceeded",
        JobState.FAILED: "JobFailed",
        JobState.CANCELED: "JobCanceled",
    }
)
CREATED = "JobCreated"
ATTEMPT_LOST = "AttemptLost"
#: what events say beside the fields that they changed
NOTES = frozenset({"by", "inferred"})

_SETTERS = {field.name: getattr(Job, field.name).__set__ for field in attrs.fields(Job)}
#: what the first event holds of a job, where it is not the default
_TOLD: Mapping[str, Any] = MappingProxyType(
    {
        field.name: {} if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]  # attrs types Factory as a function
        for field in attrs.fields(Job)
        if field.name not in {"id", "seq", "updated_at"}  # each event says these of itself
    }
)
_tell = attrgetter(*_TOLD)


@attrs.frozen
class Step:
    """What is to happen: a state to reach, or a fact that leaves the state; and what it changes.

    ``by`` is who asked for it, where that is known: a token's id.
    """

    target: JobState | None
    changes: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    type: str | None = None
    by: str | None = None


#: what a change means for stamps and deadlines of the job, which it made at a time
Schedule = Callable[[Job, datetime], Mapping[str, Any]]


def create(
    job: Job, by: str | None = None, schedule: Schedule | None = None, *, queue: bool = False
) -> tuple[Job, tuple[JobEvent, ...]]:
    """Return the new job with its events: the first holds all of it, and who asked for it.

    Where ``queue``, it is QUEUED at once by a second one.
    """
    at = job.created_at
    told = {
        name: value
        for (name, default), value in zip(_TOLD.items(), _tell(job), strict=True)
        if value is not default and value != default
    }
    if by is not None:
        told["by"] = by
    facts: list[tuple[str, dict[str, Any]]] = [(CREATED, told)]
    if queue:
        facts.append((ARRIVALS[JobState.QUEUED], {"state": JobState.QUEUED}))
    last = facts[-1][1]
    born = _with(job, {"state": last.get("state", job.state), "seq": len(facts), "updated_at": at})
    if schedule is not None:
        stamps = schedule(born, at)
        last |= stamps
        _assign(born, stamps)
    return born, _events(job, facts, at, 1)


def take(
    job: Job, step: Step, at: datetime, schedule: Schedule | None = None
) -> tuple[Job, tuple[JobEvent, ...]]:
    """Return the job after ``step`` and the events that say so.

    States that a poller missed are passed through and marked ``inferred``. Stamps never run
    backwards, whatever the clock says. What ``schedule`` adds goes into the last event.

    Raises:
        IllegalTransition: the lifecycle has no way from the job's state to the step's target.
    """
    at = max(at, job.updated_at or job.created_at)
    facts = _facts(job, step)
    last = facts[-1][1]
    started = last.get("started_at")
    if started is not None and started > at:  # an engine whose clock is ahead
        last["started_at"] = at
    changed = _with(job, {**last, "seq": job.seq + len(facts), "updated_at": at})
    if schedule is not None and (stamps := schedule(changed, at)):
        last |= stamps
        _assign(changed, stamps)
    if step.by is not None:
        last["by"] = step.by
    return changed, _events(job, facts, at, job.seq + 1)


def _events(
    job: Job, facts: Iterable[tuple[str, Mapping[str, Any]]], at: datetime, first: int
) -> tuple[JobEvent, ...]:
    return tuple(
        [
            JobEvent(job_id=job.id, seq=seq, type=kind, at=at, data=data)
            for seq, (kind, data) in enumerate(facts, start=first)
        ]
    )


def _copier() -> Callable[[Job], Job]:
    """Return what copies a job: written out, as a loop over the fields takes twice as long."""
    names: dict[str, Any] = {f"set_{name}": assign for name, assign in _SETTERS.items()}
    names |= {"new": object.__new__, "Job": Job}
    body = "".join(f"    set_{name}(made, job.{name})\n" for name in _SETTERS)
    exec(f"def copy(job):\n    made = new(Job)\n{body}    return made\n", names)  # noqa: S102 - our own names alone
    return names["copy"]  # type: ignore[no-any-return]


_copy = _copier()


def _with(job: Job, changes: Mapping[str, Any]) -> Job:
    """Return ``job`` with ``changes``, as ``attrs.evolve`` does, in a third of its time."""
    changed = _copy(job)
    _assign(changed, changes)
    return changed


def _assign(job: Job, changes: Mapping[str, Any]) -> None:
    """Set fields of a job that nobody has yet, past its being frozen."""
    for name, value in changes.items():
        _SETTERS[name](job, value)


def _facts(job: Job, step: Step) -> list[tuple[str, dict[str, Any]]]:
    if step.target is None:
        return [(step.type or "", dict(step.changes))]
    if step.target is JobState.QUEUED and job.state is not JobState.CREATED:
        way: tuple[JobState, ...] = (step.target,) if is_legal(job.state, step.target) else ()
        kinds = [ATTEMPT_LOST]
    else:
        way = path(job.state, step.target)
        kinds = [ARRIVALS[state] for state in way]
    if not way:
        raise IllegalTransition(f"job {job.id} is {job.state}: it cannot become {step.target}")
    facts: list[tuple[str, dict[str, Any]]] = [
        (kind, {"state": state, "inferred": True})
        for kind, state in zip(kinds[:-1], way[:-1], strict=True)
    ]
    return [*facts, (step.type or kinds[-1], {"state": way[-1], **step.changes})]


def apply(job: Job, event: JobEvent) -> Job:
    """Return the job after ``event``."""
    changes = {name: value for name, value in event.data.items() if name not in NOTES}
    return _with(job, {**changes, "seq": event.seq, "updated_at": event.at})


def replay(events: Iterable[JobEvent]) -> Job:
    """Return the job that its events, from the first on, make."""
    rest = iter(events)
    first = next(rest)
    fields = {name: value for name, value in first.data.items() if name not in NOTES}
    job = Job(id=first.job_id, **{**fields, "seq": first.seq, "updated_at": first.at})
    for event in rest:
        job = apply(job, event)
    return job
