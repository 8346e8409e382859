"""The contract of storages, with requests that really go to a server."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import pytest
from tests.blobserving import Server

from longshore.errors import ChecksumMismatch, NotFound
from longshore.storages.abc import StorageBackend
from longshore.storages.local import LocalStorage
from longshore.testing import StorageBackendContract
from longshore.transfer import SignedRequest, SignedUpload, UploadReceipt


class HTTPTransport:
    """Sends requests to ``server``, and says what it was told."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def fetch(
        self, request: SignedRequest, into: BinaryIO, *, size: int, sha256: str | None
    ) -> None:
        answer = self._server.get(self._target(request))
        if answer.status != 200:
            raise NotFound(str(answer.status))
        if len(answer.body) != size:
            raise ChecksumMismatch(str(len(answer.body)))
        assert sha256 is None or answer.headers["etag"] == f'"{sha256}"'
        into.write(answer.body)

    def send(self, upload: SignedUpload, source: BinaryIO, *, max_size: int) -> UploadReceipt:
        size, tags = 0, list[str]()
        for part in upload.parts:
            data = source.read(upload.part_size)
            if not data and tags:
                break
            assert size + len(data) <= max_size
            answer = self._server.put(self._target(part), data)
            if answer.status != 200:
                raise NotFound(str(answer.status))
            tags.append(answer.headers["etag"].strip('"'))
            size += len(data)
        return UploadReceipt(size=size, parts=tuple(tags))

    def _target(self, request: SignedRequest) -> str:
        assert urlsplit(request.url).hostname == "public"
        return request.url.removeprefix("http://public")


class TestServedStorage(StorageBackendContract):
    @pytest.fixture
    def started(self, serve: Callable[..., Server]) -> Server:
        return serve()

    @pytest.fixture
    def storage(self, started: Server) -> LocalStorage:
        return started.opened("http://public", part_size=4)

    @pytest.fixture
    def transport(self, started: Server) -> HTTPTransport:
        return HTTPTransport(started)

    async def raw_exists(self, storage: StorageBackend, key: str) -> bool:
        return self._raw(storage, key).exists()

    async def raw_bytes(self, storage: StorageBackend, key: str) -> bytes:
        return self._raw(storage, key).read_bytes()

    def _raw(self, storage: StorageBackend, key: str) -> Path:
        assert isinstance(storage, LocalStorage)
        return storage._files.root / key
