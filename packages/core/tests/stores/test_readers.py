"""Reads on the event loop: quick, and elsewhere as soon as there is a sign that they are not."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from longshore.errors import StoreUnavailable
from longshore.stores import groupcommit, readers
from longshore.stores.groupcommit import GroupCommit
from longshore.stores.readers import Readers

pytestmark = pytest.mark.anyio


class Held:
    """Says whether the writer is held up."""

    now = False

    def __call__(self) -> bool:
        return self.now


def connect(path: Path, patience: float) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=patience, check_same_thread=False)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def reading(tmp_path: Path, held: Held) -> Iterator[Readers]:
    made = Readers(tmp_path / "state.db", connect, held)
    yield made
    made.close()


def where(_: sqlite3.Connection) -> int:
    """Return the thread that reads."""
    return threading.get_ident()


async def test_a_quick_read_is_done_on_the_loop(reading: Readers) -> None:
    assert await reading.quickly(where) == threading.get_ident()


async def test_while_the_writer_is_held_up_the_loop_reads_nothing(
    reading: Readers, held: Held
) -> None:
    held.now = True
    assert await reading.quickly(where) != threading.get_ident()
    held.now = False
    assert await reading.quickly(where) == threading.get_ident()


async def test_after_a_read_that_was_slow_the_loop_reads_nothing_for_a_while(
    reading: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_SLOW", -1.0)
    assert await reading.quickly(where) == threading.get_ident()
    assert await reading.quickly(where) != threading.get_ident()
    monkeypatch.setattr(reading, "_slow_until", time.monotonic())
    assert await reading.quickly(where) == threading.get_ident()


async def test_who_waits_behind_readers_that_hang_is_told_so(
    reading: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_PATIENCE", 0.05)
    ended = threading.Event()

    def hang(_: sqlite3.Connection) -> bool:
        return ended.wait(30)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(reading.read, hang)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(StoreUnavailable, match="answers nobody"):
            await reading.read(where)
        ended.set()


async def test_behind_a_commit_that_is_held_up_nobody_begins_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groupcommit, "_HELD_UP", 0.0)
    with sqlite3.connect(tmp_path / "s", isolation_level=None, check_same_thread=False) as it:
        writer = GroupCommit(it, tmp_path / "s", patience=0.0)
        ended = threading.Event()
        monkeypatch.setattr(writer, "_commit_patiently", lambda _: ended.wait(30) and ["done"])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            tasks.start_soon(writer.write, lambda cursor: cursor.execute("no SQL"))
            await anyio.wait_all_tasks_blocked()
            assert writer.is_held_up
            with pytest.raises(StoreUnavailable) as caught:
                await writer.write(lambda cursor: cursor.execute("SELECT 1"))
            assert caught.value.hint
            ended.set()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert not writer.is_held_up
    it.close()
