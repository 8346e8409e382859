"""What a provider offers."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import attrs

GIB = 1024**3
#: most members an archive may hold, and most bytes they may unpack to per packed byte
ARCHIVE_MEMBERS = 100_000
ARCHIVE_RATIO = 100


class InputKind(StrEnum):
    """What an input is: one file, a directory sent as an archive, or declared variables."""

    FILE = "file"
    ARCHIVE = "archive"
    ENV = "env"


class OutputKind(StrEnum):
    """What an output is: one file, or a directory that is packed into an archive."""

    FILE = "file"
    ARCHIVE = "archive"


class Network(StrEnum):
    """What a worker reaches: the storage alone, or nothing while it runs."""

    STORAGE = "storage"
    CLOSED = "closed"


class ReleaseRule(StrEnum):
    """Who decides that outputs become readable."""

    AUTO = "auto"
    CHECKS = "checks"
    REVIEW = "review"


class LogRule(StrEnum):
    """When the consumer may read the log."""

    LIVE = "live"
    AFTER_RELEASE = "after-release"
    NONE = "none"


@attrs.frozen(kw_only=True)
class Input:
    """A named input. Sizes are bytes; ``max_unpacked`` bounds an archive's content."""

    name: str
    kind: InputKind = InputKind.FILE
    path: str | None = None
    max_size: int = GIB
    max_unpacked: int = 10 * GIB
    required: bool = True
    names: tuple[str, ...] = ()
    description: str = ""
    media_type: str | None = None


@attrs.frozen(kw_only=True)
class Output:
    """A named output. ``max_size`` is bytes, of the packed archive where it is one."""

    name: str
    kind: OutputKind = OutputKind.FILE
    path: str | None = None
    max_size: int = GIB
    required: bool = True
    description: str = ""
    media_type: str | None = None


@attrs.frozen(kw_only=True)
class Dataset:
    """Provider-side data, mounted read-only. ``source`` is the backend's word for where it is."""

    name: str
    source: str
    path: str | None = None
    description: str = ""


@attrs.frozen(kw_only=True)
class Resources:
    """What a worker may use: CPUs, bytes of memory and scratch, GPUs, and time."""

    cpu: float = 1.0
    memory: int = GIB
    gpu: int = 0
    disk: int = 10 * GIB
    walltime: timedelta = timedelta(hours=1)


@attrs.frozen(kw_only=True)
class Release:
    """The policy of release: of outputs and of the log."""

    outputs: ReleaseRule = ReleaseRule.AUTO
    logs: LogRule = LogRule.LIVE


@attrs.frozen(kw_only=True)
class Workflow:
    """A workflow, versioned, immutable once a job used it.

    ``directory`` is the folder beside a host workflow's definition, mounted at ``/workflow``.
    ``parameters`` is a JSON Schema (2020-12) of an object; an empty mapping allows none.
    """

    id: str
    title: str = ""
    version: str = "1"
    description: str = ""
    image: str | None = None
    command: tuple[str, ...] = ()
    network: Network = Network.STORAGE
    restartable: bool = False
    parameters: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    inputs: Mapping[str, Input] = attrs.field(factory=dict[str, Input])
    outputs: Mapping[str, Output] = attrs.field(factory=dict[str, Output])
    datasets: Mapping[str, Dataset] = attrs.field(factory=dict[str, Dataset])
    resources: Resources = Resources()
    max_resources: Resources | None = None
    release: Release = Release()
    backend: str | None = None
    directory: Path | None = None

    @property
    def is_closed(self) -> bool:
        """Whether a worker has no network at all: by declaration, or because it sees a dataset."""
        return self.network is Network.CLOSED or bool(self.datasets)
