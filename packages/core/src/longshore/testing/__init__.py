"""Tests for the authors of plug-ins: contracts to inherit, and fakes.

``StorageBackendContract``, ``StoreContract`` and ``WorkflowBackendContract`` are classes to inherit
in a test module of one's own; their docstrings say what the heir supplies.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longshore.testing.fake_backend import FakeWorkflowBackend
    from longshore.testing.fakes import FakeClock
    from longshore.testing.memory_store import MemoryStore
    from longshore.testing.storage_backend import StorageBackendContract
    from longshore.testing.store import StoreContract
    from longshore.testing.workflow_backend import WorkflowBackendContract

# imported when asked for: pytest rewrites the assertions only of what is imported after it said so
_MODULES = {
    "FakeClock": "longshore.testing.fakes",
    "FakeWorkflowBackend": "longshore.testing.fake_backend",
    "MemoryStore": "longshore.testing.memory_store",
    "StorageBackendContract": "longshore.testing.storage_backend",
    "StoreContract": "longshore.testing.store",
    "WorkflowBackendContract": "longshore.testing.workflow_backend",
}

__all__ = [
    "FakeClock",
    "FakeWorkflowBackend",
    "MemoryStore",
    "StorageBackendContract",
    "StoreContract",
    "WorkflowBackendContract",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
