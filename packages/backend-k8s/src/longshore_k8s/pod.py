"""The pod of one attempt: what is installed, the worker, and the mover beside it. Pure.

Only a workflow, the provider's settings and bounded resources change it; a consumer's values are
in the attempt's Secret alone. Every pod satisfies Pod Security *restricted*.
"""

import math
from collections.abc import Mapping
from datetime import timedelta

from longshore.errors import WorkflowRefused
from longshore.models.run import JobSpec, RunRef
from longshore.models.workflow import Network
from longshore_k8s import names, places
from longshore_k8s.attempt import AttemptFacts
from longshore_k8s.places import Json, Places
from longshore_k8s.settings import Effect, GpuKind, KubernetesSettings, Toleration, Workspace

#: what a pod gets on top of its worker's grace, for its results
MOVER_GRACE = timedelta(seconds=30)
#: what a closed job may wait for a supervisor that is away when its worker ends
_CLOSED = timedelta(hours=24)
#: bytes of a container's output that a node keeps
_NODE_LOGS = 64 * 1024**2
#: there as soon as the worker may have started: a hint, on which nothing but a display depends
_STARTED = ["grep", "-q", '"go":true', f"{places.STATE}/mover.json"]
_FOR_EVER = 2**31 - 1
_FIRST_USER = 1
_AWAY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def grace(spec: JobSpec) -> timedelta:
    """Return what a pod gets between the request to end and its end."""
    return spec.grace + MOVER_GRACE


def active_deadline(spec: JobSpec, settings: KubernetesSettings, facts: AttemptFacts) -> int:
    """Return the seconds after which the cluster ends a pod that nobody ended: the last net."""
    limits = facts.limits
    total = limits.start + limits.stage_in + settings.closing + spec.resources.walltime
    total += grace(spec) + limits.stage_out + 2 * settings.outage
    if spec.network is Network.CLOSED:
        total += _CLOSED
    return math.ceil(total.total_seconds())


def pod_template(
    ref: RunRef, spec: JobSpec, settings: KubernetesSettings, facts: AttemptFacts
) -> Json:
    """Return the template of the attempt's only pod.

    Raises:
        WorkflowRefused: the workflow has no image, asks for a GPU that the settings lack, or its
            places cannot be had in a pod.
    """
    if spec.image is None:
        raise WorkflowRefused(
            "a workflow without an image never runs on a cluster", hint="name its image by digest"
        )
    where = places.place_worker(spec, ref.name, facts.entrypoint)
    gpu = _gpu(spec, settings, facts)
    return {
        "metadata": {
            "labels": {**names.labels(ref, facts.instance), names.NETWORK: names.OPEN},
            "annotations": annotations(ref, spec),
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": active_deadline(spec, settings, facts),
            "terminationGracePeriodSeconds": math.ceil(grace(spec).total_seconds()),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "dnsPolicy": settings.dns_policy.value,
            "securityContext": _identity(settings, facts),
            **_placement(settings, gpu),
            "initContainers": [_install(where, settings)],
            "containers": [
                _worker(ref, spec, settings, where, gpu),
                _mover(settings),
            ],
            "volumes": _volumes(ref, spec, settings, where),
        },
    }


def annotations(ref: RunRef, spec: JobSpec) -> dict[str, str]:
    """Return whose it is, for people who look at the cluster."""
    return {names.TENANT: ref.tenant, names.WORKFLOW: spec.workflow}


def _identity(settings: KubernetesSettings, facts: AttemptFacts) -> Json:
    user = facts.user
    if user is None or user < _FIRST_USER:  # an image's root is nobody's user here
        user = settings.run_as_user
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _placement(settings: KubernetesSettings, gpu: GpuKind | None) -> Json:
    kind = gpu or GpuKind()
    selector = {**settings.node_selector, **kind.node_selector}
    tolerations = [_toleration(one) for one in (*settings.tolerations, *kind.tolerations)]
    given: Json = {
        "nodeSelector": selector,
        "tolerations": [*tolerations, *_patience(settings)],
        "serviceAccountName": settings.service_account,
        "imagePullSecrets": [{"name": one} for one in settings.pull_secrets],
        "runtimeClassName": settings.runtime_class,
        "priorityClassName": settings.priority_class,
    }
    return {key: value for key, value in given.items() if value}


def _toleration(one: Toleration) -> Json:
    given = {
        "key": one.key,
        "operator": one.operator.value,
        "value": one.value,
        "effect": one.effect.value,
    }
    return {key: value for key, value in given.items() if value}


def _patience(settings: KubernetesSettings) -> list[Json]:
    """Return how long a node may be away; the cluster's own five minutes are longer than ours."""
    seconds = math.ceil(settings.node_lost.total_seconds())
    effect = Effect.NO_EXECUTE.value
    return [
        {"key": key, "operator": "Exists", "effect": effect, "tolerationSeconds": seconds}
        for key in _AWAY
    ]


def _gpu(spec: JobSpec, settings: KubernetesSettings, facts: AttemptFacts) -> GpuKind | None:
    if not spec.resources.gpu:
        return None
    if facts.gpu_kind is None:
        return settings.gpu
    if facts.gpu_kind not in settings.gpu_kinds:
        raise WorkflowRefused(
            f"there is no GPU of the kind {facts.gpu_kind!r} here",
            hint=f"kinds are {', '.join(settings.gpu_kinds) or 'not named in the settings'}",
        )
    return settings.gpu_kinds[facts.gpu_kind]


def _container(
    name: str, image: str, settings: KubernetesSettings, *, writable_root: bool = False
) -> Json:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.pull_policy.value,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": not writable_root,
        },
    }


def _equal(amounts: Mapping[str, str]) -> Json:
    """Return resources that are what they are at most: nothing is lent that may be taken back."""
    return {"requests": dict(amounts), "limits": dict(amounts)}


def _millis(cpu: float) -> str:
    return f"{math.ceil(round(cpu * 1000, 6))}m"


def _mover_amounts(settings: KubernetesSettings) -> dict[str, str]:
    return {"cpu": _millis(settings.mover_cpu), "memory": str(settings.mover_memory)}


def _install(where: Places, settings: KubernetesSettings) -> Json:
    return {
        **_container(names.INSTALL, settings.mover_image, settings),
        "command": ["launcher", "install", places.BASE, *map(escape, where.directories)],
        "resources": _equal(_mover_amounts(settings)),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": places.WORKSPACE, "mountPath": places.BASE}],
    }


def _worker(
    ref: RunRef,
    spec: JobSpec,
    settings: KubernetesSettings,
    where: Places,
    gpu: GpuKind | None,
) -> Json:
    amounts = {"cpu": _millis(spec.resources.cpu), "memory": str(spec.resources.memory)}
    if gpu is not None:
        amounts[gpu.resource or settings.gpu_resource] = str(spec.resources.gpu)
    if settings.writable_root:  # else nothing but volumes with a size can be filled
        amounts["ephemeral-storage"] = str(places.workspace_size(spec) + _NODE_LOGS)
    return {
        **_container(
            names.WORKER, spec.image or "", settings, writable_root=settings.writable_root
        ),
        "command": [*_launch(ref, spec), *map(escape, where.argv)],
        "env": _environment(ref, spec, where, has_gpu=gpu is not None),
        "resources": _equal(amounts),
        "volumeMounts": list(where.mounts),
    }


def _launch(ref: RunRef, spec: JobSpec) -> list[str]:
    options = {
        "--dir": places.ROOT,
        "--name": ref.name,
        "--scratch": places.SCRATCH,
        "--walltime": f"{spec.resources.walltime.total_seconds():g}",
        "--grace": f"{spec.grace.total_seconds():g}",
        "--log-cap": str(spec.log_cap),
        "--disk": str(places.workspace_size(spec)),
    }
    words = [word for option in options.items() for word in option]
    return [places.LAUNCHER, "run", *words, "--"]


def _environment(ref: RunRef, spec: JobSpec, where: Places, *, has_gpu: bool) -> list[Json]:
    """Return the worker's variables: a consumer's come from the Secret, one by one.

    All of the Secret at once would make a variable of the plan as well.
    """
    given: list[Json] = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": name}}}
        for name in sorted(spec.environment)
    ]
    ours = dict(where.variables)
    if not has_gpu:
        # images made for GPUs ask for all of them, and some runtimes grant that to anybody
        ours["NVIDIA_VISIBLE_DEVICES"] = "void"
    return [*given, *({"name": name, "value": escape(text)} for name, text in ours.items())]


def _mover(settings: KubernetesSettings) -> Json:
    plan = f"{places.PLAN}/{places.PLAN_KEY}"
    trusted = {"name": "SSL_CERT_FILE", "value": f"{places.PLAN}/{places.AUTHORITIES_KEY}"}
    return {
        **_container(names.MOVER, settings.mover_image, settings),
        "command": ["launcher", "keep", "--", "longshore-mover", "serve", plan],
        **({"env": [trusted]} if settings.ca_file else {}),
        "resources": _equal(_mover_amounts(settings)),
        "startupProbe": {
            "exec": {"command": _STARTED},
            "periodSeconds": 1,
            "failureThreshold": _FOR_EVER,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": places.WORKSPACE, "mountPath": places.ROOT, "subPath": "job"},
            {"name": places.MOVER_STATE, "mountPath": places.STATE},
            {"name": places.SECRET, "mountPath": places.PLAN, "readOnly": True},
        ],
    }


def _volumes(ref: RunRef, spec: JobSpec, settings: KubernetesSettings, where: Places) -> list[Json]:
    workspace: Json = {"emptyDir": {"sizeLimit": str(places.workspace_size(spec))}}
    if settings.workspace is Workspace.CLAIM:
        workspace = {"persistentVolumeClaim": {"claimName": ref.name}}
    keys = [places.PLAN_KEY, *([places.AUTHORITIES_KEY] if settings.ca_file else [])]
    return [
        {"name": places.WORKSPACE, **workspace},
        {"name": places.MOVER_STATE, "emptyDir": {"sizeLimit": str(settings.mover_scratch)}},
        {"name": places.SECRET, "secret": places.secret_items(ref.name, *keys)},
        *where.volumes,
    ]


def escape(text: str) -> str:
    """Return ``text`` so that a container gets it as it is: Kubernetes expands ``$(X)``."""
    return text.replace("$", "$$")
