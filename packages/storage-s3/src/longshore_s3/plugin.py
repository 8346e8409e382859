"""What this distribution offers to Longshore. Imported by every process: the rest is not, yet."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from longshore.hookspecs import PluginContext, StorageBackendPlugin, hookimpl
from longshore.storages.abc import StorageBackend
from longshore_s3.settings import FsspecSettings, S3Settings


@hookimpl
def longshore_storage_backends() -> Iterable[StorageBackendPlugin]:
    """Offer buckets, and whatever fsspec opens."""
    return [
        StorageBackendPlugin(name="s3", settings=S3Settings, open=open_s3),
        StorageBackendPlugin(name="fsspec", settings=FsspecSettings, open=open_fsspec),
    ]


@asynccontextmanager
async def open_s3(settings: S3Settings, context: PluginContext) -> AsyncIterator[StorageBackend]:
    """Open the bucket; a server tries it first.

    Raises:
        SettingsInvalid: the server answers, and the settings are wrong.
    """
    # the S3 libraries take half a second: who uses another storage does without
    from longshore_s3.opening import open_bucket  # noqa: PLC0415

    async with open_bucket(settings, context) as storage:
        yield storage


@asynccontextmanager
async def open_fsspec(
    settings: FsspecSettings, context: PluginContext
) -> AsyncIterator[StorageBackend]:
    """Open a file system whose bytes a server of ours serves.

    Raises:
        SettingsInvalid: there is no such file system, or no server.
    """
    from longshore_s3.anyfiles import open_any  # noqa: PLC0415 - as above

    async with open_any(settings, context) as storage:
        yield storage
