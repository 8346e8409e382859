"""What each word of Kubernetes means for a job: a code, by whose doing, and whether it is the end.

The cluster's own messages name machines and addresses: they choose a row here, and consumers read
the row. What may be quoted of them is a resource's name.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

import attrs

from longshore.models.job import Fault, Reason
from longshore.reasons import reason


class Verdict(StrEnum):
    """What follows.

    ``WAITS``: nothing is decided. ``NEVER``: the worker never runs. ``TAKEN``: the platform took
    the attempt. ``ENDED``: it was ended for a limit of its own. ``EXITED``: the worker ended, and
    its exit code says how. ``LOST``: nobody saw the end.
    """

    WAITS = "waits"
    NEVER = "never"
    TAKEN = "taken"
    ENDED = "ended"
    EXITED = "exited"
    LOST = "lost"


#: how long what is tried again may fail
PATIENCE = timedelta(minutes=5)
_AT_ONCE = timedelta(0)


@attrs.frozen(kw_only=True)
class Case:
    """One meaning.

    ``code`` is one of Longshore's reasons, or of ``WAITING``; ``early`` is the code of the same
    where the worker was never started. After ``patience``, what waits never runs. ``rejected`` says
    that a node refused the pod, so that nothing of it was ever started.
    """

    code: str
    verdict: Verdict
    detail: str = ""
    early: str = ""
    patience: timedelta | None = None
    rejected: bool = False

    @property
    def reason(self) -> Reason:
        """Code, fault, message, hint, and whether to try again."""
        waiting = WAITING.get(self.code)
        if waiting is None:
            return reason(self.code, self.detail)
        return attrs.evolve(waiting, message=self.detail) if self.detail else waiting


#: codes that are shown while a job waits; none of them is an end
WAITING: Mapping[str, Reason] = MappingProxyType(
    {
        one.code: one
        for one in (
            Reason("starting", Fault.PLATFORM, "the job is being started", "wait", retryable=True),
            Reason(
                "suspended",
                Fault.PLATFORM,
                "the job waits in the cluster's queue",
                "wait",
                retryable=True,
            ),
            Reason(
                "quota",
                Fault.POLICY,
                "the quota for jobs is used up at present",
                "wait until other jobs have ended, or ask for less",
                retryable=True,
            ),
            Reason(
                "unschedulable",
                Fault.PLATFORM,
                "no machine can take the job at present",
                "wait, or ask for less",
                retryable=True,
            ),
            Reason(
                "volume",
                Fault.PLATFORM,
                "a volume of the job cannot be had yet",
                "wait; if it stays so, tell the provider",
                retryable=True,
            ),
            Reason(
                "node-silent",
                Fault.PLATFORM,
                "the job's machine does not answer at present",
                "wait: it may come back",
                retryable=True,
            ),
        )
    }
)


def _waits(code: str, detail: str = "", patience: timedelta | None = None) -> Case:
    return Case(code=code, verdict=Verdict.WAITS, detail=detail, patience=patience)


def _never(code: str, detail: str = "") -> Case:
    return Case(code=code, verdict=Verdict.NEVER, detail=detail)


def _taken(detail: str, *, rejected: bool = False) -> Case:
    return Case(code="disrupted", verdict=Verdict.TAKEN, detail=detail, rejected=rejected)


def _own(code: str, early: str, detail: str = "") -> Case:
    return Case(code=code, verdict=Verdict.ENDED, early=early, detail=detail)


#: a row: what the cluster's words contain, and what that means; the first that fits holds
Rows = tuple[tuple[re.Pattern[str], Case], ...]


def _rows(*rows: tuple[str, Case]) -> Rows:
    return tuple((re.compile(pattern, re.IGNORECASE), case) for pattern, case in rows)


def choose(rows: Rows, words: str) -> Case | None:
    """Return the case that the cluster's words mean; what may be quoted is filled in."""
    for pattern, case in rows:
        if match := pattern.search(words):
            quoted = match.groupdict().get("resource")
            return attrs.evolve(case, detail=case.detail.format(quoted)) if quoted else case
    return None


#: evictions by a kubelet: for our own limits it is never the platform's doing
EVICTIONS = _rows(
    (
        r'EmptyDir volume "state"',
        Case(code="internal", verdict=Verdict.ENDED, detail="the mover had too little scratch"),
    ),
    (
        r"(?:EmptyDir volume|ephemeral local storage usage) .*exceeds|exceeded its local ephemeral",
        _own("disk", "input-too-large"),
    ),
    (r"low on resource: memory", _taken("its machine had no memory left")),
    (r"low on resource: (?:ephemeral-storage|inodes)", _taken("its machine had no disk left")),
    (r"low on resource: pids", _taken("its machine had too many processes")),
    (r"", _taken("its machine needed the room")),
)

#: ``status.reason`` of a pod that is over or away
POD: Mapping[str, Case] = MappingProxyType(
    {
        "DeadlineExceeded": _own(
            "walltime", "stage-in-timeout", "the cluster's own limit for the whole job passed"
        ),
        "UnexpectedAdmissionError": _taken("its machine could not give it a device", rejected=True),
        "NodeAffinity": _taken("its machine was no longer the right one", rejected=True),
        "NodeShutdown": _taken("its machine was being shut down", rejected=True),
        "TopologyAffinityError": _taken("its machine had no room in one piece", rejected=True),
        "Terminated": _taken("its machine was shut down"),
        "Shutdown": _taken("its machine was shut down"),
        "Preempting": _taken("a part of the cluster needed its place"),
        "NodeLost": _waits("node-silent"),
    }
)
#: a node that had less than the scheduler thought: OutOfcpu, OutOfnvidia.com/gpu, ...
OUT_OF = re.compile(r"OutOf", re.IGNORECASE)
FULL = _taken("its machine had no room after all", rejected=True)

#: reasons of the condition DisruptionTarget
DISRUPTIONS: Mapping[str, Case] = MappingProxyType(
    {
        "PreemptionByScheduler": _taken("a more important job needed its place"),
        "DeletionByTaintManager": _taken("its machine was taken out of service"),
        "EvictionByEvictionAPI": _taken("its machine was cleared"),
        # nobody there says what became of it
        "DeletionByPodGC": Case(code="lost", verdict=Verdict.LOST, detail="its machine is gone"),
        "TerminationByKubelet": _taken("its machine ended it"),
    }
)
DISRUPTED = _taken("the platform ended it")
DELETED = _taken("its pod was deleted")

_EXEC = _rows(
    (
        r"exec format error",
        _never("command-not-executable", "it is made for another kind of machine"),
    ),
    (r"permission denied|is a directory", _never("command-not-executable")),
    (r"no such file or directory|executable file not found", _never("command-not-found")),
    (r"", _never("backend-refused", "its container could not be started")),
)
#: reasons of a terminated container that was never started
NOT_STARTED: Mapping[str, Rows] = MappingProxyType(
    dict.fromkeys(("StartError", "ContainerCannotRun", "RunContainerError"), _EXEC)
)
#: reasons of a terminated container that mean more than its exit code, as codes
ENDS: Mapping[str, Case] = MappingProxyType(
    {
        "OOMKilled": Case(code="oom", verdict=Verdict.EXITED),
        "ContainerStatusUnknown": Case(code="lost", verdict=Verdict.LOST),
    }
)
#: 128 + no signal at all: what gVisor reports of a sandbox that was killed
KILLED_SANDBOX = 128

_PULLS = _rows(
    (
        r"\b429\b|too ?many ?requests",
        _waits("image-unavailable", "the registry answers to nobody at present", PATIENCE),
    ),
    (r"x509|certificate", _waits("image-unavailable", "the registry is not trusted", PATIENCE)),
    # a registry says "denied" also of what is not there, so this comes first
    (
        r"\b40[13]\b|unauthorized|forbidden|denied|no basic auth|authorization failed",
        _waits("image-forbidden", patience=PATIENCE),
    ),
    (r"\b404\b|not found|manifest unknown|name unknown", _waits("image-not-found", "", _AT_ONCE)),
    (
        r"no match for platform|no matching manifest",
        _waits("image-not-found", "there is none for this kind of machine", _AT_ONCE),
    ),
    (r"", _waits("image-unavailable", patience=PATIENCE)),
)
_UNCONFIGURED = _rows(
    (
        r"secret|configmap",
        _waits("backend-refused", "the job's secret or one of its keys is missing", PATIENCE),
    ),
    (r"", _waits("backend-refused", "its container cannot be set up", PATIENCE)),
)
_NOT_MADE = _rows((r"", _waits("backend-refused", "its container cannot be made", PATIENCE)))
_RUN = (
    *((pattern, case) for pattern, case in _EXEC[:-1]),
    *_rows((r"", _waits("backend-refused", "its container cannot be started", PATIENCE))),
)
#: reasons of a container that waits; all others are on their way
CONTAINERS: Mapping[str, Rows] = MappingProxyType(
    {
        "InvalidImageName": _rows((r"", _never("image-not-found", "its name is none"))),
        "ErrImageNeverPull": _rows(
            (r"", _never("image-not-found", "it is not on the machine, where it must be"))
        ),
        "ErrImagePull": _PULLS,
        "ImagePullBackOff": _PULLS,
        "RegistryUnavailable": _PULLS,
        "ImageInspectError": _PULLS,
        "CreateContainerConfigError": _UNCONFIGURED,
        "CreateContainerError": _NOT_MADE,
        "RunContainerError": _RUN,
    }
)

#: the words of a scheduler
SCHEDULING = _rows(
    (
        r"persistentvolumeclaim|PersistentVolume",
        _waits("volume", "a volume of the job is not bound yet"),
    ),
    (
        r"Insufficient (?P<resource>[a-z0-9][a-z0-9./-]{0,62})",
        _waits("unschedulable", "no machine has enough {} free at present"),
    ),
    (r"Too many pods", _waits("unschedulable", "every machine runs as many jobs as it may")),
    (r"taint", _waits("unschedulable", "the machines that could run the job do not take it")),
    (
        r"affinity|node selector",
        _waits("unschedulable", "there is no machine of the kind that the job needs"),
    ),
    (r"", _waits("unschedulable")),
)
#: the words of events about a pod that waits, by their reason
POD_EVENTS: Mapping[str, Rows] = MappingProxyType(
    {
        "FailedMount": _rows(
            (
                r'secret "[^"]*" not found|references non-existent secret key',
                _waits("volume", "the job's secret or one of its keys is missing"),
            ),
            (r"", _waits("volume")),
        ),
        "FailedAttachVolume": _rows((r"", _waits("volume"))),
        "FailedCreatePodSandBox": _rows((r"", _waits("starting", "its machine has trouble"))),
    }
)
#: the words of a Job's controller that cannot make the pod
CREATION = _rows(
    (r"exceeded quota|must specify .* for", _waits("quota")),
    (r"violates PodSecurity", _never("backend-refused", "the cluster forbids such pods")),
    (
        r"being terminated",
        _never("backend-refused", "the namespace of its jobs is being removed"),
    ),
    (
        r"failed calling webhook",
        _waits("starting", "a part of the cluster that must agree does not answer"),
    ),
    (r"denied the request", _never("backend-refused", "a rule of the cluster forbids it")),
    (r"", _waits("backend-refused", "the cluster cannot make its pod", PATIENCE)),
)
#: what a Job's own end means when there is no pod to ask
JOB: Mapping[str, Case] = MappingProxyType(
    {
        "DeadlineExceeded": Case(code="lost", verdict=Verdict.LOST, early="start-timeout"),
        "BackoffLimitExceeded": Case(code="lost", verdict=Verdict.LOST),
    }
)
JOB_OVER = Case(code="lost", verdict=Verdict.LOST)
SILENT = Case(code="lost", verdict=Verdict.LOST, detail="its machine does not answer any more")

#: what our own containers mean when they fail
INSTALL_FAILED = _never("internal", "the launcher could not be installed")
MOVER_FAILED = _never("internal", "the mover ended before the worker could start")
MOVER_LATE = Case(code="output-unavailable", verdict=Verdict.EXITED)
LAUNCHER_FAILED = _never("internal", "the launcher could not do its part")
NOT_STAGED = _never("input-unavailable", "the worker was never allowed to start")
STARTING = _waits("starting")
SUSPENDED = _waits("suspended")
