"""What a provider sets for the local backend."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import attrs

from longshore.clock import Clock


class Isolation(StrEnum):
    """What a worker runs in; ``auto`` is the first that works here."""

    AUTO = "auto"
    BUBBLEWRAP = "bubblewrap"
    PODMAN = "podman"
    DOCKER = "docker"
    NONE = "none"


class BackendContext(Protocol):
    """What a backend is opened with."""

    @property
    def state(self) -> Path:
        """A private directory of this backend; it may not exist yet."""
        ...

    @property
    def instance(self) -> str:
        """The random id of this installation."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...


@attrs.frozen(kw_only=True)
class LocalSettings:
    """``[backends.local]``.

    ``slots`` is how many attempts run at once (absent: the CPUs that this process may use).
    ``pids`` bounds a worker's processes. ``visible`` are more paths that a sandboxed worker sees,
    read-only. ``outage`` is how long results are offered to a storage that does not take them.
    ``cgroups = false`` leaves control groups alone.
    """

    isolation: Isolation = Isolation.AUTO
    slots: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    pids: int = attrs.field(default=4096, validator=attrs.validators.ge(1))
    visible: tuple[Path, ...] = ()
    outage: timedelta = timedelta(minutes=60)
    cgroups: bool = True
