"""A directory of this machine as storage: ``objects/<key>``, ``uploads/<instance>/<upload id>``."""

import os
import stat
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Protocol

import attrs

from longshore.blobs import BlobUrls, Grant, Secret, sign, verify
from longshore.clock import Clock, SystemClock
from longshore.errors import ChecksumMismatch, Denied, NotFound, TooLarge
from longshore.ids import ID_LENGTH, is_id, new_id
from longshore.staging.transport import OPEN, WHOLE
from longshore.storages.abc import StorageBackend
from longshore.storages.arriving import (
    ArrivingPart,
    KeptPart,
    PartsFile,
    assemble,
    lock_to_commit,
)
from longshore.storages.failing import run as _run, told
from longshore.storages.objects import ObjectFiles, Objects, Reading, harden, seal
from longshore.transfer import (
    Audience,
    SentPart,
    SignedRequest,
    SignedUpload,
    StoredObject,
    UploadReceipt,
    UploadTicket,
)

_CHUNK = 1024**2
#: what is larger is sent in parts, each of this size or, where they would be too many, a multiple
PART_SIZE = 64 * _CHUNK
_MOST_PARTS = 1000
_BATCH = 1000
#: far enough apart for the milliseconds in an id, whatever a float rounds to
_TICK = timedelta(milliseconds=2)


class StorageContext(Protocol):
    """The part of ``longshore.hookspecs.PluginContext`` that is used here."""

    @property
    def state(self) -> Path: ...  # noqa: D102 - said there
    @property
    def instance(self) -> str: ...  # noqa: D102 - said there
    @property
    def clock(self) -> Clock: ...  # noqa: D102 - said there
    @property
    def blobs(self) -> BlobUrls | None: ...  # noqa: D102 - said there


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
    root = settings.directory or context.state
    make = partial(LocalStorage, root, context.clock, context.blobs, instance=context.instance)
    yield await _run("open the storage", make)


class LocalStorage(StorageBackend):
    """Objects are files below ``root``; requests are ``file:`` URLs for processes of this machine.

    Whole objects may be kept elsewhere, by ``objects``.

    With ``blobs`` the requests of those whom it names lead to a server of ours instead
    (``ServesBlobs``); an upload is sent in one of the two ways.

    An upload is a file and may be sent to while it exists: what was aborted or committed cannot
    be sent to (``FileTransport`` and ``ArrivingPart`` say how). A commit syncs what it publishes,
    and reads and hashes what was not hashed as it arrived, so ``StoredObject.sha256`` is of what
    is on the disk. Of two uploads to one key the later prepared stays, in whichever order they are
    committed.
    """

    def __init__(
        self,
        root: Path,
        clock: Clock | None = None,
        blobs: BlobUrls | None = None,
        *,
        part_size: int = PART_SIZE,
        instance: str = "",
        objects: Objects | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._part_size = part_size
        self._secret = blobs.secret if blobs else None
        #: where requests of an audience lead; none: to the file
        self._bases = _bases(blobs) if blobs else {}
        self._files = ObjectFiles(root.absolute() / "objects")
        self._objects: Objects = objects or self._files
        self._uploads = root.absolute() / "uploads" / instance  # others' are not ours to sweep
        self._objects_url = self._files.root.as_uri()
        self._uploads_url = self._uploads.as_uri()
        self._numbering = threading.Lock()
        self._last_at = datetime.min.replace(tzinfo=UTC)
        for directory in (self._uploads, *([self._files.root] if objects is None else ())):
            directory.mkdir(0o700, parents=True, exist_ok=True)

    async def sign_read(self, key: str, *, audience: Audience, expires: timedelta) -> SignedRequest:
        """Return the object's URL: on this machine its ``file:`` URL."""
        self._objects.path(key)
        at, base = self._clock.now() + expires, self._bases.get(audience)
        url = f"{self._objects_url}/{key}"
        if base is not None:
            url = _url(base, Grant(method="GET", key=key, expires=int(at.timestamp())))
        return SignedRequest(method="GET", url=url, expires_at=at)

    async def prepare_upload(self, key: str, *, max_size: int, least_part: int = 1) -> UploadTicket:
        """Make the empty file of a new upload; see ``StorageBackend``."""
        self._objects.path(key)
        fresh = self._new_id()
        await _run(f"open an upload to {key}", (self._uploads / fresh).touch, OPEN)
        part_size = max(max_size, 1)
        if self._bases and max_size > self._part_size:
            least_part = max(least_part, -(-max_size // _MOST_PARTS))
            part_size = self._part_size * -(-least_part // self._part_size)
        return UploadTicket(
            id=fresh, key=key, upload_id=fresh, max_size=max_size, part_size=part_size
        )

    async def sign_upload(
        self,
        ticket: UploadTicket,
        *,
        audience: Audience,
        expires: timedelta,
        sha256: str | None = None,
    ) -> SignedUpload:
        """Return the parts; on this machine one ``file:`` URL that takes all bytes."""
        at, base = self._clock.now() + expires, self._bases.get(audience)
        urls = [f"{self._uploads_url}/{ticket.upload_id}"]
        if base is not None:
            grants = _grants(ticket, int(at.timestamp()), sha256 or "")
            urls = [_url(base, grant) for grant in grants]
        return SignedUpload(
            ticket_id=ticket.id,
            part_size=ticket.part_size,
            parts=tuple([SignedRequest(method="PUT", url=url, expires_at=at) for url in urls]),
            max_size=ticket.max_size,
        )

    async def sent(self, ticket: UploadTicket) -> tuple[SentPart, ...]:
        """Return what the parts' file says, or the one part of a mover; see ``StorageBackend``."""
        return await _run(f"look up an upload to {ticket.key}", self._sent, ticket)

    async def commit(self, ticket: UploadTicket, receipt: UploadReceipt) -> StoredObject:
        """Hash, sync and rename; see ``StorageBackend``."""
        return await _run(f"commit {ticket.key}", self._commit, ticket, receipt)

    async def abort(self, ticket: UploadTicket) -> None:
        """Remove the upload's files; see ``StorageBackend``."""
        await _run(f"abort an upload to {ticket.key}", _remove, self._upload(ticket))

    async def unfinished(self, *, before: datetime) -> Sequence[UploadTicket]:
        """Return the uploads that lie about, with drafts; see ``ListsUploads``."""
        return await _run("list the uploads", self._unfinished, before)

    async def stat(self, key: str) -> StoredObject | None:
        """Return the object, or None when there is none."""
        found = await _run(f"look up {key}", self._objects.find, key)
        return found[0] if found else None

    async def read(self, key: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Yield the bytes of the object as it is now, even if it is replaced meanwhile."""
        what = f"read {key}"
        file, chunk = await _run(what, _open_at, self._objects, key, start)
        with closing(file):
            while chunk:
                yield chunk
                chunk = await _run(what, file.read, _CHUNK)

    async def write(self, key: str, data: AsyncIterable[bytes]) -> StoredObject:
        """Write to a draft, then publish it as a commit does; see ``StorageBackend``."""
        self._objects.path(key)
        what, fresh = f"write {key}", self._new_id()
        draft = _draft(self._uploads / fresh)
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
        objects = self._objects.walk(prefix)
        while batch := await _run(f"list {prefix}", lambda: list(islice(objects, _BATCH))):
            for stored in batch:
                yield stored

    async def delete(self, prefix: str) -> int:
        """Delete an object or a tree, with the directories that this leaves empty."""
        return await _run(f"delete {prefix}", self._objects.delete, prefix)

    def allowed(self, method: str, key: str, query: str) -> Grant:
        """Return what a URL of ``/v1/blobs`` allows; see ``ServesBlobs``."""
        if self._secret is None:
            raise Denied("this storage signs no URLs")
        return verify(self._secret, method, key, query, self._clock.now())

    def arrive(self, grant: Grant) -> ArrivingPart:
        """Begin to take the bytes of a part; see ``ServesBlobs``."""
        return ArrivingPart(self._upload_file(grant.upload), grant)

    def open(self, key: str) -> tuple[FileIO, StoredObject]:
        """Open an object; see ``ServesBlobs``."""
        with told(f"read {key}"):
            return self._objects.open(key)

    def _new_id(self) -> str:
        # later tickets sort after earlier ones: within a millisecond, and when a clock goes back
        with self._numbering:
            self._last_at = max(self._clock.now(), self._last_at + _TICK)
            return new_id(self._last_at)

    def _upload(self, ticket: UploadTicket) -> Path:
        if not is_id(ticket.id):
            raise NotFound(f"{ticket.id!r} is not a ticket of this storage")
        return self._upload_file(ticket.upload_id)

    def _upload_file(self, upload_id: str) -> Path:
        if not is_id(upload_id):
            raise NotFound(f"{upload_id!r} is not an upload of this storage")
        return self._uploads / upload_id

    def _unfinished(self, before: datetime) -> Sequence[UploadTicket]:
        first = new_id(before, lambda _: 0)
        found = {path.name[:ID_LENGTH] for path in self._uploads.iterdir()}
        old = sorted(one for one in found if is_id(one) and one < first)
        return [UploadTicket(id=one, key="", upload_id=one, max_size=0, part_size=1) for one in old]

    def _sent(self, ticket: UploadTicket) -> tuple[SentPart, ...]:
        upload = self._upload(ticket)
        try:
            status = upload.stat()
        except FileNotFoundError:
            return ()
        kept = PartsFile(upload).read()
        if not kept and _is_whole(status):
            return (SentPart(number=1, size=status.st_size, tag=""),)
        return tuple(one.part for one in kept.values())

    def _commit(self, ticket: UploadTicket, receipt: UploadReceipt) -> StoredObject:
        upload = self._upload(ticket)
        try:
            with upload.open("rb", buffering=0) as file:
                lock_to_commit(file, ticket.key)
                kept = PartsFile(upload).read()
                if kept:
                    digest = _put_together(file, upload, list(kept.values()), ticket, receipt)
                else:
                    _check_sent(file, ticket)
                    size, digest = seal(file, upload)
                    _check(size, digest, ticket, receipt)
                stored = self._objects.publish(upload, ticket.key, ticket.id, digest)
        except FileNotFoundError:  # committed before, or by another one just now, or aborted
            return self._committed(ticket, upload)
        if kept:
            PartsFile(upload).remove()
        return stored

    def _committed(self, ticket: UploadTicket, upload: Path) -> StoredObject:
        found = self._objects.find(ticket.key)
        if found is None or found[1] != ticket.id:
            raise NotFound(f"nothing was uploaded to {ticket.key}, or the upload was aborted")
        self._objects.settle(ticket.key)  # the first commit may not have come to it, nor to this
        PartsFile(upload).remove()
        return found[0]

    def _finish(self, draft: Path, rest: bytes, key: str, fresh: str) -> StoredObject:
        _append(draft, rest)
        with draft.open("rb", buffering=0) as file:
            return self._objects.publish(draft, key, fresh, seal(file, draft)[1])


def _bases(blobs: BlobUrls) -> dict[Audience, tuple[Secret, str]]:
    bases = {Audience.CONSUMER: (blobs.secret, blobs.public.rstrip("/"))}
    if blobs.job is not None:
        bases[Audience.JOB] = (blobs.secret, blobs.job.rstrip("/"))
    return bases


def _url(base: tuple[Secret, str], grant: Grant) -> str:
    secret, address = base
    return address + sign(secret, grant)


def _grants(ticket: UploadTicket, expires: int, sha256: str) -> Iterator[Grant]:
    grant = Grant(method="PUT", key=ticket.key, expires=expires, upload=ticket.upload_id)
    if ticket.max_size <= ticket.part_size:
        yield attrs.evolve(grant, size=ticket.max_size, sha256=sha256)
        return
    for part, at in enumerate(range(0, ticket.max_size, ticket.part_size), start=1):
        size = min(ticket.part_size, ticket.max_size - at)
        yield attrs.evolve(grant, part=part, at=at, size=size)


def _is_whole(status: os.stat_result) -> bool:
    return stat.S_IMODE(status.st_mode) == WHOLE


def _remove(upload: Path) -> None:
    upload.unlink(missing_ok=True)
    PartsFile(upload).remove()
    _draft(upload).unlink(missing_ok=True)


def _draft(upload: Path) -> Path:
    return upload.with_name(f"{upload.name}.draft")


def _check_sent(file: FileIO, ticket: UploadTicket) -> None:
    if not _is_whole(os.fstat(file.fileno())):
        raise NotFound(f"nothing was uploaded to {ticket.key}, or not all")


def _put_together(
    file: FileIO,
    upload: Path,
    kept: Sequence[KeptPart],
    ticket: UploadTicket,
    receipt: UploadReceipt,
) -> str:
    chosen = _choose(kept, ticket, receipt)
    # where only a commit that was cut off has marked it, or a mover has sent it since, who knows
    is_sure = not _is_whole(os.fstat(file.fileno()))
    size, digest = assemble(file, upload, ticket, chosen, is_sure=is_sure)
    _check(size, digest, ticket, attrs.evolve(receipt, parts=()))
    harden(file, upload)
    return digest


def _choose(
    kept: Sequence[KeptPart], ticket: UploadTicket, receipt: UploadReceipt
) -> Sequence[KeptPart]:
    """Return the parts that the receipt names; all where it names none."""
    if not receipt.parts:
        return kept
    tags = [one.part.tag for one in kept]
    for number, (tag, said) in enumerate(zip(tags, receipt.parts, strict=False), start=1):
        if tag != said:
            raise ChecksumMismatch(f"part {number} of {ticket.key} has another tag: {tag}")
    if len(kept) < len(receipt.parts):
        raise NotFound(f"not all parts of {ticket.key} have arrived")
    return kept[: len(receipt.parts)]


def _check(size: int, digest: str, ticket: UploadTicket, receipt: UploadReceipt) -> None:
    if size > ticket.max_size:
        raise TooLarge(f"{size} bytes were sent to {ticket.key}; {ticket.max_size} are allowed")
    if receipt.size not in {None, size}:
        raise ChecksumMismatch(f"{ticket.key} has {size} bytes, the receipt says {receipt.size}")
    if receipt.sha256 not in {None, digest} or receipt.parts not in {(), (digest,)}:
        raise ChecksumMismatch(f"{ticket.key} has sha256 {digest}, the receipt says otherwise")


def _open_at(objects: Objects, key: str, start: int) -> tuple[Reading, bytes]:
    file = objects.open_at(key, start)
    try:
        return file, file.read(_CHUNK)
    except BaseException:
        file.close()
        raise


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
