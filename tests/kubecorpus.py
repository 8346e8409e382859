"""Cases of a cluster and what they mean: one row for each that is known to happen.

A row is the JSON that an API server sends, in short: ``pod``, ``job``, ``events``.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import attrs
import msgspec
from tests.kubemaking import FACTS, NOW, REF

from longshore.models import Fault
from longshore_k8s import names
from longshore_k8s.facts import Sight

LABELS = names.labels(REF, FACTS.instance)
LONG = 3600


def at(seconds: float) -> str:
    """Return a time, relative to the look."""
    return (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def waiting(name: str, reason: str = "ContainerCreating", message: str = "") -> dict[str, Any]:
    return {"name": name, "state": {"waiting": {"reason": reason, "message": message}}}


def running(name: str, since: float = -100, *, started: bool = False) -> dict[str, Any]:
    state = {"running": {"startedAt": at(since)}}
    return {"name": name, "state": state, "started": started, "containerID": "containerd://1"}


def ended(
    name: str, code: int, reason: str = "", message: str = "", until: float = -10
) -> dict[str, Any]:
    end = {"exitCode": code, "reason": reason or ("Error" if code else "Completed")}
    times = {"startedAt": at(-100), "finishedAt": at(until)}
    state = {"terminated": {**end, "message": message, **times}}
    return {"name": name, "state": state, "containerID": "containerd://1"}


def pod(
    *containers: dict[str, Any],
    phase: str = "Running",
    reason: str = "",
    message: str = "",
    node: str = "node-1",
    conditions: tuple[dict[str, Any], ...] = (),
    install: dict[str, Any] | None = None,
    deleted: float | None = None,
    since: float = -LONG,
) -> dict[str, Any]:
    """Return a pod that was placed ``since`` and, where ``deleted``, asked to end then."""
    meta: dict[str, Any] = {"name": "p", "labels": LABELS, "creationTimestamp": at(since)}
    if deleted is not None:
        meta |= {"deletionTimestamp": at(deleted + 60), "deletionGracePeriodSeconds": 60}
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(since)}
    return {
        "metadata": meta,
        "spec": {"nodeName": node, "activeDeadlineSeconds": LONG - 20},
        "status": {
            "phase": phase,
            "reason": reason,
            "message": message,
            "startTime": at(-LONG),
            "conditions": [*conditions, *([placed] if node else [])],
            "initContainerStatuses": [install or ended("install", 0)],
            "containerStatuses": list(containers),
        },
    }


def worker_end(code: int, reason: str = "", **more: Any) -> dict[str, Any]:
    """Return a pod whose worker ended while its mover goes on."""
    until = more.pop("until", -10)
    return pod(ended("worker", code, reason, until=until), running("mover", started=True), **more)


def held(reason: str, message: str = "", *, who: str = "worker", **more: Any) -> dict[str, Any]:
    """Return a pod one of whose containers cannot start."""
    return pod(
        *(waiting(name) for name in ("worker", "mover") if name != who),
        waiting(who, reason, message),
        phase="Pending",
        **more,
    )


def disruption(reason: str, since: float = -20) -> tuple[dict[str, Any], ...]:
    return (
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": reason,
            "lastTransitionTime": at(since),
        },
    )


def rejected(reason: str, message: str = "") -> dict[str, Any]:
    """Return a pod that a node has refused: it has no statuses of containers."""
    made = pod(phase="Failed", reason=reason, message=message)
    made["status"]["initContainerStatuses"] = []
    return made


def unschedulable(message: str) -> dict[str, Any]:
    said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return pod(phase="Pending", node="", conditions=({**said, "message": message},))


def job(**status: Any) -> dict[str, Any]:
    meta = {"name": REF.name, "labels": LABELS, "creationTimestamp": at(-60)}
    return {"metadata": meta, "status": status}


def event(kind: str, reason: str, message: str, seen: float = -5) -> dict[str, Any]:
    return {
        "involvedObject": {"kind": kind},
        "reason": reason,
        "message": message,
        "firstTimestamp": at(seen),
        "lastTimestamp": at(seen),
    }


def not_created(message: str) -> dict[str, Any]:
    return {"job": job(), "events": [event("Job", "FailedCreate", message)]}


@attrs.frozen(kw_only=True)
class Row:
    """What is sent, and what it means.

    ``code`` is the reason's, as it is shown or as the job's final reason would have it. ``phase``
    and ``outcome`` are the observation's; ``exit`` is the outcome's exit code.
    """

    name: str
    sent: Mapping[str, Any]
    phase: str
    outcome: str | None = None
    exit: int | None = None
    code: str | None = None
    fault: Fault | None = None
    retryable: bool | None = None
    says: str = ""

    @property
    def sight(self) -> Sight:
        return msgspec.convert(self.sent, Sight)


_APP, _INPUT, _PLATFORM, _POLICY = Fault.APP, Fault.INPUT, Fault.PLATFORM, Fault.POLICY
_PULL = 'failed to pull and unpack image "r/x@sha256:404401": failed to resolve reference "r/x": '


def _exits() -> Iterator[Row]:
    def row(name: str, sent: Any, code: str | None, number: int, **more: Any) -> Row:
        fault = more.pop("fault", _APP if code else None)
        kind = more.pop("outcome", "exited")
        return Row(
            name=name,
            sent={"pod": sent},
            phase=more.pop("phase", "staging-out"),
            outcome=kind,
            exit=number,
            code=code,
            fault=fault,
            retryable=more.pop("retryable", False if code else None),
            **more,
        )

    yield row("Completed", worker_end(0), None, 0)
    for number in (1, 2, 42):
        yield row(f"Error exit {number}", worker_end(number), "nonzero-exit", number)
    yield row("OOMKilled (137)", worker_end(137, "OOMKilled"), "oom", 137)
    yield row("137 without OOMKilled", worker_end(137), "signal", 137)
    yield row("gVisor 128", worker_end(128), "signal", 128)
    yield row(
        "143 after cancel",
        worker_end(143, deleted=-20),
        "disrupted",
        143,
        outcome="stopped",
        fault=_PLATFORM,
        retryable=True,
    )
    yield row("child OOM with exit 0", worker_end(0), None, 0)
    yield row("child OOM with exit 1", worker_end(1), "nonzero-exit", 1)
    for number in (139, 134, 132):
        yield row(f"exit {number}", worker_end(number), "crash", number)
    yield row("exec not found (launcher)", worker_end(127), "command-not-found", 127)
    yield row("exec format error (launcher)", worker_end(126), "command-not-executable", 126)
    yield row(
        "uploader failed",
        pod(ended("worker", 0), ended("mover", 4), phase="Failed"),
        "output-unavailable",
        0,
        phase="ended",
        fault=_PLATFORM,
        retryable=True,
    )
    yield row(
        "DeadlineExceeded (pod)",
        pod(ended("worker", 137), ended("mover", 143), phase="Failed", reason="DeadlineExceeded"),
        "walltime",
        137,
        outcome="stopped",
        phase="ended",
    )
    yield row(
        "DeadlineExceeded after the worker's own end",
        pod(
            ended("worker", 0, until=-60),
            ended("mover", 143),
            phase="Failed",
            reason="DeadlineExceeded",
        ),
        "output-unavailable",
        0,
        phase="ended",
        fault=_PLATFORM,
        retryable=True,
    )
    yield row(
        "Evicted (memory), SIGTERM trapped, exit 0",
        worker_end(0, conditions=disruption("TerminationByKubelet")),
        "disrupted",
        0,
        outcome="stopped",
        fault=_PLATFORM,
        retryable=True,
    )
    yield row(
        "eviction that began after the worker's own end",
        worker_end(0, until=-30, conditions=disruption("EvictionByEvictionAPI")),
        None,
        0,
    )


def _evictions() -> Iterator[Row]:
    dead = (ended("worker", 137), ended("mover", 143))
    own = {
        "disk: EmptyDir": 'Usage of EmptyDir volume "workspace" exceeds the limit "1Gi". ',
        "ephemeral-storage limit: pod": "Pod ephemeral local storage usage exceeds the total limit "
        "of containers 1Gi. ",
        "ephemeral-storage limit: container": "Container worker exceeded its local ephemeral "
        'storage limit "1Gi". ',
    }
    for name, message in own.items():
        yield Row(
            name=f"Evicted ({name})",
            phase="ended",
            outcome="stopped",
            exit=137,
            code="disk",
            fault=_APP,
            retryable=False,
            sent={"pod": pod(*dead, phase="Failed", reason="Evicted", message=message)},
        )
    early = pod(
        waiting("worker"),
        waiting("mover"),
        phase="Failed",
        reason="Evicted",
        message=own["disk: EmptyDir"],
    )
    yield Row(
        name="Evicted (disk) before the worker",
        sent={"pod": early},
        phase="ended",
        code="input-too-large",
        fault=_INPUT,
        retryable=False,
    )
    for name in ("memory", "ephemeral-storage", "inodes", "pids"):
        message = f"The node was low on resource: {name}. Threshold quantity: 1, available: 0. "
        over = pod(*dead, phase="Failed", reason="Evicted", message=message)
        yield Row(
            name=f"Evicted (node's {name})",
            sent={"pod": over},
            phase="ended",
            outcome="stopped",
            exit=137,
            code="disrupted",
            fault=_PLATFORM,
            retryable=True,
        )
        before = pod(
            waiting("worker"), waiting("mover"), phase="Failed", reason="Evicted", message=message
        )
        yield Row(
            name=f"Evicted (node's {name}) before the worker",
            sent={"pod": before},
            phase="taken",
            code="disrupted",
            fault=_PLATFORM,
            retryable=True,
        )


def _disruptions() -> Iterator[Row]:
    for reason in (
        "PreemptionByScheduler",
        "DeletionByTaintManager",
        "EvictionByEvictionAPI",
        "TerminationByKubelet",
    ):
        marks = disruption(reason)
        ran = worker_end(143, conditions=marks, deleted=-20)
        yield Row(
            name=f"DisruptionTarget {reason}",
            sent={"pod": ran},
            phase="staging-out",
            outcome="stopped",
            exit=143,
            code="disrupted",
            fault=_PLATFORM,
            retryable=True,
        )
        early = pod(waiting("worker"), waiting("mover"), phase="Failed", conditions=marks)
        yield Row(
            name=f"DisruptionTarget {reason} before the worker",
            sent={"pod": early},
            phase="taken",
            code="disrupted",
            fault=_PLATFORM,
            retryable=True,
        )
        said = '{"at": "x", "what": "terminated", "message": "before"}\n'
        staging = pod(
            ended("worker", 143),
            ended("mover", 143, message=said),
            phase="Failed",
            conditions=marks,
        )
        yield Row(
            name=f"DisruptionTarget {reason} while staging in",
            sent={"pod": staging},
            phase="taken",
            code="disrupted",
            fault=_PLATFORM,
            retryable=True,
        )
    gone = pod(
        waiting("worker"),
        waiting("mover"),
        phase="Failed",
        conditions=disruption("DeletionByPodGC"),
    )
    yield Row(
        name="DisruptionTarget DeletionByPodGC",
        sent={"pod": gone},
        phase="ended",
        outcome="lost",
        code="lost",
        fault=_PLATFORM,
        retryable=True,
    )
    for reason in (
        "UnexpectedAdmissionError",
        "NodeAffinity",
        "NodeShutdown",
        "OutOfcpu",
        "OutOfnvidia.com/gpu",
    ):
        yield Row(
            name=f"{reason}",
            sent={"pod": rejected(reason, "Allocate failed")},
            phase="taken",
            code="disrupted",
            fault=_PLATFORM,
            retryable=True,
        )
    away = pod(
        running("worker"), running("mover", started=True), reason="NodeLost", phase="Unknown"
    )
    yield Row(
        name="NodeLost, not yet given up",
        sent={"pod": away},
        phase="running",
        code="node-silent",
        fault=_PLATFORM,
        retryable=True,
    )
    lost = pod(
        running("worker"),
        running("mover", started=True),
        deleted=-100,
        conditions=disruption("DeletionByTaintManager", -100),
    )
    yield Row(
        name="NodeLost",
        sent={"pod": lost},
        phase="ended",
        outcome="lost",
        code="lost",
        fault=_PLATFORM,
        retryable=True,
    )
    unknown = pod(
        ended("worker", 137, "ContainerStatusUnknown"), ended("mover", 137), phase="Failed"
    )
    yield Row(
        name="ContainerStatusUnknown",
        sent={"pod": unknown},
        phase="ended",
        outcome="lost",
        code="lost",
        fault=_PLATFORM,
        retryable=True,
    )
    yield Row(
        name="pod deleted by hand before it had a node",
        phase="taken",
        code="disrupted",
        sent={"pod": pod(phase="Pending", node="", deleted=-1)},
        fault=_PLATFORM,
        retryable=True,
    )
    backoff = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
    yield Row(
        name="pod deleted by hand, and gone",
        sent={"job": job(conditions=[backoff], failed=1)},
        phase="ended",
        outcome="lost",
        code="lost",
        fault=_PLATFORM,
        retryable=True,
    )
    late = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    yield Row(
        name="DeadlineExceeded (job) without a pod",
        sent={"job": job(conditions=[late])},
        phase="ended",
        code="start-timeout",
        fault=_PLATFORM,
        retryable=True,
    )


def _images() -> Iterator[Row]:
    def row(name: str, sent: Any, phase: str, code: str, **more: Any) -> Row:
        return Row(
            name=name,
            sent=sent if "pod" in sent else {"pod": sent},
            phase=phase,
            code=code,
            fault=_PLATFORM,
            **{"retryable": False, **more},
        )

    yield row("InvalidImageName", held("InvalidImageName"), "ended", "image-not-found")
    yield row("ErrImageNeverPull", held("ErrImageNeverPull"), "ended", "image-not-found")
    missing = _PULL + "r/x@sha256:404401: not found"
    yield row("ErrImagePull 404", held("ErrImagePull", missing), "ended", "image-not-found")
    refusals = {
        "401": (
            "unexpected status from HEAD request to http://r/v2/x: 401 Unauthorized",
            "image-forbidden",
            False,
        ),
        "x509": (
            "tls: failed to verify certificate: x509: unknown authority",
            "image-unavailable",
            True,
        ),
        "429 toomanyrequests": (
            "unexpected status from HEAD request: 429 Too Many Requests",
            "image-unavailable",
            True,
        ),
        "without a cause": ("dial tcp: connection refused", "image-unavailable", True),
    }
    for name, (message, code, again) in refusals.items():
        for reason in ("ErrImagePull", "ImagePullBackOff"):
            early = held(reason, _PULL + message, since=-60)
            yield row(f"{reason} {name}", early, "waiting", code, retryable=again)
            yield row(
                f"{reason} {name} for too long",
                held(reason, _PULL + message),
                "ended",
                code,
                retryable=again,
            )
    told = {
        "pod": held("ImagePullBackOff", 'Back-off pulling image "r/not-found"', since=-60),
        "events": [event("Pod", "Failed", f"Failed to pull image: {missing}")],
    }
    yield row("ImagePullBackOff whose cause is an event", told, "ended", "image-not-found")
    busy = pod(
        waiting("worker", "ErrImagePull", _PULL + refusals["x509"][0]),
        running("mover"),
        phase="Pending",
        since=-60,
    )
    yield row(
        "ErrImagePull while the mover works",
        busy,
        "staging-in",
        "image-unavailable",
        retryable=True,
    )
    unset = held("CreateContainerConfigError", 'secret "ls-x-1" not found', since=-60)
    yield row("CreateContainerConfigError (missing secret)", unset, "waiting", "backend-refused")
    keyless = held("CreateContainerConfigError", "couldn't find key A in Secret n/ls-x-1")
    yield row("CreateContainerConfigError (missing key)", keyless, "ended", "backend-refused")
    for reason in ("CreateContainerError", "RunContainerError"):
        yield row(reason, held(reason, "failed to reserve name"), "ended", "backend-refused")
    starts = {
        "StartError exec not found": (
            'exec: "x": executable file not found in $PATH',
            "command-not-found",
        ),
        "StartError permission": ('exec: "/x": permission denied', "command-not-executable"),
        "exec format error (wrong architecture)": (
            "exec /x: exec format error",
            "command-not-executable",
        ),
    }
    for name, (message, code) in starts.items():
        unstarted = pod(ended("worker", 128, "StartError", message), running("mover"))
        yield Row(
            name=name,
            sent={"pod": unstarted},
            phase="ended",
            code=code,
            fault=_APP,
            retryable=False,
        )
    other = pod(ended("worker", 128, "ContainerCannotRun", "OCI runtime error"), running("mover"))
    yield row("ContainerCannotRun", other, "ended", "backend-refused")


def _beginnings() -> Iterator[Row]:
    def row(name: str, sent: Any, phase: str, code: str | None, **more: Any) -> Row:
        known = {"fault": _PLATFORM, "retryable": True} if code else {}
        return Row(name=name, sent=sent, phase=phase, code=code, **{**known, **more})

    failed = pod(
        waiting("worker"),
        waiting("mover"),
        install=ended("install", 125),
        phase="Failed",
        conditions=({"type": "Initialized", "status": "False"},),
    )
    failed["status"]["phase"] = "Pending"
    yield row("init container failed", {"pod": failed}, "ended", "internal")
    staged = pod(ended("worker", 143), ended("mover", 0), phase="Failed")
    yield row("input download failed", {"pod": staged}, "ended", "input-unavailable")
    reporting = pod(ended("worker", 143), running("mover"))
    yield row("input download failed, being reported", {"pod": reporting}, "staging-in", None)
    allowed = {
        "pod": pod(ended("worker", 143), ended("mover", 0), phase="Failed"),
        "wasAllowed": True,
    }
    yield row(
        "worker failed with 143, word to start remembered",
        allowed,
        "ended",
        "signal",
        outcome="exited",
        exit=143,
        fault=_APP,
        retryable=False,
    )
    gone = pod(running("worker"), ended("mover", 2))
    yield row("mover failed", {"pod": gone}, "ended", "internal")
    nodes = "0/3 nodes are available: "
    for name, message, says in (
        ("Insufficient nvidia.com/gpu", "3 Insufficient nvidia.com/gpu.", "enough nvidia.com/gpu"),
        ("taint", "3 node(s) had untolerated taint {gpu: true}.", "do not take it"),
        ("affinity", "3 node(s) didn't match Pod's node affinity/selector.", "of the kind"),
    ):
        yield row(
            f"Unschedulable ({name})",
            {"pod": unschedulable(nodes + message)},
            "waiting",
            "unschedulable",
            says=says,
        )
    unbound = nodes + "pod has unbound immediate PersistentVolumeClaims."
    yield row("Unschedulable (PVC unbound)", {"pod": unschedulable(unbound)}, "waiting", "volume")
    creating = pod(waiting("worker"), waiting("mover"), phase="Pending")
    for name, message in (
        ("", "MountVolume.SetUp failed"),
        (" (secret)", 'secret "ls-x-1" not found'),
    ):
        told = {"pod": creating, "events": [event("Pod", "FailedMount", message)]}
        yield row(f"FailedMount{name}", told, "waiting", "volume")
    stale = {"pod": creating, "events": [event("Pod", "FailedMount", "x", seen=-600)]}
    yield row("FailedMount that is over", stale, "waiting", "starting")
    quota = 'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3'
    yield row("FailedCreate (quota)", not_created(quota), "waiting", "quota", fault=_POLICY)
    for name, message in (
        ("PSA violation", 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'),
        ("webhook denied", 'admission webhook "a.b" denied the request: no'),
        (
            "namespace terminating",
            "unable to create new content in namespace n because it is being terminated",
        ),
    ):
        yield row(
            f"FailedCreate ({name})",
            not_created(message),
            "ended",
            "backend-refused",
            retryable=False,
        )
    broken = 'Internal error occurred: failed calling webhook "a.b": timeout'
    yield row("FailedCreate (webhook silent)", not_created(broken), "waiting", "starting")
    queued = {"job": {**job(), "spec": {"suspend": True}}}
    yield row("suspended by a queue", queued, "waiting", "suspended")
    yield row("no pod yet", {"job": job()}, "waiting", "starting")
    yield row("staging in", {"pod": pod(running("worker"), running("mover"))}, "staging-in", None)
    runs = {"pod": pod(running("worker"), running("mover", started=True))}
    yield row("running", runs, "running", None)


ROWS = (*_exits(), *_evictions(), *_disruptions(), *_images(), *_beginnings())
