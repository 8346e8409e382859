"""Run predefined workflows for the holders of a contract, on this machine or next to the data.

The names here are the public surface. They are loaded when they are first used, so that importing
Longshore costs little more than importing its dependencies.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longshore.backends.abc import (
        SupportsCapacity,
        SupportsCheck,
        SupportsProbe,
        WorkflowBackend,
    )
    from longshore.clock import Clock, SystemClock
    from longshore.definitions import load_workflow, parse_workflow
    from longshore.embedded import Embedded, open_embedded
    from longshore.errors import JobFailed, LongshoreError
    from longshore.facade import Longshore
    from longshore.handles import JobHandle, Output
    from longshore.lifecycle import JobState
    from longshore.models import Job, JobEvent, JobRequest, Workflow
    from longshore.service import JobService
    from longshore.storages.abc import StorageBackend
    from longshore.stores.abc import JobQuery, Store

__all__ = [
    "Clock",
    "Embedded",
    "Job",
    "JobEvent",
    "JobFailed",
    "JobHandle",
    "JobQuery",
    "JobRequest",
    "JobService",
    "JobState",
    "Longshore",
    "LongshoreError",
    "Output",
    "StorageBackend",
    "Store",
    "SupportsCapacity",
    "SupportsCheck",
    "SupportsProbe",
    "SystemClock",
    "Workflow",
    "WorkflowBackend",
    "load_workflow",
    "open_embedded",
    "parse_workflow",
]

_HOMES = {
    "longshore.backends.abc": (
        *("SupportsCapacity", "SupportsCheck", "SupportsProbe", "WorkflowBackend"),
    ),
    "longshore.clock": ("Clock", "SystemClock"),
    "longshore.definitions": ("load_workflow", "parse_workflow"),
    "longshore.embedded": ("Embedded", "open_embedded"),
    "longshore.errors": ("JobFailed", "LongshoreError"),
    "longshore.facade": ("Longshore",),
    "longshore.handles": ("JobHandle", "Output"),
    "longshore.lifecycle": ("JobState",),
    "longshore.models": ("Job", "JobEvent", "JobRequest", "Workflow"),
    "longshore.service": ("JobService",),
    "longshore.storages.abc": ("StorageBackend",),
    "longshore.stores.abc": ("JobQuery", "Store"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'longshore' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
