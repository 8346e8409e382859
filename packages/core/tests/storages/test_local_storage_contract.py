from pathlib import Path

import pytest

from longshore.storages.abc import StorageBackend
from longshore.storages.local import LocalStorage
from longshore.testing import StorageBackendContract


class TestLocalStorage(StorageBackendContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> LocalStorage:
        return LocalStorage(tmp_path / "ein Verzeichnis ü %41")

    async def raw_exists(self, storage: StorageBackend, key: str) -> bool:
        return self._raw(storage, key).exists()

    async def raw_bytes(self, storage: StorageBackend, key: str) -> bytes:
        return self._raw(storage, key).read_bytes()

    def _raw(self, storage: StorageBackend, key: str) -> Path:
        assert isinstance(storage, LocalStorage)
        return storage._files.root / key
