"""Memory of 10,000 RUNNING jobs in a process that supervises them, over the same process idle.

A whole host runs in a process of its own: SQLite, local storage, supervisor, deadlines, and a
backend that takes every attempt and says that it runs. Idle is measured after a few jobs came and
went, so that code, caches and threads are there. Must: 10 MiB.
"""

import argparse
import ctypes
import gc
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from statistics import median

import anyio
import attrs
from _table import show

from longshore.backends.abc import WorkflowBackend
from longshore.hookspecs import PluginContext, WorkflowBackendPlugin, hookimpl
from longshore.host import Host, open_host
from longshore.ids import ID_LENGTH
from longshore.lifecycle import JobState
from longshore.models import (
    JobRequest,
    JobSpec,
    Observation,
    Phase,
    RunRef,
    Snapshot,
    Workflow,
)
from longshore.registry import load_plugins
from longshore.settings import parse_settings
from longshore.transfer import TransferPlan

_MUST_MIB = 10.0
_TENANT = "acme"


class EndlessBackend(WorkflowBackend):
    """Takes every attempt, says that it runs, and remembers what it could ask an engine for."""

    def __init__(self, context: PluginContext) -> None:
        self._clock = context.clock
        self._send, self._receive = anyio.create_memory_object_stream[Observation](100_000)
        self._attempts = bytearray()  # ids in a row: an engine's memory is not ours

    async def submit(self, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:  # noqa: ARG002 - the contract's
        """Say at once that it runs."""
        self._attempts += ref.job_id.encode()
        self._send.send_nowait(_seen(ref.job_id))

    async def renew(self, ref: RunRef, plan: TransferPlan) -> None:
        """Keep nothing."""

    async def stop(self, ref: RunRef, *, grace: timedelta) -> None:  # noqa: ARG002 - the contract's
        """Say at once that it ended."""
        self._send.send_nowait(attrs.evolve(_seen(ref.job_id), phase=Phase.ENDED))

    async def observe(self) -> AsyncIterator[Observation]:
        """Yield what was said."""
        async for seen in self._receive:
            yield seen

    async def snapshot(self) -> Snapshot:
        """Return every attempt."""
        now = self._clock.now()
        ids = self._attempts.decode()
        places = range(0, len(ids), ID_LENGTH)
        return Snapshot(now, tuple([_seen(ids[place : place + ID_LENGTH]) for place in places]))

    async def logs(self, ref: RunRef, *, start: int = 0) -> AsyncIterator[bytes]:  # noqa: ARG002 - the contract's
        """Yield nothing."""
        for chunk in tuple[bytes, ...]():
            yield chunk

    async def remove(self, ref: RunRef) -> None:
        """Forget the attempt."""
        place = self._attempts.find(ref.job_id.encode())
        if place >= 0:
            del self._attempts[place : place + ID_LENGTH]


def _seen(job_id: str) -> Observation:
    return Observation(job_id=job_id, attempt=1, phase=Phase.RUNNING)


@attrs.frozen
class _NoSettings:
    """The backend has none."""


class _Plugin:
    @staticmethod
    @hookimpl
    def longshore_workflow_backends() -> list[WorkflowBackendPlugin]:
        @asynccontextmanager
        async def opened(_: object, context: PluginContext) -> AsyncIterator[WorkflowBackend]:
            yield EndlessBackend(context)

        return [WorkflowBackendPlugin(name="endless", settings=_NoSettings, open=opened)]


def _resident() -> int:
    """Return the bytes of this process that are in memory, less what could be given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _in_state(home: Path, state: JobState) -> list[str]:
    """Return the ids of jobs, past the host: asking it would fill the memory that is measured."""
    with closing(sqlite3.connect(home / "state.db")) as connection:
        found = connection.execute("SELECT id FROM jobs WHERE state = ?", (str(state),))
        return [job_id for (job_id,) in found]


async def _until(home: Path, jobs: int, state: JobState) -> None:
    while len(_in_state(home, state)) < jobs:  # noqa: ASYNC110 - another process would do the same
        await anyio.sleep(0.2)


async def _run(host: Host, home: Path, jobs: int) -> None:
    """Submit jobs and wait until all of them run."""
    request = JobRequest(workflow="endless", parameters={"top": 20})

    async def submit(count: int) -> None:
        for _ in range(count):
            await host.service.submit(_TENANT, request)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(submit, jobs // 50)
    await _until(home, jobs, JobState.RUNNING)


async def _measure(home: Path, jobs: int) -> dict[str, int]:
    settings = parse_settings(
        {"backends": {"endless": {"plugin": "endless"}}, "workflows": {"shipped": False}}
    )
    parameters = {"type": "object", "properties": {"top": {"type": "integer"}}}
    workflow = Workflow(id="endless", command=("true",), parameters=parameters)
    plugins = load_plugins(installed=False, extra=[_Plugin()])
    async with (
        open_host(settings, home, workflows=[workflow], plugins=plugins) as host,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(host.supervise)
        await _run(host, home, 500)
        for job_id in _in_state(home, JobState.RUNNING):
            await host.service.cancel(_TENANT, job_id)
        await _until(home, 500, JobState.CANCELED)
        idle = _resident()
        await _run(host, home, jobs)
        tracked = _resident()
        tasks.cancel_scope.cancel()
    return {"idle": idle, "tracked": tracked}


def _in_a_process(jobs: int) -> dict[str, int]:
    command = [sys.executable, __file__, "--inside", "--jobs", str(jobs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=10_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.inside:
        with tempfile.TemporaryDirectory() as home:
            print(json.dumps(anyio.run(_measure, Path(home), given.jobs)))
        return
    found = [_in_a_process(given.jobs) for _ in range(given.rounds)]
    mib = 1024**2
    more = median(one["tracked"] - one["idle"] for one in found)
    show(
        f"memory of {given.jobs:,} running jobs, in MiB (must: {_MUST_MIB} over idle)",
        ("", "MiB", "bytes per job"),
        [
            ("idle", median(one["idle"] for one in found) / mib, "-"),
            ("tracking", median(one["tracked"] for one in found) / mib, "-"),
            ("over idle", more / mib, more / given.jobs),
        ],
    )


if __name__ == "__main__":
    main()
