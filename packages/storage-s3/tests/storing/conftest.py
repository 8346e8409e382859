"""What the tests of the S3 storage share: an open storage on a real server, and a sender."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.s3 import ACCESS_KEY, SECRET_KEY, Open, S3Server

from longshore.clock import Clock, SystemClock
from longshore_s3.opening import open_storage
from longshore_s3.settings import S3Settings
from longshore_s3.storage import S3Storage

_KEYS = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def opened(s3_server: S3Server, bucket: str) -> Open:
    """Open the module's bucket below a prefix of the test's own."""
    prefix = f"test-{uuid.uuid4().hex[:8]}"

    @asynccontextmanager
    async def open_it(clock: Clock | None = None, **more: Any) -> AsyncIterator[S3Storage]:
        given: dict[str, Any] = {
            "bucket": bucket,
            "endpoint": s3_server.endpoint,
            "prefix": prefix,
            **({} if "access_key_file" in more or "credentials_file" in more else _KEYS),
            **more,
        }
        async with open_storage(S3Settings(**given), clock or SystemClock()) as storage:
            yield storage

    return open_it


@pytest.fixture
async def storage(opened: Open) -> AsyncIterator[S3Storage]:
    async with opened() as one:
        yield one
