"""The contract of a storage backend, on a real S3 server, with the mover's transport."""

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.s3 import ACCESS_KEY, SECRET_KEY, S3Server

from longshore.clock import SystemClock
from longshore.staging.transport import Transport
from longshore.storages.abc import StorageBackend
from longshore.testing import StorageBackendContract
from longshore_mover.transport import HttpTransport
from longshore_s3.opening import open_storage
from longshore_s3.settings import S3Settings


class TestS3ByTheMover(StorageBackendContract):
    # what the storage leaves open is its own tests' to say, whatever the transport: None is not
    # collected
    test_another_checksum_than_the_receipt_says_is_refused = None  # type: ignore[assignment]
    test_an_upload_prepared_earlier_does_not_replace_a_later_one = None  # type: ignore[assignment]
    test_uploads_that_were_only_begun_are_listed_and_can_be_dropped = None  # type: ignore[assignment]

    @pytest.fixture
    async def storage(
        self, s3_server: S3Server, s3_client: Any, bucket: str
    ) -> AsyncIterator[StorageBackend]:
        self.client, self.bucket, self.prefix = s3_client, bucket, uuid.uuid4().hex
        settings = S3Settings(
            bucket=bucket,
            endpoint=s3_server.endpoint,
            prefix=self.prefix,
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
        )
        async with open_storage(settings, SystemClock()) as opened:
            yield opened

    @pytest.fixture
    def transport(self) -> Iterator[Transport]:
        transport = HttpTransport()
        yield transport
        transport.close()

    async def raw_exists(self, storage: StorageBackend, key: str) -> bool:  # noqa: ARG002 - the contract's
        try:
            self.client.head_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")
        except ClientError:
            return False
        return True

    async def raw_bytes(self, storage: StorageBackend, key: str) -> bytes:  # noqa: ARG002 - the contract's
        found = self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")
        body: bytes = found["Body"].read()
        return body
