"""The contract of a storage backend: what keeps bytes and signs requests for them."""

import abc
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import datetime, timedelta
from io import FileIO
from typing import Protocol, runtime_checkable

from longshore.blobs import Grant
from longshore.transfer import (
    Audience,
    SentPart,
    SignedRequest,
    SignedUpload,
    StoredObject,
    UploadReceipt,
    UploadTicket,
)


class StorageBackend(abc.ABC):
    """Keeps bytes under keys made of ids and declared names, and signs requests for them.

    Every method may raise ``StorageUnavailable``; then nothing is known to have happened, and the
    same call is sent again. ``longshore.testing.StorageBackendContract`` is the test of this
    contract.
    """

    @abc.abstractmethod
    async def sign_read(self, key: str, *, audience: Audience, expires: timedelta) -> SignedRequest:
        """Return a request that reads the object ``key`` and nothing else until it expires.

        Signing does no I/O that can fail: a missing object shows when the request is sent.
        """

    @abc.abstractmethod
    async def prepare_upload(self, key: str, *, max_size: int, least_part: int = 1) -> UploadTicket:
        """Return a new upload to ``key`` that nobody can read before it is committed.

        It takes ``max_size`` bytes, all at once or in parts of ``least_part`` bytes or more.
        """

    @abc.abstractmethod
    async def sign_upload(
        self,
        ticket: UploadTicket,
        *,
        audience: Audience,
        expires: timedelta,
        sha256: str | None = None,
    ) -> SignedUpload:
        """Return the requests that send the parts of an upload. Repeatable.

        A storage that can refuses other bytes than those of ``sha256`` (hex) when they are sent;
        the commit is where all of them are refused.
        """

    @abc.abstractmethod
    async def sent(self, ticket: UploadTicket) -> tuple[SentPart, ...]:
        """Return the parts that have arrived whole, by number; of no open upload, none.

        A part's ``tag`` is empty where the storage cannot tell it yet.
        """

    @abc.abstractmethod
    async def commit(self, ticket: UploadTicket, receipt: UploadReceipt) -> StoredObject:
        """Verify an upload against its receipt and make it readable under its key.

        When it returns, the object is durable, whole and readable. Repeatable: a ticket that was
        committed before returns the same object. On an error nothing became readable.

        Raises:
            NotFound: nothing was uploaded, a part is missing, or the upload was aborted.
            TooLarge: more than ``ticket.max_size`` bytes were sent.
            ChecksumMismatch: not the size, the parts or the sha256 of the receipt.
        """

    @abc.abstractmethod
    async def abort(self, ticket: UploadTicket) -> None:
        """Drop an upload; a committed object stays. Repeatable."""

    @abc.abstractmethod
    async def stat(self, key: str) -> StoredObject | None:
        """Return the object, or None when there is none."""

    @abc.abstractmethod
    def read(self, key: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Yield the object's bytes from ``start`` on.

        Raises:
            NotFound: there is no such object.
        """

    @abc.abstractmethod
    async def write(self, key: str, data: AsyncIterable[bytes]) -> StoredObject:
        """Store all of ``data`` under ``key``, or nothing when ``data`` or the storage fails.

        When it returns, the object is durable and readable; its sha256 is known.
        """

    @abc.abstractmethod
    def walk(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Yield every object below ``prefix``, which ends in ``/``, in order of their keys."""

    @abc.abstractmethod
    async def delete(self, prefix: str) -> int:
        """Delete the object ``prefix``, or all below it when it ends in ``/``; return how many."""


@runtime_checkable
class ListsUploads(Protocol):
    """A storage that knows which uploads were begun, also those whose ticket nobody has kept.

    A storage with rules of its own for them, as buckets have, need not.
    """

    async def unfinished(self, *, before: datetime) -> Sequence[UploadTicket]:
        """Return the uploads of this installation that were prepared before ``before``.

        They are neither committed nor aborted, and the tickets are good for ``abort`` alone.
        """
        ...


@runtime_checkable
class SizesParts(Protocol):
    """A storage whose parts have a largest size: not everything that is declared fits."""

    def part_size(self, max_size: int, *, least_part: int = 1) -> int:
        """Return the bytes of each part of an upload that ``prepare_upload`` would open.

        Raises:
            TooLarge: no object of this storage is as large.
        """
        ...


@runtime_checkable
class NamesSigner(Protocol):
    """A storage whose credentials may be replaced: what they signed may then be refused at once."""

    async def signer(self) -> str:
        """Return what signs now, in a word that is no secret.

        Raises:
            StorageUnavailable: nothing can sign now.
        """
        ...


class Arrival(Protocol):
    """Bytes of one request on their way into a storage. Blocking.

    All bytes are given to ``write`` in order, and to ``hash`` in order. One thread may hash while
    another writes.
    """

    def write(self, data: "bytes | memoryview") -> None:
        """Keep the next bytes.

        Raises:
            TooLarge: more than were granted.
            StorageUnavailable: the storage does not take them.
        """
        ...

    def hash(self, data: "bytes | memoryview") -> None:
        """Count the next bytes in for the checksum."""
        ...

    def finish(self) -> SentPart:
        """Return what has arrived: it will be there for the commit.

        Raises:
            ChecksumMismatch: other bytes than were granted; they are dropped.
            StorageUnavailable: the storage did not take them.
        """
        ...

    def close(self) -> None:
        """Let go; what was not finished will never be committed. Repeatable."""
        ...


@runtime_checkable
class ServesBlobs(Protocol):
    """A storage whose signed requests lead to ``/v1/blobs`` of our own server. Blocking."""

    def allowed(self, method: str, key: str, query: str) -> Grant:
        """Return what a URL allows.

        Raises:
            Denied: it was not signed here, for something else, or has expired.
        """
        ...

    def arrive(self, grant: Grant) -> Arrival:
        """Begin to take the bytes of a request.

        Raises:
            NotFound: the upload was committed or aborted.
            StorageUnavailable: somebody else is sending the same bytes, or the storage is away.
        """
        ...

    def open(self, key: str) -> tuple[FileIO, StoredObject]:
        """Return an object and its open file, which stay as they are.

        Raises:
            NotFound: there is no such object.
            StorageUnavailable: it cannot be read.
        """
        ...
