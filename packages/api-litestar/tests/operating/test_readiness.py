"""How the parts are asked: at once, with patience, and seldom."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import pytest

from longshore.background import background
from longshore.errors import StoreUnavailable
from longshore.storages.local import LocalStorage
from longshore.testing.memory_store import MemoryStore
from longshore_api import readiness
from longshore_api.errors import NotReady
from longshore_api.readiness import Readiness

pytestmark = pytest.mark.anyio


class Store(MemoryStore):
    """A store that a test can break, and that counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.answer: Callable[[], Any] = lambda: None

    async def position(self) -> int:
        self.asked += 1
        if answer := self.answer():
            await answer
        return 0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def looking(store: Store, tmp_path: Path) -> AsyncIterator[Readiness]:
    async def probe(name: str) -> None:
        assert name == "local"

    async with background() as tasks:
        host = SimpleNamespace(
            store=store,
            storage=LocalStorage(tmp_path),
            settings=SimpleNamespace(backends={"local": None}),
            probe=probe,
            tasks=tasks,
        )
        yield Readiness(host, now=anyio.current_time)  # type: ignore[arg-type]  # the part of a host that it uses


async def test_many_at_once_are_one_question(looking: Readiness, store: Store) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(looking.require)

    assert store.asked == 1


async def test_an_old_answer_is_asked_again(
    looking: Readiness, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "FRESH", 0.0)

    await looking.look()
    await looking.look()

    assert store.asked == 2


async def test_a_broken_part_is_not_ready(looking: Readiness, store: Store) -> None:
    async def fail() -> None:
        raise StoreUnavailable("the disk /dev/sdb1 is gone")

    store.answer = fail

    with pytest.raises(NotReady) as caught:
        await looking.require()

    assert caught.value.checks == {"store": "failed", "storage": "ok", "backend:local": "ok"}
    assert "sdb1" not in str(caught.value)


async def test_a_defect_in_a_part_is_no_defect_of_the_answer(
    looking: Readiness, store: Store
) -> None:
    store.answer = lambda: 1 / 0

    assert (await looking.look()).parts["store"] == "failed"


async def test_a_part_that_hangs_in_a_thread_is_asked_once_and_not_waited_for(
    looking: Readiness, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PATIENCE", 0.05)
    monkeypatch.setattr(readiness, "FRESH", 0.0)
    ended = anyio.Event()

    async def hang() -> None:
        with anyio.CancelScope(shield=True):  # as a thread does
            await ended.wait()

    store.answer = hang

    with anyio.fail_after(5):
        first, second = await looking.look(), await looking.look()
    asked = store.asked
    ended.set()
    store.answer = lambda: None
    await anyio.wait_all_tasks_blocked()
    after = await looking.look()

    assert first.parts["store"] == second.parts["store"] == "no answer"
    assert first.parts["storage"] == "ok"
    assert asked == 1
    assert after.parts["store"] == "ok"
