"""From what a cluster says of an attempt to what is reported of it. Pure.

The kubelet's word is what counts: a worker's end is its container's, and a worker never started
where its container was never created. Probes and a pod's events only move what is displayed.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import attrs

from longshore.models.job import Outcome, OutcomeKind
from longshore.models.run import Observation, Phase, RunRef
from longshore_k8s import cases, names
from longshore_k8s.cases import Case, Verdict
from longshore_k8s.facts import Event, Job, Pod, Sight, Terminated
from longshore_k8s.look import (
    Look,
    earliest_start,
    end_of,
    find_stopping,
    is_waiting,
    runs,
    was_allowed,
)

#: how long after the time at which a pod is to be gone its kubelet may be silent
OVERDUE = timedelta(seconds=30)
#: who stopped a worker that nobody of ours did
PLATFORM = "platform"
#: exit codes of a launcher whose worker never ran; a worker may have them too
_LAUNCHER_FAILED, _LAUNCHER_STOPPED = 125, 143
#: how old an event may be that still says why a pod waits; a kubelet repeats it sooner
_FRESH = timedelta(minutes=3)
_EPOCH = datetime.min.replace(tzinfo=UTC)
#: names and addresses in a message, which may hold any words
_NAMED = re.compile(r'"[^"]*"|https?://\S+')


def observe(seen: Sight, now: datetime) -> Observation | None:
    """Return what is reported of an attempt; None where the objects do not say whose they are.

    Args:
        seen: what the cluster has of it.
        now: the time, for what may fail only for so long.
    """
    owner = seen.pod or seen.job
    ref = names.run_ref(owner.metadata.labels) if owner else None
    if ref is None:
        return None
    if seen.pod is None:
        return _without_pod(ref, seen.job or Job(), seen.events, now)
    pod = seen.pod
    look = Look(
        ref=ref,
        pod=pod,
        events=tuple(one for one in seen.events if one.involved_object.kind == "Pod"),
        now=now,
        stopping=find_stopping(pod),
        worker=pod.container(names.WORKER),
        mover=pod.container(names.MOVER),
        was_allowed=seen.was_allowed or was_allowed(pod),
    )
    return _at_end(look) or _at_start(look)


def _without_pod(ref: RunRef, job: Job, events: Iterable[Event], now: datetime) -> Observation:
    """Return what a Job alone says: its pod is not there yet, or not any more."""
    over = next(
        (
            one
            for one in job.status.conditions
            if one.status == "True" and one.type in {"Failed", "Complete", "FailureTarget"}
        ),
        None,
    )
    look = Look(ref, Pod(), (), now, None, None, None, was_allowed=False)
    if over is not None:
        case = cases.JOB.get(over.reason, cases.JOB_OVER)
        if case.early and not job.status.failed:
            return look.seen(Phase.ENDED, attrs.evolve(case, code=case.early))
        lost = Outcome(kind=OutcomeKind.LOST)
        return attrs.evolve(look.seen(Phase.ENDED, case), outcome=lost)
    if job.spec.suspend:
        return look.seen(Phase.WAITING, cases.SUSPENDED)
    told = _latest(one for one in events if one.reason == "FailedCreate")
    case = (told and cases.choose(cases.CREATION, told.message)) or cases.STARTING
    return _held(look, case, Phase.WAITING, job.metadata.creation_timestamp)


def _at_end(look: Look) -> Observation | None:
    """Return the end of the attempt, or of its worker; None while there is none."""
    worker, pod = look.worker, look.pod
    if worker and worker.state.terminated:
        return _on_worker_end(look, worker.state.terminated)
    gone_by = pod.metadata.deletion_timestamp
    if look.is_over or (gone_by and not pod.spec.node_name):
        return _on_pod_end(look)
    if gone_by and gone_by + OVERDUE < look.now:  # what its machine said last may be long ago
        return _ended(look, Outcome(kind=OutcomeKind.LOST), None, cases.SILENT)
    for name, failure in ((names.INSTALL, cases.INSTALL_FAILED), (names.MOVER, cases.MOVER_FAILED)):
        ended = end_of(pod.container(name))
        if ended and ended.exit_code and not look.stopping and not look.was_allowed:
            return look.seen(Phase.ENDED, _unstarted(ended) or failure)
    return None


def _on_worker_end(look: Look, end: Terminated) -> Observation:
    if unstarted := _unstarted(end):
        return look.seen(Phase.ENDED, unstarted)
    meaning = cases.ENDS.get(end.reason)
    if meaning and meaning.verdict is Verdict.LOST:
        return _on_pod_end(look)
    stopping = look.stopping
    if stopping and not (stopping.at and end.finished_at and end.finished_at < stopping.at):
        return _on_stopped(look, stopping.case, end)
    if (never := _never_ran(look, end)) is not None:
        is_over = look.is_over or end_of(look.mover) is not None
        return look.seen(Phase.ENDED, never) if is_over else look.seen(Phase.STAGING_IN)
    better = meaning.code if meaning else None
    if end.exit_code == cases.KILLED_SANDBOX:
        better = better or "signal"
    outcome = Outcome(kind=OutcomeKind.EXITED, exit_code=end.exit_code, reason=better)
    return _ended(look, outcome, end)


def _on_stopped(look: Look, case: Case, end: Terminated | None) -> Observation:
    """Return what it means that the platform ended a pod: 0 is no success then."""
    if not look.may_have_run:
        if case.verdict is not Verdict.ENDED:
            return look.seen(Phase.TAKEN, case)
        return look.seen(Phase.ENDED, attrs.evolve(case, code=case.early or case.code))
    code = end.exit_code if end else None
    outcome = Outcome(kind=OutcomeKind.STOPPED, exit_code=code, by=PLATFORM, why=case.code)
    if case.verdict is Verdict.LOST and end is None:
        outcome = Outcome(kind=OutcomeKind.LOST)
    return _ended(look, outcome, end, case)


def _on_pod_end(look: Look) -> Observation:
    """Return the end of a pod whose kubelet does not say how the worker ended."""
    if look.stopping is not None:
        return _on_stopped(look, look.stopping.case, None)
    return _ended(look, Outcome(kind=OutcomeKind.LOST), None, cases.JOB_OVER)


def _ended(
    look: Look, outcome: Outcome, end: Terminated | None, case: Case | None = None
) -> Observation:
    mover = end_of(look.mover)
    is_over = look.is_over or mover is not None or end is None
    if case is None and mover is not None and mover.exit_code:
        case = cases.MOVER_LATE
    return attrs.evolve(
        look.seen(Phase.ENDED if is_over else Phase.STAGING_OUT, case),
        outcome=outcome,
        started_at=earliest_start(look),
        ended_at=end.finished_at if end else None,
    )


def _never_ran(look: Look, end: Terminated) -> Case | None:
    """Return why the launcher ended instead of a worker; None where it was the worker."""
    if look.was_allowed:
        return None
    return {_LAUNCHER_FAILED: cases.LAUNCHER_FAILED, _LAUNCHER_STOPPED: cases.NOT_STAGED}.get(
        end.exit_code
    )


def _at_start(look: Look) -> Observation:
    """Return how far an attempt is whose worker has not ended."""
    worker_runs = runs(look.worker)
    if worker_runs and look.was_allowed:
        silent = cases.POD.get(look.pod.status.reason) if not look.stopping else None
        seen = look.seen(Phase.RUNNING, silent)
        return attrs.evolve(seen, started_at=earliest_start(look))
    phase = Phase.STAGING_IN if worker_runs or runs(look.mover) else Phase.WAITING
    scheduled = look.pod.condition("PodScheduled")
    if scheduled and scheduled.status == "False":
        return look.seen(phase, cases.choose(cases.SCHEDULING, scheduled.message))
    case = next(_hindrances(look), None)
    if case is not None:
        return _held(look, case, phase, _hindered_since(look))
    return look.seen(phase, cases.STARTING if phase is Phase.WAITING else None)


def _hindered_since(look: Look) -> datetime | None:
    failures = [one.since for one in look.events if one.reason == "Failed" and one.since]
    scheduled = look.pod.condition("PodScheduled")
    placed = scheduled.last_transition_time if scheduled else None
    return min(failures, default=placed or look.pod.metadata.creation_timestamp)


def _held(look: Look, case: Case, phase: Phase, since: datetime | None) -> Observation:
    """Return that an attempt waits, or its end where it never will do anything else."""
    patience = case.patience
    is_spent = patience is not None and look.now - (since or look.now) >= patience
    never = case.verdict is Verdict.NEVER or is_spent
    return look.seen(Phase.ENDED if never else phase, case)


def _hindrances(look: Look) -> Iterator[Case]:
    """Yield what keeps containers from starting; what ends the attempt comes first."""
    fresh = [one for one in look.events if look.now - (one.at or look.now) < _FRESH]
    events = {one.reason: one.message for one in sorted(fresh, key=_age)}
    found: list[Case | None] = []
    for name in (names.INSTALL, names.WORKER, names.MOVER):
        one = look.pod.container(name)
        waiting = one.state.waiting if one else None
        rows = cases.CONTAINERS.get(waiting.reason) if waiting else None
        if waiting and rows:
            # older kubelets say of a pull that they wait, and why in events alone
            words = f"{waiting.message} {events.get('Failed', '')}"
            found.append(cases.choose(rows, _NAMED.sub('""', words)))
    mounting = not look.worker or is_waiting(look.worker)
    for reason, rows in cases.POD_EVENTS.items():
        if mounting and reason in events and not runs(look.mover):
            found.append(cases.choose(rows, events[reason]))
    there = [one for one in found if one]
    yield from sorted(there, key=lambda one: one.verdict is not Verdict.NEVER)


def _unstarted(end: Terminated) -> Case | None:
    rows = cases.NOT_STARTED.get(end.reason)
    return cases.choose(rows, end.message) if rows else None


def _latest(events: Iterable[Event]) -> Event | None:
    return max(events, key=_age, default=None)


def _age(one: Event) -> datetime:
    return one.at or _EPOCH
