"""A page of 50 of 100,000 jobs through the service, beside the bare statement on the same file.

Pages are asked for one after another, from random places, of a tenant among others, as consumers
do who leaf through their jobs. Must: p99 of 3 ms.
"""

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median

import anyio
from _table import percentile, show

from longshore.clock import SystemClock
from longshore.deadlines import Limits
from longshore.eventlog import EventLog
from longshore.ids import new_id
from longshore.jobs import create
from longshore.ledger import Ledger
from longshore.lifecycle import JobState
from longshore.models import Job
from longshore.service import JobService
from longshore.storages.local import LocalStorage
from longshore.stores.abc import JobQuery
from longshore.stores.sqlite import SQLiteStore, open_sqlite

_CLOCK = SystemClock()
_PAGE = 50
_MUST_MS = 3.0
_RAW = "SELECT * FROM jobs WHERE tenant = ? AND id < ? ORDER BY id DESC LIMIT 50"


async def _fill(store: SQLiteStore, jobs: int) -> list[str]:
    """Add jobs of ten tenants; return the ids of the first tenant's."""
    now = _CLOCK.now()
    states = list(JobState)
    ids: list[str] = []

    async def add(mine: range) -> None:
        for number in mine:
            at = now + timedelta(milliseconds=number)
            job = Job(
                id=new_id(at),
                tenant=f"tenant-{number % 10}",
                workflow="wordcount",
                version="1",
                backend="local",
                created_at=at,
                state=states[number % len(states)],
                parameters={"top": number},
            )
            born, events = create(job)
            await store.add(born, events)
            if number % 10 == 0:
                ids.append(job.id)

    async with anyio.create_task_group() as tasks:
        for first in range(512):
            tasks.start_soon(add, range(first, jobs, 512))
    return ids


async def _milliseconds(ask: Sequence[Callable[[], Awaitable[object]]]) -> list[float]:
    took: list[float] = []
    for one in ask:
        begun = time.perf_counter()
        await one()
        took.append((time.perf_counter() - begun) * 1000)
    return took


async def _measure(folder: Path, jobs: int, pages: int, rounds: int) -> None:
    path = folder / "state.db"
    async with open_sqlite(path) as store:
        ids = await _fill(store, jobs)
        log = EventLog(store)
        ledger = Ledger(store, log, _CLOCK, Limits())
        service = JobService(store, LocalStorage(folder / "storage"), ledger, log, _CLOCK)
        rows: dict[str, list[list[float]]] = {}
        with closing(sqlite3.connect(path)) as connection:

            async def raw(before: str) -> None:
                connection.execute(_RAW, ("tenant-0", before)).fetchall()

            queries: dict[str, Callable[[str], JobQuery]] = {
                "service: newest": lambda _: JobQuery(limit=_PAGE),
                "service: from anywhere": lambda before: JobQuery(limit=_PAGE, before=before),
                "service: only RUNNING": lambda before: JobQuery(
                    limit=_PAGE, before=before, states=(JobState.RUNNING,)
                ),
            }
            for _ in range(rounds):
                places = random.choices(ids[100:], k=pages)  # noqa: S311 - places to look at
                for name, query in queries.items():
                    ask = [partial(service.jobs, "tenant-0", query(place)) for place in places]
                    rows.setdefault(name, []).append(await _milliseconds(ask))
                bare = await _milliseconds([partial(raw, place) for place in places])
                rows.setdefault("bare statement, tuples", []).append(bare)
    peer = median(median(found) for found in rows["bare statement, tuples"])
    show(
        f"a page of {_PAGE} of {jobs:,} jobs, in ms (must: p99 of {_MUST_MS})",
        ("", "median", "p99", "of bare"),
        [
            (
                name,
                median(median(one) for one in found),
                median(percentile(one, 0.99) for one in found),
                median(median(one) for one in found) / peer,
            )
            for name, found in rows.items()
        ],
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=100_000)
    arguments.add_argument("--pages", type=int, default=1000)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(_measure, Path(folder), given.jobs, given.pages, given.rounds)


if __name__ == "__main__":
    main()
