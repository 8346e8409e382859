"""The service that the kill harness kills: ``python service.py HOME NUMBERS [MUTATION]``.

It reads submissions, one JSON object per line, from standard input and says ``ack KEY JOB`` on
standard output when ``submit`` returned. It also supervises. After the end of its input it goes on
until no job is unfinished and the engine is empty, and leaves.

A MUTATION takes one protecting rule out of the product, to show that the harness would see it.
"""

import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs

from longshore import decisions
from longshore.backends.local.backend import LocalBackend
from longshore.embedded import TENANT, Embedded, open_embedded
from longshore.models import Job, JobEvent, JobRequest, JobSpec, Resources, RunRef, Workflow
from longshore.stores.sqlite import SQLiteStore
from longshore.supervisor import supervisor
from longshore.supervisor.dispatch import Dispatcher
from longshore.transfer import Transfer, TransferPlan

#: an engine answers a moment after it did what it was asked
ENGINE_LATENCY = 0.003
SETTINGS = {
    "workflows": {"shipped": False},
    "backends": {"local": {"isolation": "none", "slots": 4}},
}


def make_workflow(numbers: Path) -> Workflow:
    """Return the workflow whose worker appends its number, by one short write, to ``numbers``."""
    return Workflow(
        id="append",
        command=("/bin/sh", "-c", f'echo "$LS_PARAM_NUMBER" >> {numbers}'),
        parameters={
            "type": "object",
            "properties": {"number": {"type": "integer"}},
            "required": ["number"],
        },
        resources=Resources(memory=64 * 1024**2),
    )


# the rules that can be taken out

_create = LocalBackend.submit
_submit = Dispatcher._submit
_add = SQLiteStore.add


async def slow_create(
    self: LocalBackend, ref: RunRef, spec: JobSpec, plan: TransferPlan
) -> None:
    """Create as ever, and answer a moment later."""
    await _create(self, ref, spec, plan)
    await anyio.sleep(ENGINE_LATENCY)


@attrs.frozen
class RandomRef(RunRef):
    """A reference whose name says nothing about the job."""

    @property
    def name(self) -> str:
        """Another name for every create."""
        return f"ls-{uuid.uuid4().hex}-{self.attempt}"


async def random_create(
    self: LocalBackend, ref: RunRef, spec: JobSpec, plan: TransferPlan
) -> None:
    """Create under a name that a second create does not meet."""
    await slow_create(self, RandomRef(ref.job_id, ref.attempt, ref.tenant), spec, plan)


async def dispatched_first(self: Dispatcher, job: Job) -> None:
    """Store ``dispatched`` before the engine has acknowledged anything."""
    await self._ledger.change(job.id, decisions.on_dispatched)
    await anyio.sleep(ENGINE_LATENCY)
    await _submit(self, job)


async def key_later(
    self: SQLiteStore,
    job: Job,
    events: Sequence[JobEvent],
    transfers: Sequence[Transfer] = (),
) -> Job:
    """Keep the job in one commit and its key in the next."""
    for kept in await self.unfinished(job.backend):
        if kept.key == job.key:
            return kept
    kept = await _add(self, attrs.evolve(job, key=None), events, transfers)
    await anyio.sleep(ENGINE_LATENCY)
    await self._write(
        lambda connection: connection.execute(
            "UPDATE jobs SET key = ? WHERE id = ?", (job.key, job.id)
        )
    )
    return attrs.evolve(kept, key=job.key)


MUTATIONS: dict[str, Callable[[], None]] = {
    "": lambda: setattr(LocalBackend, "submit", slow_create),
    "random-name": lambda: setattr(LocalBackend, "submit", random_create),
    "dispatched-first": lambda: setattr(Dispatcher, "_submit", dispatched_first),
    "key-later": lambda: setattr(SQLiteStore, "add", key_later),
}


# the service


async def lines() -> AsyncIterator[bytes]:
    """Yield the lines of standard input."""
    rest = b""
    while True:
        await anyio.wait_readable(0)
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line


async def submit(embedded: Embedded, order: dict[str, Any]) -> None:
    """Submit one job and say so when it is kept."""
    request = JobRequest(workflow="append", parameters={"number": order["number"]})
    submission = await embedded.host.service.submit(TENANT, request, key=order["key"])
    os.write(1, f"ack {order['key']} {submission.job.id}\n".encode())


async def drained(embedded: Embedded, home: Path) -> None:
    """Return when nothing is left to do."""
    attempts = home / "backends" / "local" / "attempts"
    while not await embedded.is_idle() or any(attempts.iterdir()):
        await anyio.sleep(0.02)


async def serve(home: Path, numbers: Path) -> None:
    """Serve until the input ends, then until nothing is left to do."""
    async with open_embedded(
        home, table=SETTINGS, workflows=[make_workflow(numbers)]
    ) as embedded:
        embedded.engage()
        os.write(1, b"ready\n")
        async with anyio.create_task_group() as tasks:
            async for line in lines():
                tasks.start_soon(submit, embedded, json.loads(line))
        await drained(embedded, home)


def main() -> None:
    """Apply the mutation, if any, and serve."""
    MUTATIONS[sys.argv[3] if len(sys.argv) > 3 else ""]()
    # an attempt is given up after two looks; the harness has no time for ten seconds between
    supervisor.SECOND_LOOK = timedelta(seconds=0.2)
    anyio.run(serve, Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
