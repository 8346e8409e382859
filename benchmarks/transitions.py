"""Durable transitions per second through the ledger, beside raw SQLite writing the same rows.

Every transition is decided, compared and swapped, and on the disk (synchronous=FULL) when its task
goes on. The peers write equivalent rows with the sqlite3 module alone, no decision and no tasks:
in groups of 100 per commit, and one by one. Must: 20,000/s. Stretch: 0.6 of raw group commit. The
garbage collector is set as a process of the service sets it (``longshore.collector``).
"""

import argparse
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import anyio
from _table import show

from longshore import decisions
from longshore.clock import SystemClock
from longshore.collector import collect_rarely
from longshore.deadlines import Limits
from longshore.eventlog import EventLog
from longshore.ids import new_id
from longshore.jobs import Step
from longshore.ledger import Decide, Ledger
from longshore.lifecycle import JobState
from longshore.models import Job, Observation, Outcome, OutcomeKind, Phase
from longshore.stores.sqlite import open_sqlite

_CLOCK = SystemClock()
_MUST = 20_000


def _observe(job_id: str, phase: Phase, outcome: Outcome | None = None) -> Decide:
    seen = Observation(job_id=job_id, attempt=1, phase=phase, outcome=outcome)
    return lambda job: decisions.on_observation(job, seen, restartable=False)


def _way(job_id: str) -> list[Decide]:
    """Return the five changes between a queued job and its end, as a supervisor makes them."""
    ended = Outcome(kind=OutcomeKind.EXITED, exit_code=0)
    return [
        decisions.on_dispatched,
        _observe(job_id, Phase.STAGING_IN),
        _observe(job_id, Phase.RUNNING),
        _observe(job_id, Phase.STAGING_OUT, ended),
        lambda _: Step(JobState.SUCCEEDED, {"products": (), "reason": None}),
    ]


def _job(number: int) -> Job:
    now = _CLOCK.now()
    return Job(
        id=new_id(now, lambda _: number),
        tenant="acme",
        workflow="wordcount",
        version="1",
        backend="local",
        created_at=now,
        parameters={"top": 20},
    )


async def _through_the_ledger(folder: Path, jobs: int, at_once: int) -> float:
    async with open_sqlite(folder / "ledger.db") as store:
        ledger = Ledger(store, EventLog(store), _CLOCK, Limits())
        ids: list[str] = []

        async def submit(mine: range) -> None:
            ids.extend([(await ledger.open(_job(number), queue=True)).id for number in mine])

        async def carry(mine: list[str]) -> None:
            for job_id in mine:
                for decide in _way(job_id):
                    await ledger.change(job_id, decide)

        async with anyio.create_task_group() as tasks:
            for first in range(at_once):
                tasks.start_soon(submit, range(first, jobs, at_once))
        begun = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for first in range(at_once):
                tasks.start_soon(carry, ids[first::at_once])
        return 5 * jobs / (time.perf_counter() - begun)


async def _sample(folder: Path) -> tuple[list[str], list[tuple[str, int, str]]]:
    """Return the schema, and what the five changes of one job write, from a store that did it."""
    async with open_sqlite(folder / "sample.db") as store:
        ledger = Ledger(store, EventLog(store), _CLOCK, Limits())
        job = await ledger.open(_job(0), queue=True)
        for decide in _way(job.id):
            await ledger.change(job.id, decide)
    with closing(sqlite3.connect(folder / "sample.db")) as connection:
        schema = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_schema") if sql]
        events = connection.execute("SELECT type, at, data FROM events WHERE seq > 2 ORDER BY seq")
        return schema, events.fetchall()


def _raw(
    folder: Path, schema: list[str], events: list[tuple[str, int, str]], jobs: int, group: int
) -> float:
    ids = [new_id(_CLOCK.now(), lambda _, number=number: number) for number in range(jobs)]  # type: ignore[misc]  # a default binds the number
    states = ("QUEUED", "STAGING_IN", "RUNNING", "STAGING_OUT", "SUCCEEDED")
    work = [
        ((state, "end", at, seq, at, job_id, seq - 1), (job_id, seq, kind, at, data))
        for first in range(0, jobs, 256)  # as many jobs as the ledger has under way
        for seq, (state, (kind, at, data)) in enumerate(zip(states, events, strict=True), start=3)
        for job_id in ids[first : first + 256]
    ]
    with closing(sqlite3.connect(folder / f"raw{group}.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        for statement in schema:
            connection.execute(statement)
        connection.execute("BEGIN")
        connection.executemany(_NEW_JOB, [(job_id,) for job_id in ids])
        connection.execute("COMMIT")
        begun = time.perf_counter()
        for first in range(0, len(work), group):
            connection.execute("BEGIN IMMEDIATE")
            for update, insert in work[first : first + group]:
                if connection.execute(_UPDATE, update).rowcount != 1:
                    raise RuntimeError("the peer does not write what it should")
                connection.execute(_INSERT, insert)
            connection.execute("COMMIT")
        return len(work) / (time.perf_counter() - begun)


_NEW_JOB = (
    "INSERT INTO jobs (id, tenant, workflow, version, backend, created_at, state, seq, attempt,"
    " parameters, resources, inputs, dispatched, products, enforced, unconfirmed, purged,"
    " next_what, next_by) VALUES (?, 'acme', 'wordcount', '1', 'local', 0, 'QUEUED', 2, 1,"
    " '{}', '{}', '[]', 0, '[]', '{}', 0, 0, 'start', 1)"
)
_UPDATE = (
    "UPDATE jobs SET state = ?, dispatched = 1, next_what = ?, next_by = ?, seq = ?,"
    " updated_at = ? WHERE id = ? AND seq = ?"
)
_INSERT = "INSERT INTO events (job_id, seq, type, at, data) VALUES (?, ?, ?, ?, ?)"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=10_000)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    collect_rarely()
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        schema, events = anyio.run(_sample, Path(place))
    for _ in range(given.rounds):
        for at_once in (256, 1024):
            with tempfile.TemporaryDirectory() as place:
                rate = anyio.run(_through_the_ledger, Path(place), given.jobs, at_once)
                rates.setdefault(f"ledger, {at_once:,} tasks", []).append(rate)
        for name, group, jobs in (
            ("raw SQLite, groups of 100", 100, given.jobs),
            ("raw SQLite, one by one", 1, given.jobs // 20),
        ):
            with tempfile.TemporaryDirectory() as place:
                rate = _raw(Path(place), schema, events, jobs, group)
                rates.setdefault(name, []).append(rate)
    peer = median(rates["raw SQLite, groups of 100"])
    show(
        f"durable state transitions, {given.jobs:,} jobs (must: {_MUST:,}/s)",
        ("", "median per second", "of raw groups", "best round"),
        [(name, median(found), median(found) / peer, max(found)) for name, found in rates.items()],
    )


if __name__ == "__main__":
    main()
