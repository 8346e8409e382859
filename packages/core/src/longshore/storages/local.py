"""A directory of this machine as storage: ``objects/<key>`` and ``uploads/<upload id>``."""

import errno
import fcntl
import os
import stat
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import anyio.to_thread
import attrs

from longshore.clock import Clock, SystemClock
from longshore.errors import ChecksumMismatch, NotFound, StorageUnavailable, TooLarge
from longshore.ids import is_id, new_id
from longshore.staging.transport import OPEN, WHOLE
from longshore.storages.abc import StorageBackend
from longshore.storages.objects import ObjectFiles, seal
from longshore.transfer import (
    Audience,
    SignedRequest,
    SignedUpload,
    StoredObject,
    UploadReceipt,
    UploadTicket,
)

T = TypeVar("T")

_CHUNK = 1024**2
_BATCH = 1000
#: far enough apart for the milliseconds in an id, whatever a float rounds to
_TICK = timedelta(milliseconds=2)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorageContext(Protocol):
    """The part of ``longshore.hookspecs.PluginContext`` that is used here."""

    @property
    def state(self) -> Path: ...  # noqa: D102 - said there
    @property
    def clock(self) -> Clock: ...  # noqa: D102 - said there


@attrs.frozen(kw_only=True)
class LocalStorageSettings:
    """``directory`` is where the bytes lie; absent, in the service's own state."""

    directory: Path | None = None


@asynccontextmanager
async def open_local_storage(
    settings: LocalStorageSettings, context: StorageContext
) -> AsyncIterator["LocalStorage"]:
    """Open the storage in its directory, which is made where it is missing.

    Raises:
        StorageUnavailable: the directory cannot be made.
    """
    yield await _run(
        "open the storage", LocalStorage, settings.directory or context.state, context.clock
    )


class LocalStorage(StorageBackend):
    """Objects are files below ``root``; requests are ``file:`` URLs for processes of this machine.

    An upload is a file and may be sent to while it exists: what was aborted or committed cannot
    be sent to (``FileTransport`` says how). A commit reads, hashes and syncs what it publishes, so
    ``StoredObject.sha256`` is of what is on the disk. Of two uploads to one key the later prepared
    stays, in whichever order they are committed.
    """

    def __init__(self, root: Path, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._files = ObjectFiles(root.absolute() / "objects")
        self._uploads = root.absolute() / "uploads"
        self._objects_url, self._uploads_url = self._files.root.as_uri(), self._uploads.as_uri()
        self._numbering = threading.Lock()
        self._last_at = datetime.min.replace(tzinfo=UTC)
        for directory in (self._files.root, self._uploads):
            directory.mkdir(0o700, parents=True, exist_ok=True)

    async def sign_read(
        self,
        key: str,
        *,
        audience: Audience,  # noqa: ARG002 - whoever it is, is on this machine
        expires: timedelta,
    ) -> SignedRequest:
        """Return the object's ``file:`` URL, which is the same for every audience."""
        self._files.path(key)
        return self._sign("GET", f"{self._objects_url}/{key}", expires)

    async def prepare_upload(self, key: str, *, max_size: int) -> UploadTicket:
        """Make the empty file of a new upload; see ``StorageBackend``."""
        self._files.path(key)
        fresh = self._new_id()
        await _run(f"open an upload to {key}", (self._uploads / fresh).touch, OPEN)
        return UploadTicket(
            id=fresh, key=key, upload_id=fresh, max_size=max_size, part_size=max(max_size, 1)
        )

    async def sign_upload(
        self,
        ticket: UploadTicket,
        *,
        audience: Audience,  # noqa: ARG002 - whoever it is, is on this machine
        expires: timedelta,
    ) -> SignedUpload:
        """Return one part that takes all bytes, whatever their number."""
        part = self._sign("PUT", f"{self._uploads_url}/{ticket.upload_id}", expires)
        return SignedUpload(ticket_id=ticket.id, part_size=ticket.part_size, parts=(part,))

    async def commit(self, ticket: UploadTicket, receipt: UploadReceipt) -> StoredObject:
        """Hash, sync and rename; see ``StorageBackend``."""
        return await _run(f"commit {ticket.key}", self._commit, ticket, receipt)

    async def abort(self, ticket: UploadTicket) -> None:
        """Remove the upload's file; see ``StorageBackend``."""
        upload = self._upload(ticket)
        await _run(f"abort an upload to {ticket.key}", partial(upload.unlink, missing_ok=True))

    async def stat(self, key: str) -> StoredObject | None:
        """Return the object, or None when there is none."""
        found = await _run(f"look up {key}", self._files.find, key)
        return found[0] if found else None

    async def read(self, key: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Yield the bytes of the object as it is now, even if it is replaced meanwhile."""
        what = f"read {key}"
        file, chunk = await _run(what, _open_at, key, self._files.path(key), start)
        with file:
            while chunk:
                yield chunk
                chunk = await _run(what, file.read, _CHUNK)

    async def write(self, key: str, data: AsyncIterable[bytes]) -> StoredObject:
        """Write to a draft, then publish it as a commit does; see ``StorageBackend``."""
        self._files.path(key)
        what, fresh = f"write {key}", self._new_id()
        draft = self._uploads / f"{fresh}.draft"
        buffer = bytearray()
        try:
            async for chunk in data:
                buffer += chunk
                if len(buffer) >= _CHUNK:
                    await _run(what, _append, draft, bytes(buffer))
                    buffer.clear()
            return await _run(what, self._finish, draft, bytes(buffer), key, fresh)
        finally:
            draft.unlink(missing_ok=True)

    async def walk(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Yield the objects below ``prefix`` in order of their keys."""
        objects = self._files.walk(prefix)
        while batch := await _run(f"list {prefix}", lambda: list(islice(objects, _BATCH))):
            for stored in batch:
                yield stored

    async def delete(self, prefix: str) -> int:
        """Delete an object or a tree, with the directories that this leaves empty."""
        return await _run(f"delete {prefix}", self._files.delete, prefix)

    def _sign(self, method: str, url: str, expires: timedelta) -> SignedRequest:
        return SignedRequest(method=method, url=url, expires_at=self._clock.now() + expires)

    def _new_id(self) -> str:
        # later tickets sort after earlier ones: within a millisecond, and when a clock goes back
        with self._numbering:
            self._last_at = max(self._clock.now(), self._last_at + _TICK)
            return new_id(self._last_at)

    def _upload(self, ticket: UploadTicket) -> Path:
        if not (is_id(ticket.upload_id) and is_id(ticket.id)):
            raise NotFound(f"{ticket.upload_id!r} is not an upload of this storage")
        return self._uploads / ticket.upload_id

    def _commit(self, ticket: UploadTicket, receipt: UploadReceipt) -> StoredObject:
        upload = self._upload(ticket)
        try:
            with upload.open("rb", buffering=0) as file:
                _check_sent(file, ticket)
                size, digest = seal(file, upload)
                _check(size, digest, ticket, receipt)
                return self._files.publish(upload, ticket.key, ticket.id, digest)
        except FileNotFoundError:  # committed before, or by another one just now, or aborted
            return self._committed(ticket)

    def _committed(self, ticket: UploadTicket) -> StoredObject:
        found = self._files.find(ticket.key)
        if found is None or found[1] != ticket.id:
            raise NotFound(f"nothing was uploaded to {ticket.key}, or the upload was aborted")
        self._files.settle(ticket.key)  # the first commit may not have come to it
        return found[0]

    def _finish(self, draft: Path, rest: bytes, key: str, fresh: str) -> StoredObject:
        _append(draft, rest)
        with draft.open("rb", buffering=0) as file:
            return self._files.publish(draft, key, fresh, seal(file, draft)[1])


def _check_sent(file: FileIO, ticket: UploadTicket) -> None:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)  # no sender, other commits
    except BlockingIOError as exc:
        raise StorageUnavailable(f"{ticket.key} is still being sent") from exc
    if stat.S_IMODE(os.fstat(file.fileno()).st_mode) != WHOLE:
        raise NotFound(f"nothing was uploaded to {ticket.key}, or not all")


def _check(size: int, digest: str, ticket: UploadTicket, receipt: UploadReceipt) -> None:
    if size > ticket.max_size:
        raise TooLarge(f"{size} bytes were sent to {ticket.key}; {ticket.max_size} are allowed")
    if receipt.size not in {None, size}:
        raise ChecksumMismatch(f"{ticket.key} has {size} bytes, the receipt says {receipt.size}")
    if receipt.sha256 not in {None, digest} or receipt.parts not in {(), (digest,)}:
        raise ChecksumMismatch(f"{ticket.key} has sha256 {digest}, the receipt says otherwise")


def _open_at(key: str, path: Path, start: int) -> tuple[FileIO, bytes]:
    try:
        file = path.open("rb", buffering=0)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as exc:
        raise NotFound(f"there is no object {key}") from exc
    try:
        file.seek(start)
        return file, file.read(_CHUNK)
    except BaseException:
        file.close()
        raise


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def _run(what: str, function: Callable[..., T], *arguments: object) -> T:
    return await anyio.to_thread.run_sync(partial(_call, what, function, *arguments))


def _call(what: str, function: Callable[..., T], *arguments: object) -> T:
    try:
        return function(*arguments)
    except OSError as exc:
        full = exc.errno in _FULL
        raise StorageUnavailable(
            f"cannot {what}: {'no space left in the storage' if full else exc.strerror or exc}",
            hint="free space in the storage's directory" if full else "",
        ) from exc
