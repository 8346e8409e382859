import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from longshore.errors import Stale, StoreUnavailable
from longshore.jobs import Step, create, replay
from longshore.lifecycle import JobState
from longshore.models import Job
from longshore.stores import groupcommit, reading
from longshore.stores.abc import JobQuery
from longshore.stores.sqlite import SQLiteStore, open_sqlite
from longshore.testing.store import add, make_job, make_transfer, move

pytestmark = pytest.mark.anyio


@contextlib.contextmanager
def counted_commits(store: SQLiteStore) -> Iterator[list[str]]:
    """Note every COMMIT of the one writer."""
    commits: list[str] = []
    connection = store._writer._connection
    connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    yield commits
    connection.set_trace_callback(None)


def raw(path: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute(sql).fetchall()
        connection.commit()
        return found


async def add_all(store: SQLiteStore, numbers: range, **fields: object) -> None:
    async with anyio.create_task_group() as tasks:
        for number in numbers:
            tasks.start_soon(add, store, make_job(number, **fields))


async def test_writes_that_wait_share_a_commit(sqlite: SQLiteStore) -> None:
    with counted_commits(sqlite) as commits:
        await add_all(sqlite, range(200))
    assert len(commits) <= 3
    assert len(await sqlite.jobs(JobQuery(limit=1000))) == 200


async def test_a_write_alone_waits_for_nobody(sqlite: SQLiteStore) -> None:
    with counted_commits(sqlite) as commits:
        for number in range(5):
            await add(sqlite, make_job(number))
    assert len(commits) == 5


async def put_good_and_bad_together(store: SQLiteStore) -> list[int]:
    """Write ten jobs at once, one of which cannot be written; return the numbers that failed."""
    failed: list[int] = []

    async def put(number: int) -> None:
        job, events = create(make_job(number))
        if number == 5:
            events *= 2  # one seq twice breaks the table's rule
        try:
            await store.add(job, events, [make_transfer(job)])
        except StoreUnavailable:
            failed.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(put, number)
    return failed


async def test_a_failing_write_takes_no_other_down(sqlite: SQLiteStore) -> None:
    assert await put_good_and_bad_together(sqlite) == [5]
    assert [job.id for job in await sqlite.jobs(JobQuery())] == [
        make_job(number).id for number in range(9, -1, -1) if number != 5
    ]
    assert await sqlite.transfers(make_job(5).id) == ()
    assert [event.position for event in await sqlite.log(after=0)] == list(range(1, 10))


async def test_control_without_the_second_try_a_failing_write_takes_its_group_down(
    sqlite: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit_once(self: groupcommit.GroupCommit, writes: list[groupcommit.Write]) -> list[object]:
        try:
            return self._commit_together(writes)
        except sqlite3.Error as exc:
            return [self._unavailable(exc)] * len(writes)

    monkeypatch.setattr(groupcommit.GroupCommit, "_commit", commit_once)
    assert len(await put_good_and_bad_together(sqlite)) > 1


async def test_a_writer_that_gives_up_waiting_leaves_whole_jobs(sqlite: SQLiteStore) -> None:
    async def give_up(number: int) -> None:
        with anyio.move_on_after(0.001 * (number % 4)):
            await add(sqlite, make_job(number))

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(give_up, number)
    await add(sqlite, make_job(1000))
    jobs = await sqlite.jobs(JobQuery(limit=1000))
    log = await sqlite.log(after=0)
    assert {event.job_id for event in log} == {job.id for job in jobs}
    assert len(log) == len(jobs)


async def test_everything_is_there_after_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "state.db"
    async with open_sqlite(path) as store:
        instance = store.instance
        job = await move(store, await add(store, make_job()), Step(JobState.RUNNING))
    async with open_sqlite(path) as store:
        assert store.instance == instance
        assert await store.job(job.id) == job
        assert replay(await store.events(job.id)) == job
    assert path.stat().st_mode & 0o777 == 0o600
    assert raw(path, "PRAGMA journal_mode") == [("wal",)]


async def test_every_commit_is_on_the_disk_before_it_is_said(sqlite: SQLiteStore) -> None:
    (mode,) = sqlite._writer._connection.execute("PRAGMA synchronous").fetchone()
    assert mode == 2, "FULL: the write-ahead log is synced at every commit"


async def test_two_stores_have_two_instances(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "1.db") as one, open_sqlite(tmp_path / "2.db") as two:
        assert one.instance != two.instance


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "state.db") as store:
        job = await add(store, make_job())
    with pytest.raises(StoreUnavailable, match="closed"):
        await add(store, make_job(1))
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.job(job.id)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.jobs(JobQuery())


async def test_what_waits_at_the_end_is_still_written(tmp_path: Path) -> None:
    async with anyio.create_task_group() as tasks, open_sqlite(tmp_path / "state.db") as store:
        for number in range(50):
            tasks.start_soon(add, store, make_job(number))
        await anyio.wait_all_tasks_blocked()
    assert raw(tmp_path / "state.db", "SELECT count(*) FROM jobs") == [(50,)]


# several processes

WRITE = """
import sys, anyio
from pathlib import Path
from longshore.stores.sqlite import open_sqlite
from longshore.testing.store import add, make_job

async def main():
    async with open_sqlite(Path(sys.argv[1])) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(1000, 1060):
            await add(store, make_job(number, key="k" if number == 1000 else None))

anyio.run(main)
"""


async def test_two_processes_write_at_the_same_time(sqlite: SQLiteStore, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE, str(tmp_path / "state.db")]
    async with await anyio.open_process(command) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 9) == b"ready"
        await process.stdin.send(b"\n")
        for number in range(60):
            await add(sqlite, make_job(number, key="k" if number == 0 else None))
        assert await process.wait() == 0
    jobs = await sqlite.jobs(JobQuery(limit=1000))
    assert len(jobs) == 119, "one of the two with the same key is the other"
    log = await sqlite.log(after=0)
    assert [event.position for event in log] == list(range(1, 120))
    assert {event.job_id for event in log} == {job.id for job in jobs}


def test_many_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    program = WRITE.replace("sys.stdin.readline()", "return")
    command = [sys.executable, "-c", program, str(tmp_path / "state.db")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert answers == [b"ready\n"] * 3
    assert len(raw(tmp_path / "state.db", "SELECT value FROM meta")) == 1


async def test_a_lock_that_is_held_too_long_is_said(sqlite: SQLiteStore, tmp_path: Path) -> None:
    sqlite._writer._patience = 10
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await add(sqlite, make_job())
        assert await sqlite.jobs(JobQuery()) == ()
        holder.execute("ROLLBACK")
    await add(sqlite, make_job())


# bad files and bad disks


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with open_sqlite(path):
        pass
    raw(path, "PRAGMA user_version = 99")
    with pytest.raises(StoreUnavailable, match="newer"):
        async with open_sqlite(path):
            pass
    assert raw(path, "PRAGMA user_version") == [(99,)]


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"these are my notes\n" * 500)
    with pytest.raises(StoreUnavailable, match=r"state\.db"):
        async with open_sqlite(path):
            pass
    assert path.read_bytes() == b"these are my notes\n" * 500


@pytest.mark.parametrize("place", ["file/state.db", ""])
async def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        async with open_sqlite(tmp_path / place):
            pass


async def test_a_damaged_file_is_said_and_answers_nothing_wrong(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with open_sqlite(path) as store:
        await add_all(store, range(300))
    size = path.stat().st_size
    with path.open("r+b") as file:  # everything but the first page, which has the schema
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    with pytest.raises(StoreUnavailable):
        async with open_sqlite(path) as store:
            await store.jobs(JobQuery(limit=1000))


async def test_text_that_no_job_can_be_made_of_is_said(sqlite: SQLiteStore, tmp_path: Path) -> None:
    job = await add(sqlite, make_job())
    raw(tmp_path / "state.db", "UPDATE jobs SET resources = '{\"cpus\": '")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await sqlite.job(job.id)


async def fill_until_refused(store: SQLiteStore) -> list[Job]:
    """Add jobs until the disk is full; return those that were accepted."""
    accepted: list[Job] = []
    with contextlib.suppress(StoreUnavailable):
        while True:
            job = make_job(len(accepted), parameters={"text": "x" * 2000})
            accepted.append(await add(store, job))
    return accepted


async def assert_holds_exactly(store: SQLiteStore, jobs: list[Job]) -> None:
    stored = await store.jobs(JobQuery(limit=10_000))
    assert list(stored) == jobs[::-1]
    log = await store.log(after=0, limit=10_000)
    assert [event.position for event in log] == list(range(1, len(log) + 1))
    for job in jobs:
        assert replay(await store.events(job.id)) == job


async def test_a_full_disk_refuses_and_heals(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 500_000)
    async with open_sqlite(small_disk / "state.db") as store:
        accepted = await fill_until_refused(store)
        assert accepted
        await assert_holds_exactly(store, accepted)
        with pytest.raises(StoreUnavailable, match="full"):
            await add(store, make_job(5000, parameters={"text": "x" * 50_000}))
        ballast.unlink()
        accepted.append(await add(store, make_job(6000)))
        await assert_holds_exactly(store, accepted)
    async with open_sqlite(small_disk / "state.db") as store:
        await assert_holds_exactly(store, accepted)


async def test_of_a_group_that_a_full_disk_refuses_nothing_is_half_written(
    small_disk: Path,
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 500_000)
    accepted: list[Job] = []
    refused: list[int] = []

    async def put(number: int) -> None:
        job = make_job(number, parameters={"text": "x" * 5000})
        try:
            accepted.append(await add(store, job, [make_transfer(job)]))
        except StoreUnavailable:
            refused.append(number)

    async with open_sqlite(small_disk / "state.db") as store:
        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(put, number)
        assert refused
        ballast.unlink()
        await assert_holds_exactly(store, sorted(accepted, key=lambda job: job.id))
        for number in refused:
            assert await store.transfers(make_job(number).id) == ()


async def test_a_disk_that_is_full_from_the_start_is_said(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError):
        ballast.write_bytes(b"x" * 2_000_000)
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        async with open_sqlite(small_disk / "state.db"):
            pass
    ballast.unlink()
    async with open_sqlite(small_disk / "state.db") as store:
        await add(store, make_job())


async def test_a_file_that_can_only_be_read_is_said(small_disk: Path) -> None:
    async with open_sqlite(small_disk / "state.db") as store:
        job = await add(store, make_job())
    await anyio.run_process(["mount", "-o", "remount,ro", str(small_disk)])
    with pytest.raises(StoreUnavailable):
        async with open_sqlite(small_disk / "state.db"):
            pass
    await anyio.run_process(["mount", "-o", "remount,rw", str(small_disk)])
    async with open_sqlite(small_disk / "state.db") as store:
        assert await store.job(job.id) == job


@contextlib.asynccontextmanager
async def two_stores(path: Path) -> AsyncIterator[tuple[SQLiteStore, SQLiteStore]]:
    """Open one file twice, as two processes do."""
    async with open_sqlite(path) as one, open_sqlite(path) as other:
        yield one, other


async def state_of(store: SQLiteStore, job: Job) -> JobState:
    found = await store.job(job.id)
    assert found is not None
    return found.state


async def test_what_this_process_writes_is_seen_at_once_though_it_was_just_looked_at(
    sqlite: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_FRESH", 3600.0)
    job = await add(sqlite, make_job())
    for state in (JobState.QUEUED, JobState.STAGING_IN, JobState.RUNNING):
        assert await state_of(sqlite, job) is job.state
        job = await move(sqlite, job, Step(state))
    assert await state_of(sqlite, job) is JobState.RUNNING


async def test_what_another_process_writes_is_seen_when_the_moment_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_stores(tmp_path / "state.db") as (store, other):
        job = await add(store, make_job())
        monkeypatch.setattr(reading, "_FRESH", 3600.0)
        assert await state_of(store, job) is JobState.CREATED
        await move(other, job, Step(JobState.QUEUED))
        assert await state_of(store, job) is JobState.CREATED  # within the moment, not yet
        store._remembered._fresh_until = 0.0
        assert await state_of(store, job) is JobState.QUEUED


async def test_a_step_that_another_process_was_ahead_of_is_told_of_the_job_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_stores(tmp_path / "state.db") as (store, other):
        job = await add(store, make_job())
        monkeypatch.setattr(reading, "_FRESH", 3600.0)
        assert await state_of(store, job) is JobState.CREATED
        await move(other, job, Step(JobState.QUEUED))
        with pytest.raises(Stale):
            await move(store, job, Step(JobState.QUEUED))
        assert await state_of(store, job) is JobState.QUEUED
