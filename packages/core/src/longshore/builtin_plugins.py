"""The plug-ins that come with the core, through the same door as anybody's."""

from collections.abc import Iterable

from longshore.backends.local import LocalSettings, open_local
from longshore.hookspecs import StorageBackendPlugin, WorkflowBackendPlugin, hookimpl
from longshore.storages.local import LocalStorageSettings, open_local_storage


@hookimpl
def longshore_workflow_backends() -> Iterable[WorkflowBackendPlugin]:
    """Offer the processes of this machine."""
    return [
        WorkflowBackendPlugin(
            name="local",
            settings=LocalSettings,
            open=open_local,
            capabilities=frozenset({"closed", "datasets", "images"}),
        )
    ]


@hookimpl
def longshore_storage_backends() -> Iterable[StorageBackendPlugin]:
    """Offer a directory of this machine."""
    return [
        StorageBackendPlugin(name="local", settings=LocalStorageSettings, open=open_local_storage)
    ]
