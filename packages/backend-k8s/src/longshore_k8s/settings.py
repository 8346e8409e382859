"""``[backends.NAME]`` with ``plugin = "kubernetes"``: a provider's cluster. No consumer sees it."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import attrs
from attrs.validators import and_, ge, gt, le, optional

from longshore.errors import SettingsInvalid
from longshore.models.workflow import GIB
from longshore.settings import Size, build
from longshore_k8s.words import (
    is_address_range,
    is_host_and_port,
    is_image,
    is_label,
    is_labels,
    is_name,
    is_resource,
    is_value,
    mapped,
    whole_seconds,
)

T = TypeVar("T")
_PORTS = 65535
#: what a promise to tenants asks of a user id, and what the kernel allows
_FIRST_USER, _LAST_USER = 10_000, 2**31 - 1


class PullPolicy(StrEnum):
    """When a node asks the registry: images are named by digest, so that what it has is right."""

    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"
    NEVER = "Never"


class Workspace(StrEnum):
    """Where an attempt's files lie: on the node, or in a claim that outlives the pod."""

    EMPTY_DIR = "empty-dir"
    CLAIM = "claim"


class DnsPolicy(StrEnum):
    """Whom pods ask for names: the cluster's DNS, or the node's."""

    CLUSTER = "ClusterFirst"
    NODE = "Default"


class Operator(StrEnum):
    """How a toleration compares a taint."""

    EQUAL = "Equal"
    EXISTS = "Exists"


class Effect(StrEnum):
    """What a taint does; a toleration without effect tolerates each."""

    ANY = ""
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Protocol(StrEnum):
    """Of a port."""

    TCP = "TCP"
    UDP = "UDP"


@attrs.frozen(kw_only=True)
class Toleration:
    """``tolerations = [{key = "gpu", operator = "Exists", effect = "NoSchedule"}]``."""

    key: str = attrs.field(default="", validator=is_label)
    operator: Operator = Operator.EQUAL
    value: str = attrs.field(default="", validator=is_value)
    effect: Effect = Effect.ANY

    @property
    def mistake(self) -> str | None:
        """What does not belong together, so that an API server would refuse it."""
        if not self.key and self.operator is Operator.EQUAL:
            return "'key' is missing, which only operator = \"Exists\" may do without"
        if self.value and self.operator is Operator.EXISTS:
            return "'value' has no meaning with operator = \"Exists\""
        return None


@attrs.frozen(kw_only=True)
class Egress:
    """Where pods may connect to: ``cidrs``, or pods by labels, at ``ports``.

    ``namespace_labels`` alone mean every pod there; ``pod_labels`` alone pods of the job's own
    namespace. A rule names one or the other, not both kinds.
    """

    cidrs: tuple[str, ...] = attrs.field(default=(), validator=is_address_range)
    namespace_labels: Mapping[str, str] = attrs.field(
        factory=dict[str, str], validator=is_labels, converter=mapped
    )
    pod_labels: Mapping[str, str] = attrs.field(
        factory=dict[str, str], validator=is_labels, converter=mapped
    )
    ports: tuple[int, ...] = ()
    protocol: Protocol = Protocol.TCP

    @property
    def mistake(self) -> str | None:
        """What does not belong together: nowhere, two kinds of places, or every port."""
        by_labels = bool(self.namespace_labels or self.pod_labels)
        if by_labels == bool(self.cidrs):
            return "name either 'cidrs' or labels"
        if not self.ports or not all(0 < port <= _PORTS for port in self.ports):
            return "'ports' must name one or more ports"
        return None


def _built(kind: type[T], tables: Iterable[tuple[str, Any]]) -> list[T]:
    """Return tables of a provider's as ``kind``, each with its place; all mistakes are told.

    Raises:
        ValueError: with all of them.
    """
    built: list[T] = []
    wrong: list[str] = []
    for where, table in tables:
        if isinstance(table, kind):
            built.append(table)
        elif not isinstance(table, Mapping):
            wrong.append(f"{where}: must be a table")
        else:
            try:
                built.append(build(kind, table, where))
            except SettingsInvalid as exc:
                wrong += map(str, exc.problems)
            else:
                mistake = getattr(built[-1], "mistake", None)
                wrong += [f"{where}: {mistake}"] if mistake else []
    if wrong:
        raise ValueError("; ".join(wrong))
    return built


def _numbered(rows: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    return ((str(number), row) for number, row in enumerate(rows))


def _tolerations(rows: Iterable[Any]) -> tuple[Toleration, ...]:
    return tuple(_built(Toleration, _numbered(rows)))


def _egress(rows: Iterable[Any]) -> tuple[Egress, ...]:
    return tuple(_built(Egress, _numbered(rows)))


@attrs.frozen(kw_only=True)
class GpuKind:
    """A kind of GPU: its resource name (MIG slices have their own), and where its machines are.

    ``node_selector`` and ``tolerations`` are added to those of all jobs.
    """

    resource: str | None = attrs.field(default=None, validator=optional(is_resource))
    node_selector: Mapping[str, str] = attrs.field(
        factory=dict[str, str], validator=is_labels, converter=mapped
    )
    tolerations: tuple[Toleration, ...] = attrs.field(default=(), converter=_tolerations)


def _kinds(table: Any) -> Mapping[str, GpuKind]:
    kinds = mapped(table)
    return mapped(dict(zip(kinds, _built(GpuKind, kinds.items()), strict=True)))


_CLUSTER_DNS = tuple(
    Egress(
        namespace_labels={"kubernetes.io/metadata.name": "kube-system"},
        pod_labels={"k8s-app": "kube-dns"},
        ports=(53,),
        protocol=protocol,
    )
    for protocol in Protocol
)


@attrs.frozen(kw_only=True)
class KubernetesSettings:
    """Which cluster, and how its jobs look.

    ``kubeconfig`` and ``context`` say where the cluster is (absent: the one that the service runs
    in). Jobs run in ``namespace``, or in one of each tenant's own whose name begins with it where
    ``namespace_per_tenant``. ``service_account`` (absent: the namespace's default) never has its
    token mounted; ``pull_secrets`` are names of the namespace's secrets for registries.

    ``mover_image`` has launcher and mover; ``mover_cpu``, ``mover_memory`` and ``mover_scratch``
    are what one attempt's mover gets besides the worker's resources, ``mover_scratch`` for parts
    too large for memory. ``ca_file`` are certificates (PEM) that it trusts instead of its image's.
    ``pull_policy`` is of all images.

    ``run_as_user`` is the user of images that name none, or root. ``writable_root`` lets workers
    write to their image's files, bounded by the size of the workspace.

    ``node_selector`` and ``tolerations`` are of all jobs. A job with GPUs asks for
    ``gpu_resource``; ``gpu_kinds`` are more kinds by name, ``gpu_kind`` the one that jobs get which
    ask for none. ``runtime_class``, ``priority_class``, ``queue`` (Kueue's) are names.

    ``workspace = "claim"`` keeps an attempt's files in a volume claim of ``storage_class``.
    ``storage_egress`` and ``dns_egress`` are where staging may connect to, and ``closing_targets``
    are ``HOST:PORT`` which the closing of a network is proven with, besides the storage;
    ``closing`` is how long that may take. ``outage`` is how long the storage may be away, and
    ``node_lost`` how long a node, until its attempts are taken for lost.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str = attrs.field(default="longshore", validator=is_name)
    namespace_per_tenant: bool = False
    service_account: str | None = attrs.field(default=None, validator=optional(is_name))
    pull_secrets: tuple[str, ...] = attrs.field(
        default=(), validator=attrs.validators.deep_iterable(is_name)
    )
    mover_image: str = attrs.field(default="longshore-mover:0.1.0", validator=is_image)
    mover_cpu: float = attrs.field(default=0.5, validator=gt(0))
    mover_memory: Size = attrs.field(default=Size(GIB // 2), validator=gt(Size(0)))
    mover_scratch: Size = attrs.field(default=Size(GIB), validator=gt(Size(0)))
    ca_file: Path | None = None
    pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    run_as_user: int = attrs.field(default=10_001, validator=and_(ge(_FIRST_USER), le(_LAST_USER)))
    writable_root: bool = False
    node_selector: Mapping[str, str] = attrs.field(
        factory=dict[str, str], validator=is_labels, converter=mapped
    )
    tolerations: tuple[Toleration, ...] = attrs.field(default=(), converter=_tolerations)
    gpu_resource: str = attrs.field(default="nvidia.com/gpu", validator=is_resource)
    gpu_kinds: Mapping[str, GpuKind] = attrs.field(factory=dict[str, GpuKind], converter=_kinds)
    gpu_kind: str | None = None
    runtime_class: str | None = attrs.field(default=None, validator=optional(is_name))
    priority_class: str | None = attrs.field(default=None, validator=optional(is_name))
    queue: str | None = attrs.field(default=None, validator=optional(is_name))
    dns_policy: DnsPolicy = DnsPolicy.CLUSTER
    workspace: Workspace = Workspace.EMPTY_DIR
    storage_class: str | None = attrs.field(default=None, validator=optional(is_name))
    storage_egress: tuple[Egress, ...] = attrs.field(default=(), converter=_egress)
    dns_egress: tuple[Egress, ...] = attrs.field(default=_CLUSTER_DNS, converter=_egress)
    closing_targets: tuple[str, ...] = attrs.field(default=(), validator=is_host_and_port)
    closing: timedelta = attrs.field(default=timedelta(minutes=2), validator=whole_seconds)
    outage: timedelta = attrs.field(default=timedelta(minutes=60), validator=whole_seconds)
    node_lost: timedelta = attrs.field(default=timedelta(minutes=3), validator=whole_seconds)

    def __attrs_post_init__(self) -> None:
        """Check what belongs together.

        Raises:
            ValueError: a kind of GPU that is not there, or a storage class without a claim.
        """
        if self.gpu_kind is not None and self.gpu_kind not in self.gpu_kinds:
            raise ValueError(f"'gpu_kind' {self.gpu_kind!r} is none of 'gpu_kinds'")
        if self.storage_class is not None and self.workspace is not Workspace.CLAIM:
            raise ValueError("'storage_class' belongs to workspace = \"claim\"")

    @property
    def gpu(self) -> GpuKind:
        """The kind of GPU of jobs that ask for no other."""
        return self.gpu_kinds[self.gpu_kind] if self.gpu_kind else GpuKind()
