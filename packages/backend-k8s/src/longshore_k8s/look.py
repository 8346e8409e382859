"""One attempt's pod, looked at once: who ends it, and whether its worker may have started. Pure."""

import json
from datetime import datetime, timedelta

import attrs

from longshore.models.run import Observation, Phase, RunRef
from longshore_k8s import cases, names
from longshore_k8s.cases import Case, Verdict
from longshore_k8s.facts import Container, Event, Pod, Running, Terminated

_OVER = frozenset({"Failed", "Succeeded"})
_ENDS = frozenset({Phase.ENDED, Phase.TAKEN})


@attrs.frozen
class Stopping:
    """The platform ends the pod: why, and since when where that is known."""

    case: Case
    at: datetime | None


@attrs.frozen
class Look:
    """One attempt's pod, looked at once; see ``Sight`` for ``was_allowed``."""

    ref: RunRef
    pod: Pod
    events: tuple[Event, ...]
    now: datetime
    stopping: Stopping | None
    worker: Container | None
    mover: Container | None
    was_allowed: bool

    def seen(self, phase: Phase, case: Case | None = None) -> Observation:
        """Return an observation; what ended has its code's sentence from whoever reads it."""
        said = "" if case is None else case.detail if phase in _ENDS else case.reason.message
        return Observation(
            job_id=self.ref.job_id,
            attempt=self.ref.attempt,
            phase=phase,
            reason=case.code if case else None,
            message=said,
        )

    @property
    def is_over(self) -> bool:
        """Whether no container of the pod runs, or ever will."""
        return self.pod.status.phase in _OVER

    @property
    def may_have_run(self) -> bool:
        """Whether the worker may have been started: no word says that it never was."""
        if not self.pod.spec.node_name:
            return False
        case = self.stopping.case if self.stopping else None
        if case and case.verdict is Verdict.LOST:
            return True
        if case and case.rejected and self.worker is None:
            return False
        initialized = self.pod.condition("Initialized")
        if initialized and initialized.status == "False":
            return False
        if refused_to_start(self.mover):
            return False
        return not (self.worker and is_waiting(self.worker) and not self.worker.container_id)


def find_stopping(pod: Pod) -> Stopping | None:
    """Return why and since when the platform ends a pod."""
    disruption = pod.condition("DisruptionTarget")
    case = _pod_case(pod)
    since: list[datetime] = []
    if disruption and disruption.status == "True":
        case = case or cases.DISRUPTIONS.get(disruption.reason, cases.DISRUPTED)
        since += [disruption.last_transition_time] if disruption.last_transition_time else []
    limit = pod.spec.active_deadline_seconds
    if pod.status.reason == "DeadlineExceeded" and pod.status.start_time and limit is not None:
        since.append(pod.status.start_time + timedelta(seconds=limit))
    if pod.metadata.deletion_timestamp:
        case = case or cases.DELETED
        grace = timedelta(seconds=pod.metadata.deletion_grace_period_seconds or 0)
        since.append(pod.metadata.deletion_timestamp - grace)
    return Stopping(case, min(since) if since else None) if case else None


def _pod_case(pod: Pod) -> Case | None:
    word = pod.status.reason
    if word == "Evicted":
        return cases.choose(cases.EVICTIONS, pod.status.message)
    if cases.OUT_OF.match(word):
        return cases.FULL
    case = cases.POD.get(word)
    return case if case and case.verdict is not Verdict.WAITS else None


def refused_to_start(mover: Container | None) -> bool:
    """Say whether the mover was asked to end before it allowed the worker to start.

    Its last words are where no worker can write, and it says so only when it never gave the word.
    """
    end = end_of(mover)
    return end is not None and any(map(_is_refusal, end.message.splitlines()))


def _is_refusal(line: str) -> bool:
    try:
        said = json.loads(line)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("what") == "terminated"


def was_allowed(pod: Pod) -> bool:
    """Say whether the mover has given the word to start; to be remembered, see ``Sight``."""
    mover = pod.container(names.MOVER)
    return mover is not None and mover.started is True


def earliest_start(look: Look) -> datetime | None:
    """Return the time before which the worker cannot have started: its files came first."""
    both = [_begin(one) for one in (look.worker, look.mover) if one]
    known = [one for one in both if one]
    return max(known) if known else None


def _begin(one: Container) -> datetime | None:
    state: Running | Terminated | None = one.state.running or one.state.terminated
    return state.started_at if state else None


def end_of(one: Container | None) -> Terminated | None:
    """Return how a container ended, where it has."""
    return one.state.terminated if one else None


def runs(one: Container | None) -> bool:
    """Say whether a container runs."""
    return one is not None and one.state.running is not None


def is_waiting(one: Container) -> bool:
    """Say whether a container neither runs nor ended."""
    return one.state.running is None and one.state.terminated is None
