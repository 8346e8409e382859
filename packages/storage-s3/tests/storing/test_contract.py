"""The contract of a storage backend, on a real S3 server."""

import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.s3 import Open
from tests.s3sending import PlainTransport

from longshore.errors import NotFound
from longshore.staging.transport import Transport
from longshore.storages.abc import ListsUploads, StorageBackend
from longshore.testing import StorageBackendContract
from longshore.transfer import Audience, UploadReceipt
from longshore_s3.storage import S3Storage

HOUR = timedelta(hours=1)
KEY = "instance/tenant/job/outputs/open"


class TestS3Storage(StorageBackendContract):
    @pytest.fixture(autouse=True)
    def _raw(self, s3_client: Any, bucket: str) -> None:
        self.client, self.bucket = s3_client, bucket

    @pytest.fixture
    async def storage(self, opened: Open) -> AsyncIterator[StorageBackend]:
        async with opened() as storage:
            yield storage

    @pytest.fixture
    def transport(self) -> Transport:
        return PlainTransport()

    async def raw_exists(self, storage: StorageBackend, key: str) -> bool:
        name = raw_key(storage, key)
        listed = self.client.list_objects_v2(Bucket=self.bucket, Prefix=name).get("Contents", ())
        if name in {one["Key"] for one in listed}:
            return True
        with pytest.raises(ClientError, match="404"):
            self.client.head_object(Bucket=self.bucket, Key=name)
        return False

    # where the contract leaves it open

    async def test_another_checksum_than_the_receipt_says_is_refused(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        """A sha256 of the whole is its sender's word: who fetches the object verifies it."""
        ticket = await storage.prepare_upload(KEY, max_size=4)
        signed = await storage.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)
        transport.send(signed, io.BytesIO(b"data"), max_size=4)
        assert (await storage.commit(ticket, UploadReceipt(sha256="0" * 64))).sha256 is None

    async def test_an_upload_prepared_earlier_does_not_replace_a_later_one(
        self, storage: StorageBackend, transport: Transport
    ) -> None:
        """The one that is completed last stays: older ones are aborted before a new attempt."""
        tickets = []
        for data in (b"prepared first", b"prepared last"):
            ticket = await storage.prepare_upload(KEY, max_size=100)
            signed = await storage.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)
            transport.send(signed, io.BytesIO(data), max_size=100)
            tickets.append(ticket)
        for ticket in reversed(tickets):
            await storage.commit(ticket, UploadReceipt())
        assert await self.raw_bytes(storage, KEY) == b"prepared first"
        with pytest.raises(NotFound):
            await storage.commit(tickets[1], UploadReceipt())

    async def test_uploads_that_were_only_begun_are_listed_and_can_be_dropped(
        self,
        storage: StorageBackend,
        transport: Transport,  # noqa: ARG002 - the contract's
    ) -> None:
        """They are left to the bucket's rule: other installations' look the same."""
        assert not isinstance(storage, ListsUploads)

    async def raw_bytes(self, storage: StorageBackend, key: str) -> bytes:
        found = self.client.get_object(Bucket=self.bucket, Key=raw_key(storage, key))
        body: bytes = found["Body"].read()
        return body


def raw_key(storage: StorageBackend, key: str) -> str:
    assert isinstance(storage, S3Storage)
    return storage._name(key)
