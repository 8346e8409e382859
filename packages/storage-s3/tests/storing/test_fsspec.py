"""Storage on fsspec file systems: the contract, by signed URLs as our server answers them."""

import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from uuid import uuid4

import fsspec
import pytest

from longshore.blobs import PATH, BlobUrls, Secret
from longshore.clock import SystemClock
from longshore.errors import (
    ChecksumMismatch,
    Denied,
    SettingsInvalid,
    StorageUnavailable,
    TooLarge,
)
from longshore.hookspecs import PluginContext
from longshore.settings import build
from longshore.staging.transport import Transport
from longshore.storages.abc import ServesBlobs, StorageBackend
from longshore.testing import StorageBackendContract
from longshore.transfer import Audience, SignedRequest, SignedUpload, UploadReceipt
from longshore_s3.anyfiles import AnyObjects, open_any
from longshore_s3.settings import FsspecSettings

KEY = "instance/tenant/job/outputs/result"
HOUR = timedelta(hours=1)
BLOBS = BlobUrls(secret=Secret(b"s" * 32), public="https://compute.example/longshore")


def context(home: Path, blobs: BlobUrls | None = BLOBS) -> PluginContext:
    return PluginContext(state=home, instance="i", clock=SystemClock(), blobs=blobs)


class BlobTransport:
    """What our server does with signed URLs, without the server."""

    def __init__(self, storage: ServesBlobs) -> None:
        self._storage = storage

    def fetch(
        self, request: SignedRequest, into: BinaryIO, *, size: int, sha256: str | None
    ) -> None:
        key, query = taken_apart(request.url)
        self._storage.allowed("GET", key, query)
        file, _ = self._storage.open(key)
        with file:
            data = file.read()
        into.write(data)
        if len(data) != size or sha256 not in {None, hashlib.sha256(data).hexdigest()}:
            raise ChecksumMismatch("not the bytes that were announced")

    def send(self, upload: SignedUpload, source: BinaryIO, *, max_size: int) -> UploadReceipt:
        data = source.read(max_size + 1)
        if len(data) > max_size:
            raise TooLarge("too much")
        tags = []
        for number, part in enumerate(upload.parts):
            chunk = data[number * upload.part_size :][: upload.part_size]
            arrival = self._storage.arrive(self._storage.allowed("PUT", *taken_apart(part.url)))
            try:
                arrival.write(data if len(upload.parts) == 1 else chunk)
                arrival.hash(data if len(upload.parts) == 1 else chunk)
                tags.append(arrival.finish().tag)
            finally:
                arrival.close()
        return UploadReceipt(
            size=len(data), sha256=hashlib.sha256(data).hexdigest(), parts=tuple(tags)
        )


def taken_apart(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    assert parts.netloc == "compute.example"
    return parts.path.partition(PATH)[2], parts.query


class _OnAny(StorageBackendContract):
    url: str

    @pytest.fixture
    async def storage(self, tmp_path: Path) -> AsyncIterator[StorageBackend]:
        self.url = self.place(tmp_path)
        async with open_any(FsspecSettings(url=self.url), context(tmp_path / "spool")) as storage:
            yield storage

    @pytest.fixture
    def transport(self, storage: StorageBackend) -> Transport:
        assert isinstance(storage, ServesBlobs)
        return BlobTransport(storage)

    def place(self, home: Path) -> str:
        raise NotImplementedError

    async def raw_exists(self, _: StorageBackend, key: str) -> bool:
        files, root = fsspec.core.url_to_fs(self.url)
        there: bool = files.exists(f"{root}/{key}")
        return there

    async def raw_bytes(self, _: StorageBackend, key: str) -> bytes:
        files, root = fsspec.core.url_to_fs(self.url)
        data: bytes = files.cat_file(f"{root}/{key}")
        return data


class TestMemory(_OnAny):
    def place(self, _: Path) -> str:
        return f"memory://{uuid4().hex}"


class TestFile(_OnAny):
    def place(self, home: Path) -> str:
        return (home / "ein Verzeichnis ü").as_uri().replace("%20", " ").replace("%C3%BC", "ü")


pytestmark = pytest.mark.anyio


async def one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_every_request_leads_to_the_server(tmp_path: Path) -> None:
    async with open_any(FsspecSettings(url="memory://m"), context(tmp_path)) as storage:
        for audience in Audience:
            request = await storage.sign_read(KEY, audience=audience, expires=HOUR)
            assert request.url.startswith("https://compute.example/longshore/v1/blobs/instance/")
        with pytest.raises(Denied):
            storage.allowed("PUT", *taken_apart(request.url))


async def test_without_a_server_the_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="longshore serve"):
        async with open_any(FsspecSettings(url="memory://m"), context(tmp_path, None)):
            pass


@pytest.mark.parametrize(
    ("url", "options"),
    [("nothing://x", {}), ("dask://x", {}), ("sftp://hidden@x", {"no_such": 1})],
)
async def test_a_file_system_that_there_is_not_is_named(
    tmp_path: Path, url: str, options: dict[str, Any]
) -> None:
    settings = build(FsspecSettings, {"url": url, "options": options}, "storage")
    with pytest.raises(SettingsInvalid, match=url.partition(":")[0]) as caught:
        async with open_any(settings, context(tmp_path)):
            pass
    assert "hidden" not in str(caught.value) + repr(settings)


async def test_a_file_system_that_fails_may_be_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_any(
        FsspecSettings(url=f"memory://{uuid4().hex}"), context(tmp_path)
    ) as storage:

        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("token=hidden")

        with monkeypatch.context() as patch:
            patch.setattr("fsspec.implementations.memory.MemoryFileSystem.mv", fail)
            with pytest.raises(StorageUnavailable, match="RuntimeError") as caught:
                await storage.write(KEY, one(b"data"))
            assert "hidden" not in str(caught.value)
            assert await storage.stat(KEY) is None
        await storage.write(KEY, one(b"data"))
        assert b"".join([chunk async for chunk in storage.read(KEY)]) == b"data"


@pytest.mark.parametrize("step", ["put_file", "rm_file", "mv", "pipe_file"])
async def test_a_commit_that_is_killed_after_any_step_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class KilledError(BaseException):
        pass

    settings = FsspecSettings(url=(tmp_path / "there").as_uri())

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        async with open_any(settings, context(tmp_path / "spool")) as storage:
            yield storage

    async with opened() as storage:
        await storage.write(KEY, one(b"what was there before"))
        ticket = await storage.prepare_upload(KEY, max_size=4)
        signed = await storage.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)
        transport = BlobTransport(storage)
        receipt = transport.send(signed, io.BytesIO(b"data"), max_size=4)
        place = f"fsspec.implementations.local.LocalFileSystem.{step}"
        objects: AnyObjects = storage._objects
        done = getattr(objects._files, step)

        def killed(_: object, *args: object, **more: object) -> None:
            done(*args, **more)
            raise KilledError

        with monkeypatch.context() as patch:
            patch.setattr(place, killed)
            with pytest.raises(KilledError):
                await storage.commit(ticket, receipt)
        now = b"".join([chunk async for chunk in storage.read(KEY)])
        assert now in {b"what was there before", b"data"}
    async with opened() as storage:
        stored = await storage.commit(ticket, receipt)
        assert stored == await storage.commit(ticket, receipt) == await storage.stat(KEY)
        assert stored.sha256 == hashlib.sha256(b"data").hexdigest()
