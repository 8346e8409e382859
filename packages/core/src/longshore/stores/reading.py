"""Reading jobs and workflows from the file, and not twice what has not changed.

Reading a row is quick, and making a model of it is not: the version is read every time, the rest
only where it is another one.
"""

import math
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from longshore.codec import from_json
from longshore.models import Job, Workflow
from longshore.parameters import is_light
from longshore.stores import rows
from longshore.stores.abc import JobQuery

_MOST = 4096
#: seconds
_LIFE = 0.5
_FRESH = 0.001
_OFFERED = "SELECT document FROM workflows WHERE id = ? AND offered = 1"
_COLUMNS = ", ".join(rows.COLUMNS)
_JOBS = f"SELECT {_COLUMNS} FROM jobs WHERE "  # noqa: S608 - our own column names


def select_jobs(
    reader: sqlite3.Connection | sqlite3.Cursor, where: str, values: tuple[Any, ...]
) -> list[Job]:
    """Return the jobs that a condition of ours finds."""
    return [rows.decode_job(row) for row in reader.execute(_JOBS + where, values)]


def page(query: JobQuery) -> tuple[str, tuple[Any, ...]]:
    """Return the condition of a page, and its values."""
    conditions = ["1"]
    values: list[Any] = []
    for condition, value in (
        ("tenant = ?", query.tenant),
        ("workflow = ?", query.workflow),
        ("agreement = ?", query.agreement),
        ("id < ?", query.before),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if query.purged is not None:  # as a number: an index that holds it is found by the text
        conditions.append(f"purged = {query.purged:d}")
    if query.states:
        conditions.append(f"state IN ({', '.join('?' * len(query.states))})")
        values += [str(state) for state in query.states]
    return f"{' AND '.join(conditions)} ORDER BY id DESC LIMIT ?", (*values, query.limit)


class RememberedJobs:
    """The jobs that were looked at last. A job with the same ``seq`` is the same job.

    What this process writes is seen at once: ``commits`` counts it, whatever became of it. Another
    process's change counts ``_FRESH`` later.
    """

    def __init__(self, commits: Callable[[], int]) -> None:
        self._commits = commits
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._current: set[str] = set()  # of them, as they are since the file changed last
        self._versions: dict[sqlite3.Connection, int] = {}
        self._committed = 0
        self._fresh_until = -math.inf

    def job(self, connection: sqlite3.Connection, job_id: str) -> Job | None:
        """Return the job as it is in the file now, or None."""
        current = self._look(connection)
        kept = self._jobs.get(job_id)
        if kept is not None:
            if job_id in current:
                return kept
            row = connection.execute("SELECT seq FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is not None and kept.seq == row[0]:
                current.add(job_id)
                return kept
        for job in select_jobs(connection, "id = ?", (job_id,)):
            if not is_light(job.parameters):
                return job
            self._jobs[job_id] = job
            self._jobs.move_to_end(job_id)
            if len(self._jobs) > _MOST:
                self._jobs.popitem(last=False)
            current.add(job_id)
            return job
        return None

    def _look(self, connection: sqlite3.Connection) -> set[str]:
        """Return which jobs are as they are in the file, another set where that may have changed.

        Another one, as a thread may still add to the one that it was given before.
        """
        now, commits = time.monotonic(), self._commits()
        if commits == self._committed and now < self._fresh_until:
            return self._current
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if commits != self._committed or version != self._versions.get(connection):
            self._current = set()
        self._versions[connection] = version
        self._committed, self._fresh_until = commits, now + _FRESH
        return self._current


class RememberedWorkflows:
    """The workflows that are offered, as read within the last half second.

    What this process changes it forgets at once; another process's change counts that much later.
    """

    def __init__(self) -> None:
        self._offered: dict[str, tuple[float, Workflow | None]] = {}

    def forget(self) -> None:
        """Read again what is asked for next."""
        self._offered.clear()

    def offered(self, connection: sqlite3.Connection, workflow_id: str) -> Workflow | None:
        """Return the version that is offered, or None."""
        now = time.monotonic()
        read_at, workflow = self._offered.get(workflow_id, (-_LIFE, None))
        if now - read_at >= _LIFE:
            row = connection.execute(_OFFERED, (workflow_id,)).fetchone()
            workflow = None if row is None else decode_workflow(row[0])
            if len(self._offered) >= _MOST:
                self._offered.clear()
            self._offered[workflow_id] = (now, workflow)
        return workflow


@lru_cache(512)
def decode_workflow(document: str) -> Workflow:
    """Return the workflow of a document."""
    return from_json(Workflow, document)
