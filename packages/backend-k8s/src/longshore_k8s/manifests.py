"""The objects of one attempt: its Job, then its Secret, and its volume claim. Pure.

The Job is made first and owns the others, so that they go with it; its pod waits for them.
"""

from longshore.codec import to_json
from longshore.errors import IsolationUnavailable, WorkflowRefused
from longshore.models.run import JobSpec, RunRef
from longshore.models.workflow import Network
from longshore.transfer import TransferPlan
from longshore_k8s import names, places
from longshore_k8s.attempt import AttemptFacts, SecretFacts
from longshore_k8s.places import Json
from longshore_k8s.pod import annotations, grace, pod_template
from longshore_k8s.settings import KubernetesSettings, Workspace

#: bytes that an API server takes for the values of a Secret
SECRET_SIZE = 1024**2
#: what answered while the network was open proves something when there are so many
_TARGETS = 2
_QUEUE = "kueue.x-k8s.io/queue-name"


def job(ref: RunRef, spec: JobSpec, settings: KubernetesSettings, facts: AttemptFacts) -> Json:
    """Return the attempt's Job: one pod, once; another attempt is the supervisor's decision alone.

    Raises:
        WorkflowRefused: this kind of workflow does not run here.
    """
    meta = _metadata(ref, facts)
    queue = {"suspend": True} if settings.queue else {}
    if settings.queue:
        meta["labels"] |= {_QUEUE: settings.queue}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**meta, "annotations": annotations(ref, spec)},
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 0,
            **queue,
            "template": pod_template(ref, spec, settings, facts),
        },
    }


def secret(
    ref: RunRef,
    spec: JobSpec,
    plan: TransferPlan,
    settings: KubernetesSettings,
    facts: AttemptFacts,
    given: SecretFacts,
) -> Json:
    """Return the attempt's Secret: the mover's order, and a consumer's values for the worker.

    Raises:
        WorkflowRefused: it would be larger than a Secret may be.
        IsolationUnavailable: nothing could prove that a closed job's network is closed.
    """
    values = {
        **spec.environment,
        **_plan(ref, spec, plan, settings, given),
        places.PARAMETERS_KEY: spec.parameters_json,
    }
    if given.authorities is not None:
        values[places.AUTHORITIES_KEY] = given.authorities
    size = sum(len(value.encode()) for value in values.values())
    if size > SECRET_SIZE:
        raise WorkflowRefused(
            f"plan and values of the job are {size} bytes; a Secret holds {SECRET_SIZE}",
            hint="declare fewer or smaller outputs, or send less as variables",
        )
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _owned(ref, facts, given.owner),
        "type": "Opaque",
        "stringData": values,
    }


def renewal(
    ref: RunRef,
    spec: JobSpec,
    plan: TransferPlan,
    settings: KubernetesSettings,
    given: SecretFacts,
) -> Json:
    """Return the merge patch of a Secret that replaces the plan and nothing else.

    Raises:
        IsolationUnavailable: nothing could prove that a closed job's network is closed.
    """
    return {"stringData": _plan(ref, spec, plan, settings, given)}


def claim(
    ref: RunRef, spec: JobSpec, settings: KubernetesSettings, facts: AttemptFacts, owner: str
) -> Json | None:
    """Return the attempt's volume claim, where the settings keep its files in one."""
    if settings.workspace is not Workspace.CLAIM:
        return None
    named = {"storageClassName": settings.storage_class} if settings.storage_class else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _owned(ref, facts, owner),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            **named,
            "resources": {"requests": {"storage": str(places.workspace_size(spec))}},
        },
    }


def _metadata(ref: RunRef, facts: AttemptFacts) -> Json:
    return {
        "name": ref.name,
        "namespace": facts.namespace,
        "labels": names.labels(ref, facts.instance),
    }


def _owned(ref: RunRef, facts: AttemptFacts, owner: str) -> Json:
    return {
        **_metadata(ref, facts),
        "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": ref.name, "uid": owner}
        ],
    }


def _plan(
    ref: RunRef,
    spec: JobSpec,
    plan: TransferPlan,
    settings: KubernetesSettings,
    given: SecretFacts,
) -> dict[str, str]:
    """Return the file PLAN of the mover, by its key."""
    closed = given.closed if spec.network is Network.CLOSED else ()
    if spec.network is Network.CLOSED and len(closed) < _TARGETS:
        raise IsolationUnavailable(
            f"{len(closed)} targets cannot prove that a network is closed",
            hint="name two or more as closing_targets",
        )
    where = places.place_worker(spec, ref.name, ("",))  # its command is of no interest here
    order = {
        "name": ref.name,
        "plan": plan,
        "directory": places.ROOT,
        "state": places.STATE,
        "inputs": spec.inputs,
        "outputs": spec.outputs,
        "input_places": dict(where.inputs),
        "output_places": dict(where.outputs),
        "key": given.key,
        "log_cap": spec.log_cap,
        "outage": settings.outage,
        "grace": grace(spec),
        "closed": closed,
        "closing": settings.closing,
    }
    return {places.PLAN_KEY: to_json(order)}
