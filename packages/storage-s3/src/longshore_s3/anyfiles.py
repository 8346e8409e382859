"""``plugin = "fsspec"``: whole objects on any fsspec file system, served and signed by ourselves.

What is sent arrives on this machine, in the storage's state, exactly as it does in the local
storage. A commit verifies it there, and gives it to the file system as a draft that then gets its
name: file systems rename at once, and object stores copy whole objects.
"""

import errno
import json
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio.to_thread
import fsspec.core

from longshore.blobs import BlobUrls
from longshore.errors import LongshoreError, NotFound, SettingsInvalid
from longshore.hookspecs import PluginContext
from longshore.storages.local import LocalStorage
from longshore.storages.objects import check_key
from longshore.transfer import Audience, StoredObject
from longshore_s3.settings import FsspecSettings

P = ParamSpec("P")
T = TypeVar("T")

_CHUNK = 8 * 1024**2
#: no key begins like this
_OURS = ".longshore"
#: what file systems call the time of the last change
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


@asynccontextmanager
async def open_any(settings: FsspecSettings, context: PluginContext) -> AsyncIterator[LocalStorage]:
    """Open the file system that the settings name.

    Raises:
        SettingsInvalid: there is no such file system, or no server of ours to serve its bytes.
    """
    if context.blobs is None:
        raise SettingsInvalid(
            "the fsspec storage is served by `longshore serve`, and this is none",
            hint='use plugin = "local" or "s3" without a server',
        )
    try:
        made = partial(fsspec.core.url_to_fs, settings.url, skip_instance_cache=True)
        files, root = await anyio.to_thread.run_sync(partial(made, **settings.options))
    except (ValueError, ImportError, TypeError) as exc:
        scheme = settings.url.partition(":")[0]
        raise SettingsInvalid(
            f"storage.url: there is no file system {scheme!r} with these options "
            f"({type(exc).__name__})",
            hint="install the package that has it, and see its documentation for options",
        ) from None
    yield await anyio.to_thread.run_sync(
        lambda: AnyStorage(
            context.state,
            AnyObjects(files, root, context.state),
            context.blobs,
            context,
        )
    )


class AnyStorage(LocalStorage):
    """A local storage whose whole objects are elsewhere: every request leads to our server."""

    def __init__(
        self, spool: Path, objects: "AnyObjects", blobs: BlobUrls | None, context: PluginContext
    ) -> None:
        super().__init__(spool, context.clock, blobs, instance=context.instance, objects=objects)
        public = self._bases[Audience.CONSUMER]
        self._bases = {audience: self._bases.get(audience, public) for audience in Audience}


def _plainly(
    method: Callable[Concatenate["AnyObjects", P], T],
) -> Callable[Concatenate["AnyObjects", P], T]:
    """Let what file systems raise of their own be an OSError, which the storage expects."""

    def call(self: "AnyObjects", /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except (LongshoreError, OSError):
            raise
        except Exception as exc:  # noqa: BLE001 - somebody's file system may raise anything
            # its text may hold what it was opened with
            raise OSError(errno.EIO, f"the file system raised {type(exc).__name__}") from None

    return call


class AnyObjects:
    """Objects of a file system below ``root``; see ``longshore.storages.objects.Objects``.

    Beside them ``.longshore/tickets/<key>`` says which upload made each, and what is in it.
    """

    def __init__(self, files: Any, root: str, spool: Path) -> None:
        self._files = files
        self._root = root.rstrip("/")
        self._spool = spool
        self._changing = threading.Lock()

    def path(self, key: str) -> str:
        """Return where ``key`` is."""
        check_key(key)
        return f"{self._root}/{key}"

    @_plainly
    def find(self, key: str) -> tuple[StoredObject, str] | None:
        """Return the object, and its ticket's id where that is known."""
        info = self._info(key)
        if info is None:
            return None
        said = self._said(key)
        sha256 = said.get("sha256") if said.get("size") == info["size"] else None
        return self._stored(key, info, sha256), str(said.get("ticket", "")) if sha256 else ""

    @_plainly
    def open(self, key: str) -> tuple[FileIO, StoredObject]:
        """Copy the object to a file of this machine that has no name."""
        found = self.find(key)
        if found is None:
            raise NotFound(f"there is no object {key}")
        file = tempfile.TemporaryFile(dir=self._spool, buffering=0)  # noqa: SIM115 - the caller closes it
        try:
            reading = self.open_at(key, 0)
            while chunk := reading.read(_CHUNK):
                while chunk:
                    chunk = chunk[file.write(chunk) :]
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file, found[0]

    @_plainly
    def open_at(self, key: str, start: int) -> "_Reading":
        """Return what reads the object piece by piece."""
        info = self._info(key)
        if info is None:
            raise NotFound(f"there is no object {key}")
        return _Reading(self._read, self.path(key), start, int(info["size"]))

    @_plainly
    def _read(self, path: str, start: int, end: int) -> bytes:
        return bytes(self._files.cat_file(path, start, end))

    @_plainly
    def publish(self, source: Path, key: str, ticket_id: str, digest: str) -> StoredObject:
        """Send the file ``source`` as a draft, then give it its key.

        Until the last step the source is there, so that whatever is cut off is done again.
        """
        size = source.stat().st_size
        path, record = self.path(key), self._record(key)
        draft = f"{self._root}/{_OURS}/drafts/{ticket_id}"
        with self._changing:
            found = self.find(key)
            if found is not None and found[1] > ticket_id:
                raise NotFound(f"a later upload to {key} was committed already")
            for one in (path, draft, record):
                self._files.makedirs(self._files._parent(one), exist_ok=True)  # noqa: SLF001 - its own way to say dirname
            self._files.put_file(str(source), draft)
            if self._files.size(draft) != size:
                raise OSError(errno.EIO, "the file system holds another size than was written")
            with suppress(FileNotFoundError):
                self._files.rm_file(record)  # of what is replaced
            self._files.mv(draft, path)
            said = {"ticket": ticket_id, "sha256": digest, "size": size}
            self._files.pipe_file(record, json.dumps(said).encode())
            source.unlink()
            info = self._info(key)
        if info is None:
            raise NotFound(f"{key} was deleted meanwhile")
        return self._stored(key, info, digest)

    def settle(self, key: str) -> None:
        """Do nothing: the source goes last."""

    @_plainly
    def walk(self, prefix: str) -> Iterator[StoredObject]:
        """Return what is below ``prefix``, in order of the keys."""
        return iter([self._stored(key, info, None) for key, info in self._below(prefix)])

    @_plainly
    def delete(self, prefix: str) -> int:
        """Delete an object, or all below a prefix; return how many there were."""
        path = self.path(prefix.removesuffix("/"))
        record = self._record(prefix.removesuffix("/"))
        with self._changing:
            if not prefix.endswith("/"):
                if self._info(prefix) is None:
                    return 0
                self._remove(self._files.rm_file, record, path)
                return 1
            count = len(self._below(prefix))
            self._remove(partial(self._files.rm, recursive=True), record, path)
        return count

    def _remove(self, remove: Callable[[str], object], *paths: str) -> None:
        for one in paths:
            with suppress(FileNotFoundError):
                remove(one)

    def _below(self, prefix: str) -> list[tuple[str, Mapping[str, Any]]]:
        path = self.path(prefix.removesuffix("/"))
        self._files.invalidate_cache()
        found: Mapping[str, Mapping[str, Any]] = self._files.find(path, detail=True)
        inside = f"{path}/"
        return sorted(
            (name[len(self._root) + 1 :], info)
            for name, info in found.items()
            if name.startswith(inside)
        )

    def _info(self, key: str) -> Mapping[str, Any] | None:
        self._files.invalidate_cache()
        try:
            info: Mapping[str, Any] = self._files.info(self.path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return info if info["type"] == "file" else None

    def _record(self, key: str) -> str:
        return f"{self._root}/{_OURS}/tickets/{key}"

    def _said(self, key: str) -> Mapping[str, Any]:
        try:
            said = json.loads(self._files.cat_file(self._record(key)))
        except (OSError, ValueError):  # none, or cut off
            return {}
        return said if isinstance(said, dict) else {}

    def _stored(self, key: str, info: Mapping[str, Any], sha256: str | None) -> StoredObject:
        return StoredObject(
            key=key, size=int(info["size"]), modified_at=_time_of(info), sha256=sha256
        )


class _Reading:
    """Reads by pieces: some file systems share an open file among all who read it."""

    def __init__(
        self, read: Callable[[str, int, int], bytes], path: str, start: int, size: int
    ) -> None:
        self._read = read
        self._path = path
        self._at = start
        self._size = size

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        end = min(self._at + size, self._size)
        if end <= self._at:
            return b""
        chunk = self._read(self._path, self._at, end)
        if len(chunk) != end - self._at:
            raise OSError(errno.EIO, "the object became shorter while it was read")
        self._at = end
        return chunk

    def close(self) -> None:
        """Nothing is open."""


def _time_of(info: Mapping[str, Any]) -> datetime:
    for name in _TIMES:
        found = info.get(name)
        if isinstance(found, datetime):
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        if isinstance(found, int | float):
            return datetime.fromtimestamp(found, UTC)
    return datetime.fromtimestamp(0, UTC)
