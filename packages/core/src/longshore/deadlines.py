"""What happens next to a job, and by when: every state that is not final has an owner of its end.

Pure: a job gives its next deadline, and a passed deadline gives what to do. The one sleeper that
acts on it is the supervisor's.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

import attrs

from longshore.jobs import Step
from longshore.lifecycle import JobState
from longshore.models.job import Job, Outcome, OutcomeKind, Reason, StopRequest
from longshore.reasons import exit_reason, reason

_S = JobState


@attrs.frozen(kw_only=True)
class Limits:
    """How long each part of a job's way may take.

    ``stop_grace`` is given to the worker between SIGTERM and SIGKILL; ``stop_margin`` is what the
    engine gets on top to say that it ended. ``stop_stage_out`` is the time for partial results
    after a cancel; ``stage_out`` is the full allowance.
    """

    inputs: timedelta = timedelta(hours=24)
    queue: timedelta = timedelta(days=7)
    start: timedelta = timedelta(minutes=15)
    stage_in: timedelta = timedelta(hours=1)
    stage_out: timedelta = timedelta(hours=1)
    walltime_margin: timedelta = timedelta(minutes=1)
    stop_grace: timedelta = timedelta(seconds=30)
    stop_margin: timedelta = timedelta(seconds=10)
    stop_stage_out: timedelta = timedelta(seconds=60)


#: what is waited for in each state, and how long at most
_NEXT: Mapping[JobState, tuple[str, Callable[[Job, Limits], timedelta]]] = MappingProxyType(
    {
        _S.CREATED: ("inputs", lambda _, limits: limits.inputs),
        _S.QUEUED: (
            "start",
            lambda job, limits: limits.start if job.dispatched else limits.queue,
        ),
        _S.STAGING_IN: ("inputs fetched", lambda _, limits: limits.stage_in),
        _S.RUNNING: (
            "end",
            lambda job, limits: job.resources.walltime + limits.stop_grace + limits.walltime_margin,
        ),
        _S.STAGING_OUT: (
            "results",
            lambda job, limits: limits.stop_stage_out if _is_cut_short(job) else limits.stage_out,
        ),
    }
)


#: what ends a job while its results may be on their way
_CUTS = ("cancel", "agreement")


def _is_cut_short(job: Job) -> bool:
    return job.stop is not None and job.stop.why != "walltime"


def next_deadline(job: Job, limits: Limits, since: datetime) -> tuple[str | None, datetime | None]:
    """Return what happens next to ``job``, which came to this point at ``since``, and by when."""
    if job.state not in _NEXT:
        return ("review" if job.state is _S.IN_REVIEW else None), None
    if job.stop is not None and job.state is not _S.STAGING_OUT:
        return "end", since + limits.stop_grace + limits.stop_margin
    what, allowance = _NEXT[job.state]
    return what, since + allowance(job, limits)


#: a state whose deadline passes before the worker runs: what the stop is called
_EXPIRED = {
    _S.CREATED: "expired",
    _S.QUEUED: "start-timeout",
    _S.STAGING_IN: "stage-in-timeout",
    _S.RUNNING: "walltime",
}


def expire(job: Job, now: datetime) -> Step | None:
    """Return what a passed deadline means for ``job``; None when none has passed.

    A job whose engine may hold something is first asked to stop, and ends unconfirmed only when
    that deadline passes too.
    """
    if job.next_by is None or now < job.next_by or job.is_final:
        return None
    if job.state is _S.STAGING_OUT:
        return end_without_results(job)
    if job.stop is not None:
        return end_unconfirmed(job)
    why = _EXPIRED[job.state]
    if job.state is _S.CREATED or (job.state is _S.QUEUED and not job.dispatched):
        return Step(_S.FAILED, {"reason": reason(why)})
    return Step(None, {"stop": StopRequest(by="longshore", why=why, at=now)}, "StopRequested")


def end_unconfirmed(job: Job) -> Step:
    """Return the end of a job whose engine never confirmed that the worker ended."""
    if job.state is _S.RUNNING:
        lost = Outcome(kind=OutcomeKind.LOST, by=job.stop.by if job.stop else None)
        return Step(_S.STAGING_OUT, {"outcome": lost, "unconfirmed": True})
    target, why = verdict(job)
    return Step(target, {"reason": why, "unconfirmed": True})


def end_without_results(job: Job) -> Step:
    """Return the end of a job whose results never came."""
    target, why = verdict(job)
    if target is _S.SUCCEEDED:
        target, why = _S.FAILED, reason("manifest-missing")
        if job.stop is not None and job.stop.why in _CUTS:  # which cut their time short
            target, why = verdict(attrs.evolve(job, outcome=None))
    return Step(target, {"reason": why})


def verdict(job: Job) -> tuple[JobState, Reason | None]:
    """Return the final state and the reason that the outcome, or the stop before it, means."""
    outcome = job.outcome
    if outcome is not None and outcome.kind is OutcomeKind.EXITED:
        if outcome.exit_code == 0:
            return _S.SUCCEEDED, None
        return _S.FAILED, exit_reason(outcome.exit_code or 0, outcome.reason)
    why = outcome.why if outcome is not None else None
    if why is None and job.stop is not None:
        why = job.stop.why
    if why == "cancel":
        return _S.CANCELED, reason("canceled")
    if why is not None:
        return _S.FAILED, reason(why)
    return _S.FAILED, reason("lost")
