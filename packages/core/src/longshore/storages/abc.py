"""The contract of a storage backend: what keeps bytes and signs requests for them."""

import abc
from collections.abc import AsyncIterable, AsyncIterator
from datetime import timedelta

from longshore.transfer import (
    Audience,
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
    async def prepare_upload(self, key: str, *, max_size: int) -> UploadTicket:
        """Return a new upload to ``key`` that nobody can read before it is committed."""

    @abc.abstractmethod
    async def sign_upload(
        self, ticket: UploadTicket, *, audience: Audience, expires: timedelta
    ) -> SignedUpload:
        """Return the requests that send the parts of an upload. Repeatable."""

    @abc.abstractmethod
    async def commit(self, ticket: UploadTicket, receipt: UploadReceipt) -> StoredObject:
        """Verify an upload against its receipt and make it readable under its key.

        When it returns, the object is durable, whole and readable. Repeatable: a ticket that was
        committed before returns the same object. On an error nothing became readable.

        Raises:
            NotFound: nothing was uploaded, or the upload was aborted.
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
