"""Run predefined workflows of a Longshore server: from Python, and with the `longshore` command.

The names here are the public surface. They are loaded when they are first used, so that the command
starts quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longshore_client.blocking import Client
    from longshore_client.client import LongshoreClient
    from longshore_client.errors import (
        Conflict,
        Denied,
        Invalid,
        JobFailed,
        LongshoreError,
        NotFound,
        ReportError,
        RequestError,
        RetryError,
        Unauthenticated,
    )
    from longshore_client.handles import JobHandle, Output
    from longshore_client.models import Agreement, Caller, Event, Job, Jobs, Token, Workflow
    from longshore_client.retrying import Retry

__all__ = [
    "Agreement",
    "Caller",
    "Client",
    "Conflict",
    "Denied",
    "Event",
    "Invalid",
    "Job",
    "JobFailed",
    "JobHandle",
    "Jobs",
    "LongshoreClient",
    "LongshoreError",
    "NotFound",
    "Output",
    "ReportError",
    "RequestError",
    "Retry",
    "RetryError",
    "Token",
    "Unauthenticated",
    "Workflow",
]

_MODELS = ("Agreement", "Caller", "Event", "Job", "Jobs", "Token", "Workflow")
_OTHERS = ("Client", "LongshoreClient", "JobHandle", "Output", "Retry")
_ERRORS = tuple(set(__all__).difference(_MODELS, _OTHERS))
_HOMES = {
    "longshore_client.blocking": ("Client",),
    "longshore_client.client": ("LongshoreClient",),
    "longshore_client.errors": _ERRORS,
    "longshore_client.handles": ("JobHandle", "Output"),
    "longshore_client.models": _MODELS,
    "longshore_client.retrying": ("Retry",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'longshore_client' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
