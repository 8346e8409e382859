"""The embedded store: one SQLite file, write-ahead log, every commit on the disk.

All writes of a process go through one ``GroupCommit``; readers have connections of their own and
hold no transaction across an await. Several processes may have the file open: SQLite's lock orders
their commits.
"""

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import attrs

from longshore.background import background
from longshore.codec import from_json, to_json
from longshore.errors import Conflict, Stale, StoreUnavailable
from longshore.jobs import NOTES
from longshore.lifecycle import JobState
from longshore.models import AgreementState, Job, JobEvent, Workflow
from longshore.stores import rows
from longshore.stores.abc import JobQuery, check_open
from longshore.stores.groupcommit import GroupCommit
from longshore.stores.listing import JobRow
from longshore.stores.migrations import migrate
from longshore.stores.readers import Readers
from longshore.stores.reading import (
    RememberedJobs,
    RememberedWorkflows,
    decode_workflow,
    page,
    select_jobs,
)
from longshore.stores.sqliteaccess import SQLiteAccess
from longshore.transfer import Transfer

T = TypeVar("T")
#: rows that are selected sooner than a thread begins to
_QUICK = 16
_BUSY_SECONDS = 10.0
_JOB = ", ".join(rows.COLUMNS)
_EVENT = ", ".join(rows.EVENT_COLUMNS)
#: where the job has an agreement, only while that is open
_INSERT_JOB = (
    f"INSERT INTO jobs ({_JOB}) SELECT {', '.join('?' * len(rows.COLUMNS))} "  # noqa: S608 - our own column names
    "WHERE ? IS NULL OR EXISTS "
    f"(SELECT 1 FROM agreements WHERE id = ? AND state = '{AgreementState.ACTIVE}') "
    "ON CONFLICT DO NOTHING"
)
_LISTING = f"SELECT {', '.join(JobRow._fields)} FROM jobs WHERE "  # noqa: S608 - as above
_PUT_TRANSFER = "INSERT OR REPLACE INTO transfers VALUES (?, ?, ?, ?, ?, ?)"


@asynccontextmanager
async def open_sqlite(path: Path) -> AsyncIterator["SQLiteStore"]:
    """Open, or make, the store in the file ``path``; apply the schema changes that it lacks.

    Raises:
        StoreUnavailable: the file cannot be made or written, is no store, or is a newer one's.
    """
    connection = await anyio.to_thread.run_sync(_open, path)
    writer = GroupCommit(connection, path, patience=_BUSY_SECONDS)
    store = SQLiteStore(path, writer, _instance(connection))
    try:
        async with background() as tasks:
            tasks.start_soon(writer.run)
            yield store
    finally:
        store.close()
        connection.close()


def _connect(path: Path, patience: float = _BUSY_SECONDS) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = _connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection)
        path.chmod(0o600)
    except (sqlite3.Error, OSError) as exc:
        raise StoreUnavailable(
            f"the state in {path} cannot be opened: {exc}",
            hint="check that its directory exists, is writable and has space",
        ) from exc
    return connection


def _instance(connection: sqlite3.Connection) -> str:
    (instance,) = connection.execute("SELECT value FROM meta WHERE name = 'instance'").fetchone()
    return str(instance)


class SQLiteStore(SQLiteAccess):
    """Jobs, events and transfers in one file."""

    def __init__(self, path: Path, writer: GroupCommit, instance: str) -> None:
        self._path = path
        self._writer = writer
        self._instance = instance
        self._readers = Readers(path, _connect, lambda: writer.is_held_up)
        self._remembered = RememberedJobs(lambda: writer.commits)
        self._offered = RememberedWorkflows()

    def close(self) -> None:
        """Close the readers' connections."""
        self._readers.close()

    @property
    def instance(self) -> str:
        """The random id that was born with the file."""
        return self._instance

    # writing

    async def add(
        self, job: Job, events: Sequence[JobEvent], transfers: Sequence[Transfer] = ()
    ) -> Job:
        """Insert; the unique key of (tenant, key) decides who was first."""

        def insert(cursor: sqlite3.Cursor) -> Job:
            under = job.agreement
            datas = [rows.encode_changes(event.data) for event in events]
            row = (*rows.encode_new_job(job, datas), under, under)
            if not cursor.execute(_INSERT_JOB, row).rowcount:
                return _refused(cursor, job)
            rows.insert_events(cursor, events, datas)
            _put_transfers(cursor, transfers)
            return job

        return await self._writer.write(insert)

    async def save(
        self,
        job: Job,
        events: Sequence[JobEvent],
        *,
        expected: int,
        transfers: Sequence[Transfer] = (),
    ) -> None:
        """Update by compare-and-swap: only the columns that the events name are written."""

        def update(cursor: sqlite3.Cursor) -> None:
            datas = [rows.encode_changes(event.data) for event in events]
            columns = {name: value for data in datas for name, value in data.items()}
            for note in NOTES:
                columns.pop(note, None)
            columns["seq"] = job.seq
            columns["updated_at"] = rows.encode_time(job.updated_at or job.created_at)
            done = cursor.execute(_update(tuple(columns)), (*columns.values(), job.id, expected))
            if not done.rowcount:
                raise Stale(f"job {job.id} is no longer at seq {expected}")
            rows.insert_events(cursor, events, datas)
            _put_transfers(cursor, transfers)

        await self._writer.write(update)

    async def put_transfers(self, transfers: Sequence[Transfer]) -> None:
        """Insert or replace."""
        await self._writer.write(lambda cursor: _put_transfers(cursor, transfers))

    async def put_workflow(self, workflow: Workflow, *, origin: str) -> None:
        """Insert the version; an unused version may be replaced."""
        document = to_json(workflow)
        unplaced = to_json(attrs.evolve(workflow, directory=None))

        def put(cursor: sqlite3.Cursor) -> None:
            key = (workflow.id, workflow.version)
            found = cursor.execute(
                "SELECT document FROM workflows WHERE id = ? AND version = ?", key
            ).fetchone()
            if found is not None:
                kept = attrs.evolve(from_json(Workflow, found[0]), directory=None)
                used = cursor.execute(
                    "SELECT 1 FROM jobs WHERE workflow = ? AND version = ? LIMIT 1", key
                ).fetchone()
                if used and to_json(kept) != unplaced:
                    raise Conflict(
                        f"workflow {workflow.id} version {workflow.version} was used by a job "
                        "and cannot be changed",
                        hint="give the changed definition another version",
                    )
            cursor.execute("UPDATE workflows SET offered = 0 WHERE id = ?", key[:1])
            cursor.execute(
                "INSERT OR REPLACE INTO workflows VALUES (?, ?, ?, 1, ?)", (*key, origin, document)
            )

        try:
            await self._writer.write(put)
        finally:
            self._offered.forget()

    async def retire_workflow(self, workflow_id: str) -> None:
        """Offer no version of it."""
        sql = "UPDATE workflows SET offered = 0 WHERE id = ?"
        try:
            await self._writer.write(lambda cursor: cursor.execute(sql, (workflow_id,)).rowcount)
        finally:
            self._offered.forget()

    # reading

    async def transfers(self, job_id: str, attempt: int | None = None) -> tuple[Transfer, ...]:
        """Select by job, and attempt where given."""
        where, values = "job_id = ?", [job_id, attempt]
        if attempt is not None:
            where += " AND attempt = ?"
        return await self._documents(
            Transfer,
            f"SELECT document FROM transfers WHERE {where} ORDER BY attempt, kind, name",  # noqa: S608
            tuple(value for value in values if value is not None),
        )

    async def job(self, job_id: str) -> Job | None:
        """Select by primary key: here, as the way to a thread and back costs several times that."""
        return await self._read_quickly(lambda reader: self._remembered.job(reader, job_id))

    async def job_by_key(self, tenant: str, key: str) -> Job | None:
        """Select along the unique index of (tenant, key)."""
        found = await self._jobs("tenant = ? AND key = ?", (tenant, key))
        return found[0] if found else None

    async def jobs(self, query: JobQuery) -> tuple[Job, ...]:
        """Select a page along the index of (tenant, id), newest first."""
        return tuple(await self._jobs(*page(query)))

    async def listing(self, query: JobQuery) -> list[JobRow]:
        """Select the same page, and decode nothing of it."""
        where, values = page(query)
        return list(map(JobRow._make, await self._select(_LISTING + where, values)))

    async def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        """Select along the index of (job, seq)."""
        return await self._events("job_id = ? AND seq > ? ORDER BY seq", (job_id, after), limit)

    async def log(self, *, after: int, limit: int = 1000) -> list[JobEvent]:
        """Select along the positions, which are in the order of the commits."""
        return await self._events("position > ? ORDER BY position", (after,), limit)

    async def counts(self) -> dict[JobState, int]:
        """Count along the table."""
        found = await self._select("SELECT state, count(*) FROM jobs GROUP BY state")
        return {JobState(state): number for state, number in found}

    async def position(self) -> int:
        """Select the last position."""
        ((last,),) = await self._select("SELECT coalesce(max(position), 0) FROM events")
        return int(last)

    async def waiting(self, backend: str, *, limit: int) -> tuple[Job, ...]:
        """Select along the partial index of waiting jobs: here, as every end of a job asks."""
        where = "backend = ? AND state = 'QUEUED' AND dispatched = 0 ORDER BY id LIMIT ?"
        read = self._readers.quickly if limit <= _QUICK else self._readers.read
        return tuple(await read(partial(select_jobs, where=where, values=(backend, limit))))

    async def stopping(self, backend: str, *, limit: int) -> tuple[Job, ...]:
        """Select along the partial index of jobs that are to stop."""
        return tuple(
            await self._jobs(
                "backend = ? AND stop IS NOT NULL AND dispatched = 1 "
                "AND state IN ('QUEUED', 'STAGING_IN', 'RUNNING') ORDER BY id LIMIT ?",
                (backend, limit),
            )
        )

    async def waiting_ids(self, backend: str, *, limit: int) -> list[str]:
        """Read the partial index of waiting jobs alone, as one row.

        For every row a thread gives the interpreter away, and a busy loop lets it wait to get it
        back: ten thousand rows took a second.
        """
        ((found,),) = await self._select(
            "SELECT group_concat(id, ' ') FROM (SELECT id FROM jobs WHERE backend = ? "
            "AND state = 'QUEUED' AND dispatched = 0 ORDER BY id LIMIT ?)",
            (backend, limit),
        )
        return sorted((found or "").split())  # SQLite promises no order

    async def unfinished(self, backend: str, *, after: str = "", limit: int = 1000) -> list[Job]:
        """Select along the partial index of unfinished jobs."""
        return await self._jobs(
            "backend = ? AND state IN ('QUEUED', 'STAGING_IN', 'RUNNING', 'STAGING_OUT') "
            "AND id > ? ORDER BY id LIMIT ?",
            (backend, after, limit),
        )

    async def due(self, now: datetime, *, limit: int = 100) -> tuple[Job, ...]:
        """Select along the index of deadlines."""
        return tuple(
            await self._jobs(
                "next_by <= ? ORDER BY next_by LIMIT ?", (rows.encode_time(now), limit)
            )
        )

    async def next_due(self) -> datetime | None:
        """Select the first of the index of deadlines."""
        ((first,),) = await self._select("SELECT min(next_by) FROM jobs WHERE next_by IS NOT NULL")
        return None if first is None else rows.decode_time(first)

    async def check(self) -> None:
        """Write what is new each time, as a disk that is full takes the old again; and read."""
        sql = "INSERT OR REPLACE INTO meta VALUES ('checked', ?)"
        await self._writer.write(lambda cursor: cursor.execute(sql, (str(time.time_ns()),)))
        await self.position()

    async def workflow(self, workflow_id: str, version: str | None = None) -> Workflow | None:
        """Select a version, or the offered one: here, as every submission needs it."""
        if version is None:
            return await self._readers.quickly(lambda it: self._offered.offered(it, workflow_id))
        sql = "SELECT document FROM workflows WHERE id = ? AND version = ?"
        values = (workflow_id, version)
        found = await self._readers.quickly(lambda it: it.execute(sql, values).fetchone())
        return None if found is None else decode_workflow(found[0])

    async def workflows(self, *, origin: str | None = None) -> tuple[Workflow, ...]:
        """Select what is offered."""
        return await self._documents(
            Workflow,
            "SELECT document FROM workflows WHERE offered = 1 AND origin = coalesce(?, origin) "
            "ORDER BY id",
            (origin,),
        )

    # the two ways to the file

    async def _jobs(self, where: str, values: tuple[Any, ...]) -> list[Job]:
        return await self._read(lambda connection: select_jobs(connection, where, values))

    async def _events(self, where: str, values: tuple[Any, ...], limit: int) -> list[JobEvent]:
        sql = f"SELECT {_EVENT} FROM events WHERE {where} LIMIT ?"  # noqa: S608
        return await self._read(
            lambda connection: [
                rows.decode_event(row) for row in connection.execute(sql, (*values, limit))
            ]
        )

    async def _documents(self, kind: type[T], sql: str, values: tuple[Any, ...]) -> tuple[T, ...]:
        return await self._read(
            lambda connection: tuple(
                [from_json(kind, document) for (document,) in connection.execute(sql, values)]
            )
        )

    async def _select(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return await self._read(lambda connection: connection.execute(sql, values).fetchall())

    async def _read_quickly(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return await self._readers.quickly(query)

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return await self._readers.read(query)


@lru_cache(1024)
def _update(columns: tuple[str, ...]) -> str:
    assignments = ", ".join([f"{name} = ?" for name in columns])
    return f"UPDATE jobs SET {assignments} WHERE id = ? AND seq = ?"  # noqa: S608


def _refused(cursor: sqlite3.Cursor, job: Job) -> Job:
    """Return the job that has the key of one that was not inserted.

    Raises:
        Denied: there was none to be inserted under its agreement.
        Conflict: its id is another's.
    """
    if job.agreement is not None:
        sql = "SELECT state FROM agreements WHERE id = ?"
        (state,) = cursor.execute(sql, (job.agreement,)).fetchone() or (None,)
        check_open(state)
    found = select_jobs(cursor, "tenant = ? AND key = ?", (job.tenant, job.key))
    if not found:
        raise Conflict(f"there is a job {job.id} already")
    return found[0]


def _put_transfers(cursor: sqlite3.Cursor, transfers: Sequence[Transfer]) -> None:
    for one in transfers:
        key = (one.job_id, one.attempt, str(one.kind), one.name)
        cursor.execute(_PUT_TRANSFER, (*key, str(one.state), to_json(one)))
