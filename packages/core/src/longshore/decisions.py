"""What observations and wishes mean for a job. Pure: a job and what was heard give a step."""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType

import attrs

from longshore.deadlines import verdict
from longshore.jobs import Step
from longshore.lifecycle import MAX_ATTEMPTS, JobState
from longshore.models import Job, Observation, Outcome, OutcomeKind, Phase, StopRequest
from longshore.reasons import reason

_S = JobState
_WITH_ENGINE = frozenset({_S.QUEUED, _S.STAGING_IN, _S.RUNNING})
_LOST = Step(_S.STAGING_OUT, {"outcome": Outcome(kind=OutcomeKind.LOST)})


def on_start(job: Job, by: str | None = None) -> Step | None:
    """Return what ``start`` does: a job that started already stays as it is."""
    return Step(_S.QUEUED, by=by) if job.state is _S.CREATED else None


def on_stop(job: Job, *, by: str, why: str, at: datetime) -> Step | None:
    """Return what a wish to stop does; the first wish counts.

    A job that no engine has heard of ends at once. Otherwise the wish is recorded, and the engine
    is asked; a worker that ended before keeps its outcome.
    """
    if job.is_final or job.stop is not None or job.state is _S.IN_REVIEW:
        return None
    stop = StopRequest(by=by, why=why, at=at)
    if job.state is _S.CREATED or (job.state is _S.QUEUED and not job.dispatched):
        target, cause = verdict(attrs.evolve(job, stop=stop))
        return Step(target, {"stop": stop, "reason": cause})
    return Step(None, {"stop": stop}, "StopRequested")


def on_dispatched(job: Job) -> Step | None:
    """Return what the engine's acknowledgement of the create does."""
    if job.state is not _S.QUEUED or job.dispatched:
        return None
    return Step(None, {"dispatched": True}, "JobDispatched")


def on_observation(job: Job, seen: Observation, *, restartable: bool) -> Step | None:
    """Return what an engine's report means; a report on another attempt means nothing."""
    if seen.attempt != job.attempt or job.state not in _WITH_ENGINE:
        return None
    if seen.phase is Phase.TAKEN:
        return _on_taken(job, restartable=restartable)
    if seen.outcome is not None:
        return _on_outcome(job, seen, seen.outcome)
    meaning = _MEANINGS.get(seen.phase)
    return meaning(job, seen) if meaning else None


def _on_staging_in(job: Job, _: Observation) -> Step | None:
    return Step(_S.STAGING_IN, {"dispatched": True}) if job.state is _S.QUEUED else None


def _on_running(job: Job, seen: Observation) -> Step | None:
    changes: dict[str, object] = {}
    if seen.progress is not None and seen.progress != job.progress:
        changes["progress"] = seen.progress
    if job.state is _S.RUNNING:
        return Step(None, changes, "ProgressReported") if changes else None
    return Step(_S.RUNNING, {**changes, **_beginning(job, seen)})


def _beginning(job: Job, seen: Observation) -> dict[str, object]:
    changes: dict[str, object] = {"dispatched": True}
    if job.started_at is None and seen.started_at is not None:
        changes["started_at"] = max(seen.started_at, job.created_at)
    if seen.enforced and dict(seen.enforced) != dict(job.enforced):
        changes["enforced"] = dict(seen.enforced)
    return changes


def _on_outcome(job: Job, seen: Observation, outcome: Outcome) -> Step:
    stop = job.stop
    ended_before = stop is not None and seen.ended_at is not None and seen.ended_at < stop.at
    if stop is not None and outcome.kind is not OutcomeKind.LOST and not ended_before:
        outcome = attrs.evolve(outcome, kind=OutcomeKind.STOPPED, by=stop.by, why=stop.why)
    changes = _beginning(job, seen)
    if seen.progress is not None and seen.progress != job.progress:
        changes["progress"] = seen.progress
    return Step(_S.STAGING_OUT, {**changes, "outcome": outcome})


def _on_never_ran(job: Job, seen: Observation) -> Step:
    if job.state is _S.RUNNING:  # it was seen running, so its end was missed
        return _LOST
    if job.stop is not None:
        return _stopped(job)
    return Step(_S.FAILED, {"reason": reason(seen.reason or "internal", seen.message)})


def _on_taken(job: Job, *, restartable: bool) -> Step:
    if job.state is _S.RUNNING and not restartable:
        return _LOST
    if job.stop is not None:
        return _LOST if job.state is _S.RUNNING else _stopped(job)
    if job.attempt >= MAX_ATTEMPTS:
        failed = Step(_S.FAILED, {"reason": reason("attempts-exhausted")})
        return _LOST if job.state is _S.RUNNING else failed
    return Step(_S.QUEUED, {"attempt": job.attempt + 1, "dispatched": False})


def _stopped(job: Job) -> Step:
    target, cause = verdict(job)
    return Step(target, {"reason": cause})


_MEANINGS: Mapping[Phase, Callable[[Job, Observation], Step | None]] = MappingProxyType(
    {
        Phase.STAGING_IN: _on_staging_in,
        Phase.RUNNING: _on_running,
        Phase.ENDED: _on_never_ran,
    }
)


def on_absence(job: Job) -> Step | None:
    """Return what it means that an engine, asked twice, has no trace of a dispatched attempt.

    After ``dispatched`` the worker may have run, so the job is lost and never run again.
    """
    if job.state not in _WITH_ENGINE or not job.dispatched:
        return None
    if job.state is _S.RUNNING:
        return _LOST
    if job.stop is not None:
        return _stopped(job)
    return Step(_S.FAILED, {"reason": reason("lost")})
