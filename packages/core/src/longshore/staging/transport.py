"""Sending the requests of a plan: the port, and ``file:`` URLs on one machine."""

import fcntl
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

from longshore.errors import ChecksumMismatch, NotFound, RequestError, StorageUnavailable, TooLarge
from longshore.transfer import SignedRequest, SignedUpload, UploadReceipt

#: bytes read at once: large enough that the hash, not the calls, is the cost
CHUNK = 1024**2
_SMALL = 16 * 1024
#: the modes of an upload's file: before its bytes are all there, and after
OPEN, WHOLE = 0o600, 0o400


class Transport(Protocol):
    """How the bytes of signed requests move. Blocking; used by one thread at a time."""

    def fetch(
        self, request: SignedRequest, into: BinaryIO, *, size: int, sha256: str | None
    ) -> None:
        """Write the object to ``into``, which is empty and seekable.

        When it returns, exactly ``size`` bytes were written, and they have this ``sha256`` where
        it is given.

        Raises:
            ChecksumMismatch: other bytes, fewer or more.
            NotFound: there is no such object, or the request is no longer valid.
            StorageUnavailable: the storage did not give it, for as long as was tried.
            OSError: reading or writing failed.
        """
        ...

    def send(self, upload: SignedUpload, source: BinaryIO, *, max_size: int) -> UploadReceipt:
        """Send what ``source`` holds, at most ``max_size`` bytes, and say what was sent.

        ``source`` is read to its end; it may not be seekable. A repeated call sends it anew.

        Raises:
            TooLarge: ``source`` holds more; nothing can be committed.
            NotFound: the upload was aborted or committed, or its requests are no longer valid.
            StorageUnavailable: the storage did not take it, for as long as was tried.
            OSError: reading or writing failed.
        """
        ...


class FileTransport:
    """``file:`` URLs, as the local storage signs them.

    Bytes are always copied, never linked: a worker that keeps a file open, or writes to its
    input, cannot change what is stored.
    """

    def fetch(
        self, request: SignedRequest, into: BinaryIO, *, size: int, sha256: str | None
    ) -> None:
        """Copy the object to ``into``; see ``Transport.fetch``."""
        try:
            source = file_path(request.url).open("rb", buffering=0)
        except FileNotFoundError as exc:
            raise NotFound("the object is not in the storage") from exc
        with source:
            # one byte more than announced is enough to know that it is too much
            copied, digest = copy(
                cast("BinaryIO", source), into, limit=size, hashed=sha256 is not None
            )
        if copied != size:
            more = "more than " if copied > size else f"{copied} bytes instead of "
            raise ChecksumMismatch(f"{more}{size} bytes")
        if sha256 is not None and digest != sha256.lower():
            raise ChecksumMismatch(f"sha256 {digest} instead of {sha256}")

    def send(self, upload: SignedUpload, source: BinaryIO, *, max_size: int) -> UploadReceipt:
        """Copy ``source`` to the one part of the upload; see ``Transport.send``.

        An upload is open while its file exists, and whole when the file's mode says so: a killed
        mover leaves nothing to commit. Who sends holds a lock, so nothing is written to what was
        committed or aborted meanwhile.
        """
        path = file_path(upload.parts[0].url)
        try:
            fd = _open_upload(path)
        except FileNotFoundError as exc:
            raise NotFound("the upload is no longer open") from exc
        with os.fdopen(fd, "wb", buffering=0) as target:
            _lock(fd, path)
            before = os.fstat(fd)
            # both only after an earlier try: each is a transaction of the file system
            if stat.S_IMODE(before.st_mode) != OPEN:
                os.fchmod(fd, OPEN)
            if before.st_size:
                target.truncate()
            try:
                size, digest = copy(source, cast("BinaryIO", target), limit=max_size)
                _check_size(size, max_size)
            except BaseException:
                target.truncate(0)  # frees a full disk
                raise
            os.fchmod(fd, WHOLE)
        return UploadReceipt(size=size, sha256=digest, parts=(digest,))


def _open_upload(path: Path) -> int:
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except PermissionError:  # wholly sent before: it is sent anew
        path.chmod(OPEN)
        return os.open(path, flags)


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise StorageUnavailable("another transfer of this upload is going on") from exc
    if not path.exists():  # aborted or committed since it was opened
        raise NotFound("the upload is no longer open")


def _check_size(size: int, max_size: int) -> None:
    if size > max_size:
        raise TooLarge(f"more than {max_size} bytes")


_TO_TAKE_APART = frozenset("%?#")


def file_path(url: str) -> Path:
    """Return the path that a ``file:`` URL names.

    Raises:
        RequestError: another kind of URL.
    """
    if url.startswith("file:///") and not set(url) & _TO_TAKE_APART:  # nearly all
        return Path(url[len("file://") :])
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc:
        raise RequestError(f"{parts.scheme or 'a relative'} URL where a file: URL is needed")
    return Path(unquote(parts.path, errors="surrogateescape"))


def copy(source: BinaryIO, target: BinaryIO, *, limit: int, hashed: bool = True) -> tuple[int, str]:
    """Copy ``source`` up to ``limit`` bytes plus at most one; return how many, and their sha256.

    The digest is empty when it is not asked for.
    """
    sha256 = hashlib.sha256() if hashed else None
    # most files are small, and a large buffer costs more than they do
    buffer = memoryview(bytearray(min(_SMALL, limit + 1)))
    total = 0
    while total <= limit:
        got: int | None = source.readinto(buffer[: limit + 1 - total])  # type: ignore[attr-defined]  # typing's BinaryIO lacks what every raw and buffered file has
        if not got:
            break
        if sha256 is not None:
            sha256.update(buffer[:got])
        _write_all(target, buffer[:got])
        total += got
        if got == _SMALL:
            buffer = memoryview(bytearray(CHUNK))
    return total, sha256.hexdigest() if sha256 is not None else ""


def _write_all(target: BinaryIO, data: memoryview) -> None:
    # an unbuffered file may take less than it is given
    while data:
        data = data[target.write(data) :]
