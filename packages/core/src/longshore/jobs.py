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

_FIELDS = tuple(field.name for field in attrs.fields(Job))
_values = attrgetter(*_FIELDS)
_SETTERS = {name: getattr(Job, name).__set__ for name in _FIELDS}
_DEFAULTS: tuple[Any, ...] = tuple(
    {} if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]  # attrs types Factory as a function
    for field in attrs.fields(Job)
)


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
    job: Job, by: str | None = None, schedule: Schedule | None = None
) -> tuple[Job, JobEvent]:
    """Return the new job with its first event, which holds all of it, and who asked for it."""
    stamps = {} if schedule is None else schedule(job, job.created_at)
    born = _with(job, {**stamps, "seq": 1, "updated_at": job.created_at})
    data = {
        name: value
        for name, value, default in zip(_FIELDS, _values(born), _DEFAULTS, strict=True)
        if value is not default and value != default
    }
    del data["id"], data["seq"]
    if by is not None:
        data["by"] = by
    return born, JobEvent(job_id=job.id, seq=1, type=CREATED, at=job.created_at, data=data)


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
    events = [
        JobEvent(job_id=job.id, seq=seq, type=kind, at=at, data=data)
        for seq, (kind, data) in enumerate(facts, start=job.seq + 1)
    ]
    return changed, tuple(events)


def _with(job: Job, changes: Mapping[str, Any]) -> Job:
    """Return ``job`` with ``changes``, as ``attrs.evolve`` does, in half of its time."""
    changed = object.__new__(Job)
    for assign, value in zip(_SETTERS.values(), _values(job), strict=True):
        assign(changed, value)
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
