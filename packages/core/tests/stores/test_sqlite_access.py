"""What only the file of the SQLite store can show: its upgrade, its indexes, what lies in it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from longshore.errors import StoreUnavailable
from longshore.jobs import Step, create, replay
from longshore.lifecycle import JobState
from longshore.models import Job
from longshore.stores import rows
from longshore.stores.abc import JobQuery
from longshore.stores.sqlite import SQLiteStore, open_sqlite
from longshore.testing.store_samples import (
    T0,
    add,
    agree,
    make_agreement,
    make_job,
    make_token,
    move,
)

pytestmark = pytest.mark.anyio
_OLD = tuple(name for name in rows.COLUMNS if name != "agreement")


@contextlib.contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        yield connection
        connection.commit()


def make_first_version(path: Path, jobs: int) -> list[Job]:
    """Make the file that the first version of the schema had, with queued jobs in it."""
    made: list[Job] = []
    schema = resources.files("longshore.stores") / "schema" / "0001.sql"
    with connected(path) as connection:
        connection.executescript(schema.read_text("utf-8"))
        connection.execute("INSERT INTO meta VALUES ('instance', 'old')")
        for number in range(jobs):
            job, events = create(make_job(number, state=JobState.QUEUED, key=f"key {number}"))
            row = dict(
                zip(
                    rows.COLUMNS,
                    rows.encode_new_job(job, [rows.encode_changes(events[0].data)]),
                    strict=True,
                )
            )
            values = [row[name] for name in _OLD]
            marks = ", ".join("?" * len(_OLD))
            connection.execute(f"INSERT INTO jobs ({', '.join(_OLD)}) VALUES ({marks})", values)  # noqa: S608 - our own column names
            datas = [rows.encode_changes(event.data) for event in events]
            rows.insert_events(connection.cursor(), events, datas)
            made.append(job)
        connection.execute("PRAGMA user_version = 1")
    return made


async def test_the_state_of_the_first_version_is_taken_over_with_its_jobs(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    jobs = make_first_version(path, 20)
    async with open_sqlite(path) as store:
        assert store.instance == "old"
        assert await store.jobs(JobQuery()) == tuple(jobs[::-1])
        assert await store.waiting("local", limit=100) == tuple(jobs)
        assert (await add(store, make_job(99, key="key 7"))).id == jobs[7].id
        moved = await move(store, jobs[0], Step(JobState.RUNNING))
        assert replay(await store.events(moved.id)) == moved
        agreement = await agree(store, make_agreement(), make_token())
        new = await add(store, make_job(50, agreement=agreement.id))
    async with open_sqlite(path) as store:
        assert await store.job(new.id) == new
        assert await store.job(moved.id) == moved
        assert await store.agreement(agreement.id) == agreement


async def test_an_upgrade_that_fails_leaves_the_old_state_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    make_first_version(path, 1)
    with connected(path) as connection:
        connection.execute("CREATE TABLE tokens (mine TEXT)")
        before = connection.execute("SELECT name, sql FROM sqlite_schema").fetchall()
    with pytest.raises(StoreUnavailable, match="tokens already exists"):
        async with open_sqlite(path):
            pass
    with connected(path) as connection:
        assert connection.execute("SELECT name, sql FROM sqlite_schema").fetchall() == before
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


async def plans(store: SQLiteStore, tmp_path: Path) -> list[str]:
    """Return how SQLite finds what the access of tenants is decided on and ended by."""
    asked: list[str] = []
    await store.agreement("a")
    store._readers.idle[-1].set_trace_callback(asked.append)
    await store.agreement("a")
    await store.agreements(tenant="acme", before="a")
    await store.agreements_due(T0)
    await store.token("t")
    await store.tokens("a", before="t")
    await store.tokens(None)
    await store.credentials("d")
    await store.jobs(JobQuery(agreement="a", purged=False))
    await store.jobs(JobQuery(agreement="a", purged=False, states=(JobState.CREATED,)))
    with connected(tmp_path / "state.db") as connection:
        found = [connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall() for sql in asked]
    assert len(found) == 9
    return [detail for steps in found for *_, detail in steps]


async def test_every_question_about_access_follows_an_index(
    sqlite: SQLiteStore, tmp_path: Path
) -> None:
    steps = await plans(sqlite, tmp_path)
    assert all(step.startswith("SEARCH") for step in steps), steps
    assert sum("jobs_by_agreement" in step for step in steps) == 2


async def test_control_without_its_index_the_jobs_of_an_agreement_are_searched_for_one_by_one(
    sqlite: SQLiteStore, tmp_path: Path
) -> None:
    with connected(tmp_path / "state.db") as connection:
        connection.execute("DROP INDEX jobs_by_agreement")
    assert any(step.startswith("SCAN") for step in await plans(sqlite, tmp_path))
