"""The service that the kill harness kills: ``python service.py HOME NUMBERS MUTATIONS``.

It reads submissions, one JSON object per line, from standard input and says ``ack KEY JOB`` on
standard output when ``submit`` returned. It also supervises. After the end of its input it goes on
until no job is unfinished and the engine is empty, and leaves.

A mutation takes one protecting rule out of the product, to show that the harness would see it,
or has something happen at a moment that is hard to meet. No product code knows of them.
"""

import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs

from longshore import decisions
from longshore.backends.local.backend import LocalBackend
from longshore.embedded import Embedded, open_embedded
from longshore.ledger import Ledger
from longshore.models import LOCAL, Job, JobEvent, JobRequest, JobSpec, Resources, RunRef, Workflow
from longshore.stores.sqlite import SQLiteStore
from longshore.supervisor import supervisor as supervising
from longshore.supervisor.dispatch import Dispatcher
from longshore.supervisor.supervisor import Supervisor
from longshore.transfer import Transfer, TransferPlan

#: an engine answers a moment after it did what it was asked
ENGINE_LATENCY = 0.003
#: between two steps that a mutation puts in the wrong order: a kill falls into it sooner
GAP = 0.02
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
_spec = Dispatcher._spec
_add = SQLiteStore.add
_waiting = SQLiteStore.waiting
_record = Supervisor._record


def slow_create(seconds: float) -> Callable[..., Awaitable[None]]:
    """Return a create that answers ``seconds`` after it is done."""

    async def create(self: LocalBackend, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:
        await _create(self, ref, spec, plan)
        await anyio.sleep(seconds)

    return create


@attrs.frozen
class RandomRef(RunRef):
    """A reference whose name says nothing about the job."""

    token: str = attrs.field(factory=lambda: uuid.uuid4().hex)

    @property
    def name(self) -> str:
        """Another name for every create."""
        return f"ls-{self.token}-{self.attempt}"


async def random_create(self: LocalBackend, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:
    """Create under a name that a second create does not meet."""
    await _create(self, RandomRef(ref.job_id, ref.attempt, ref.tenant), spec, plan)
    await anyio.sleep(ENGINE_LATENCY)


async def dispatched_first(self: Dispatcher, job: Job, workflow: Workflow) -> JobSpec:
    """Store ``dispatched`` before the engine has acknowledged anything."""
    await self._ledger.change(job.id, decisions.on_dispatched)
    await anyio.sleep(GAP)
    return await _spec(self, job, workflow)


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
    keyless = [attrs.evolve(one, data={**one.data, "key": None}) for one in events]
    kept = await _add(self, attrs.evolve(job, key=None), keyless, transfers)
    await anyio.sleep(GAP)
    await self._writer.write(
        lambda connection: connection.execute(
            "UPDATE jobs SET key = ? WHERE id = ?", (job.key, job.id)
        )
    )
    return attrs.evolve(kept, key=job.key)


async def last_words(self: LocalBackend, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:
    """Create, and be killed before anybody hears of it."""
    await _create(self, ref, spec, plan)
    os.kill(os.getpid(), signal.SIGKILL)


async def slow_spec(self: Dispatcher, job: Job, workflow: Workflow) -> JobSpec:
    """Take so long to prepare a create that the job may end meanwhile."""
    await anyio.sleep(1.0)
    return await _spec(self, job, workflow)


async def slow_record(self: Supervisor, ref: RunRef) -> None:
    """Leave time between what the engine says and what is stored of it."""
    await anyio.sleep(0.3)
    await _record(self, ref)


_linger = [0.0]
_listed: dict[str, Job] = {}


async def stale_list(self: SQLiteStore, backend: str, *, limit: int) -> tuple[Job, ...]:
    """Answer so late that what waited may have ended."""
    found = await _waiting(self, backend, limit=limit)
    _listed.update({job.id: job for job in found})
    await anyio.sleep(1.0 if found else 0.0)
    return found


async def trusting(self: Ledger, job_id: str) -> Job:
    """Believe the list."""
    return _listed[job_id]


async def no_wait(self: Dispatcher, job_id: str) -> None:
    """Remove an attempt while it may be created."""


MUTATIONS: dict[str, Callable[[], None]] = {
    "slow-engine": lambda: setattr(LocalBackend, "submit", slow_create(ENGINE_LATENCY)),
    "slow-answer": lambda: setattr(LocalBackend, "submit", slow_create(0.5)),
    "random-name": lambda: setattr(LocalBackend, "submit", random_create),
    "dispatched-first": lambda: setattr(Dispatcher, "_spec", dispatched_first),
    "key-later": lambda: setattr(SQLiteStore, "add", key_later),
    "last-words": lambda: setattr(LocalBackend, "submit", last_words),
    "slow-spec": lambda: setattr(Dispatcher, "_spec", slow_spec),
    "slow-record": lambda: setattr(Supervisor, "_record", slow_record),
    "stale-list": lambda: setattr(SQLiteStore, "waiting", stale_list),
    "trusting": lambda: setattr(Ledger, "latest", trusting),
    "linger": lambda: _linger.append(2.2),
    "no-wait": lambda: setattr(Dispatcher, "submitted", no_wait),
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
    submission = await embedded.host.service.submit(LOCAL, request, key=order["key"])
    os.write(1, f"ack {order['key']} {submission.job.id}\n".encode())


async def drained(embedded: Embedded, home: Path) -> None:
    """Return when nothing is left to do."""
    attempts = home / "backends" / "local" / "attempts"
    await anyio.sleep(_linger[-1])
    while not await embedded.is_idle() or any(attempts.iterdir()):  # noqa: ASYNC110 - files tell nobody
        await anyio.sleep(0.02)


async def serve(home: Path, numbers: Path) -> None:
    """Serve until the input ends, then until nothing is left to do."""
    async with open_embedded(home, table=SETTINGS, workflows=[make_workflow(numbers)]) as embedded:
        embedded.engage()
        os.write(1, b"ready\n")
        async with anyio.create_task_group() as tasks:
            async for line in lines():
                tasks.start_soon(submit, embedded, json.loads(line))
        await drained(embedded, home)


def main() -> None:
    """Apply the mutation, if any, and serve."""
    for name in sys.argv[3].split(","):
        MUTATIONS[name]()
    # an attempt is given up after two looks; the harness has no time for ten seconds between
    supervising.SECOND_LOOK = timedelta(seconds=0.2)
    anyio.run(serve, Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
