"""What a plug-in may offer: two hooks, and the records that they return.

A plug-in is a distribution with an entry point in the group ``longshore`` that names a module (or
an object) with these functions, each marked with ``hookimpl``. Hooks are synchronous, called once,
do no I/O and return records: they say what there is; the host decides when to open it.

```python
# my_plugin/hooks.py
from longshore.hookspecs import WorkflowBackendPlugin, hookimpl
from my_plugin.backend import MySettings, open_backend

@hookimpl
def longshore_workflow_backends():
    return [WorkflowBackendPlugin(name="mine", settings=MySettings, open=open_backend)]
```
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
import pluggy

from longshore.backends.abc import WorkflowBackend
from longshore.blobs import BlobUrls
from longshore.clock import Clock
from longshore.storages.abc import StorageBackend

GROUP = "longshore"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@attrs.frozen(kw_only=True)
class PluginContext:
    """What the host gives to what it opens.

    ``state`` is a directory for this plug-in alone (it may not exist yet), ``instance`` the random
    id of this installation that marks our objects in an engine, ``name`` the provider's name for
    the backend. ``blobs`` is there where a server of ours can serve a storage's bytes, and
    ``origins`` are those of pages whose browsers send and fetch them.
    """

    state: Path
    instance: str
    clock: Clock
    name: str = ""
    blobs: BlobUrls | None = None
    origins: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class WorkflowBackendPlugin:
    """A kind of workflow backend.

    ``settings`` is an attrs class, built from the provider's table; ``open`` gets an instance of
    it and a ``PluginContext``. Leaving the context manager releases what it holds and touches no
    running job. ``capabilities`` are words for people and for ``doctor``: ``images``, ``closed``,
    ``datasets``, ``gpu``.
    """

    name: str
    settings: type[Any]
    open: Callable[[Any, PluginContext], AbstractAsyncContextManager[WorkflowBackend]]
    capabilities: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class StorageBackendPlugin:
    """A kind of storage backend; the fields are those of ``WorkflowBackendPlugin``."""

    name: str
    settings: type[Any]
    open: Callable[[Any, PluginContext], AbstractAsyncContextManager[StorageBackend]]
    capabilities: frozenset[str] = frozenset()


@hookspec
def longshore_workflow_backends() -> Iterable[WorkflowBackendPlugin]:  # type: ignore[empty-body]  # a specification has no body
    """Return the workflow backends that this plug-in has.

    Example:
        >>> @hookimpl
        ... def longshore_workflow_backends():
        ...     return [WorkflowBackendPlugin(name="mine", settings=MySettings, open=open_mine)]
    """


@hookspec
def longshore_storage_backends() -> Iterable[StorageBackendPlugin]:  # type: ignore[empty-body]  # same
    """Return the storage backends that this plug-in has.

    Example:
        >>> @hookimpl
        ... def longshore_storage_backends():
        ...     return [StorageBackendPlugin(name="mine", settings=MySettings, open=open_mine)]
    """
