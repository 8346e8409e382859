from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from longshore.stores.abc import Store
from longshore.stores.sqlite import open_sqlite
from longshore.testing import StoreContract
from longshore.testing.memory_store import MemoryStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with open_sqlite(tmp_path / "state.db") as store:
            yield store
