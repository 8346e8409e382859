import io
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from longshore.staging import FileTransport
from longshore.storages.local import LocalStorage
from longshore.transfer import Audience, UploadReceipt, UploadTicket

KEY = "instance/tenant/job/outputs/result"
Upload = Callable[..., Awaitable[tuple[UploadTicket, UploadReceipt]]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def key() -> str:
    return KEY


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


@pytest.fixture
def upload() -> Upload:
    """Send bytes to a new upload; return its ticket and receipt."""

    async def send(
        storage: LocalStorage, data: bytes, key: str = KEY
    ) -> tuple[UploadTicket, UploadReceipt]:
        ticket = await storage.prepare_upload(key, max_size=10**8)
        signed = await storage.sign_upload(
            ticket, audience=Audience.JOB, expires=timedelta(hours=1)
        )
        return ticket, FileTransport().send(signed, io.BytesIO(data), max_size=10**8)

    return send


@pytest.fixture
def chunks() -> Callable[..., AsyncIterator[bytes]]:
    async def yield_all(*parts: bytes) -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    return yield_all
