"""What is read of Jobs, Pods and Events: a few fields of many, decoded past all others.

Fields that an API server leaves out have its defaults; whatever else it sends is not looked at.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

_EMPTY: tuple[Any, ...] = ()


class Fact(msgspec.Struct, frozen=True, rename="camel", gc=False, kw_only=True):
    """A part of an object, as it was sent."""


class Metadata(Fact, frozen=True):
    """Of every object. ``deletion_timestamp`` is when it is to be gone at the latest."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: Mapping[str, str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None


class Condition(Fact, frozen=True):
    """Of a Job or a Pod; ``status`` is True, False or Unknown."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class Waiting(Fact, frozen=True):
    """A container that was not started."""

    reason: str = ""
    message: str = ""


class Running(Fact, frozen=True):
    """A container that runs."""

    started_at: datetime | None = None


class Terminated(Fact, frozen=True):
    """A container that ended, or could not be started."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None


class ContainerState(Fact, frozen=True):
    """One of three; none is waiting."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class Container(Fact, frozen=True):
    """A container's status. ``started`` is whether its startup probe has succeeded."""

    name: str = ""
    state: ContainerState = ContainerState()
    started: bool | None = None
    container_id: str = msgspec.field(default="", name="containerID")


class PodSpec(Fact, frozen=True):
    """The machine, once there is one, and the seconds until the cluster ends the pod."""

    node_name: str = ""
    active_deadline_seconds: int | None = None


class PodStatus(Fact, frozen=True):
    """What the kubelet and the control plane say."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    start_time: datetime | None = None
    conditions: Sequence[Condition] = _EMPTY
    init_container_statuses: Sequence[Container] = _EMPTY
    container_statuses: Sequence[Container] = _EMPTY


class Pod(Fact, frozen=True):
    """The pod of an attempt."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    def container(self, name: str) -> Container | None:
        """Return the status of a container, if there is one."""
        both = (*self.status.container_statuses, *self.status.init_container_statuses)
        return next((one for one in both if one.name == name), None)

    def condition(self, kind: str) -> Condition | None:
        """Return a condition, if there is one."""
        return next((one for one in self.status.conditions if one.type == kind), None)


class JobSpecFacts(Fact, frozen=True):
    """Of a Job's spec."""

    suspend: bool = False


class JobStatus(Fact, frozen=True):
    """What the Job's controller says."""

    conditions: Sequence[Condition] = _EMPTY
    active: int = 0
    failed: int = 0
    succeeded: int = 0


class Job(Fact, frozen=True):
    """The Job of an attempt."""

    metadata: Metadata = Metadata()
    spec: JobSpecFacts = JobSpecFacts()
    status: JobStatus = JobStatus()


class Involved(Fact, frozen=True):
    """What an event is about."""

    kind: str = ""
    name: str = ""
    uid: str = ""


class Series(Fact, frozen=True):
    """An event that came again."""

    last_observed_time: datetime | None = None


class Event(Fact, frozen=True):
    """A hint of the cluster about a Job or a Pod."""

    metadata: Metadata = Metadata()
    involved_object: Involved = Involved()
    reason: str = ""
    message: str = ""
    event_time: datetime | None = None
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    series: Series | None = None

    @property
    def at(self) -> datetime | None:
        """When it was seen last."""
        again = self.series.last_observed_time if self.series else None
        return again or self.last_timestamp or self.event_time or self.metadata.creation_timestamp

    @property
    def since(self) -> datetime | None:
        """When it was seen first."""
        return self.first_timestamp or self.event_time or self.metadata.creation_timestamp


class Sight(Fact, frozen=True):
    """All that is known of an attempt in the cluster. ``pod`` may be one that is gone by now.

    ``was_allowed`` remembers that an earlier look found the mover's word to start: the cluster
    forgets it with the mover's end.
    """

    job: Job | None = None
    pod: Pod | None = None
    events: Sequence[Event] = _EMPTY
    was_allowed: bool = False
