"""An engine that says and does what a test tells it, in a host that is otherwise real."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs
import pytest

from longshore.backends.abc import WorkflowBackend
from longshore.clock import Clock
from longshore.hookspecs import PluginContext, WorkflowBackendPlugin, hookimpl
from longshore.host import Host, open_host
from longshore.models import (
    Job,
    JobRequest,
    JobSpec,
    JobState,
    Observation,
    Outcome,
    OutcomeKind,
    Phase,
    RunRef,
    Snapshot,
    Workflow,
)
from longshore.registry import load_plugins
from longshore.settings import parse_settings
from longshore.staging import FileTransport, stage_out
from longshore.transfer import TransferPlan

PATIENCE = 20.0
_LOOK = 0.002
EXITED = Outcome(kind=OutcomeKind.EXITED, exit_code=0)
TENANT = "acme"
WORKFLOW = Workflow(id="script", command=("true",))

Hook = Callable[[RunRef], Awaitable[None]]


async def until(holds: Callable[[], Any], what: str) -> None:
    """Return when ``holds`` does; fail after a while."""
    with anyio.move_on_after(PATIENCE):
        while not (found := holds()) or (isinstance(found, Awaitable) and not await found):  # noqa: ASYNC110 - what is waited for sets no event
            await anyio.sleep(_LOOK)
        return
    pytest.fail(f"waited {PATIENCE:g} s for: {what}")


@attrs.frozen
class EngineSettings:
    """Nothing can be set."""


class Engine(WorkflowBackend):
    """Holds attempts; ``before`` has what to do in a call before it does anything."""

    def __init__(self) -> None:
        self.attempts: dict[RunRef, Observation] = {}
        self.plans: dict[RunRef, TransferPlan] = {}
        self.calls: list[tuple[str, RunRef]] = []
        self.before: dict[str, Hook] = {}
        self.slots = 2
        self._sender, self._receiver = anyio.create_memory_object_stream[Observation](1000)
        self.sort: Callable[[RunRef], Any] = lambda ref: ref

    @asynccontextmanager
    async def open(self, _: EngineSettings, __: PluginContext) -> AsyncIterator[WorkflowBackend]:
        yield self

    async def _called(self, name: str, ref: RunRef) -> None:
        self.calls.append((name, ref))
        if name in self.before:
            await self.before[name](ref)

    async def submit(self, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:  # noqa: ARG002 - the contract's
        await self._called("submit", ref)
        waiting = Observation(job_id=ref.job_id, attempt=ref.attempt, phase=Phase.WAITING)
        self.attempts.setdefault(ref, waiting)
        self.plans.setdefault(ref, plan)

    async def renew(self, ref: RunRef, plan: TransferPlan) -> None:  # noqa: ARG002 - same
        await self._called("renew", ref)

    async def stop(self, ref: RunRef, *, grace: timedelta) -> None:  # noqa: ARG002 - the contract's
        await self._called("stop", ref)

    async def observe(self) -> AsyncIterator[Observation]:
        while True:
            yield await self._receiver.receive()

    async def snapshot(self) -> Snapshot:
        as_of = datetime.now(UTC)
        await self._called("snapshot", RunRef("", 0))
        refs = sorted(self.attempts, key=self.sort)
        return Snapshot(as_of, tuple(self.attempts[ref] for ref in refs))

    async def logs(self, ref: RunRef, *, start: int = 0) -> AsyncIterator[bytes]:  # noqa: ARG002 - same
        for _ in ():
            yield b""

    async def remove(self, ref: RunRef) -> None:
        await self._called("remove", ref)
        self.attempts.pop(ref, None)

    # what the test does

    def close(self) -> None:
        """Close the channel of the hints."""
        self._sender.close()
        self._receiver.close()

    def tell(self, ref: RunRef, phase: Phase, *, hint: bool = True, **fields: Any) -> None:
        """Bring an attempt to a phase, and say so unless the hint is to be missed."""
        seen = Observation(job_id=ref.job_id, attempt=ref.attempt, phase=phase, **fields)
        self.attempts[ref] = seen
        if hint:
            self._sender.send_nowait(seen)

    async def end(
        self, ref: RunRef, *, hint: bool = True, ended_at: datetime | None = None
    ) -> None:
        """End an attempt with 0, its results staged out."""
        plan = self.plans[ref]
        with open_log() as log:
            await anyio.to_thread.run_sync(
                lambda: stage_out(
                    plan,
                    (),
                    {},
                    log=log,
                    log_cap=1000,
                    outcome=EXITED,
                    started_at=None,
                    ended_at=None,
                    transport=FileTransport(),
                )
            )
        ended_at = ended_at or datetime.now(UTC)
        self.tell(ref, Phase.ENDED, outcome=EXITED, ended_at=ended_at, hint=hint)


@contextmanager
def open_log() -> Iterator[Path]:
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        log.write_bytes(b"said\n")
        yield log


class Lab:
    """A home, an engine, and hosts that are opened on them one after the other."""

    until = staticmethod(until)

    def __init__(self, home: Path) -> None:
        self.home = home
        self.engine = Engine()

    @asynccontextmanager
    async def host(
        self, *, clock: Clock | None = None, supervised: bool = True, **deadlines: str
    ) -> AsyncIterator[Host]:
        engine = self.engine

        class Plugin:
            @hookimpl
            def longshore_workflow_backends(self) -> list[WorkflowBackendPlugin]:
                return [
                    WorkflowBackendPlugin(name="engine", settings=EngineSettings, open=engine.open)
                ]

        settings = parse_settings(
            {
                "workflows": {"shipped": False},
                "backends": {"engine": {}},
                "deadlines": deadlines,
            }
        )
        plugins = load_plugins(installed=False, extra=[Plugin()])
        async with open_host(
            settings, self.home, workflows=[WORKFLOW], clock=clock, plugins=plugins
        ) as host:
            if not supervised:
                yield host
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(host.supervise)
                yield host
                tasks.cancel_scope.cancel()

    async def submitted(self, host: Host) -> tuple[Job, RunRef]:
        """Return a job that the engine has."""
        job = (await host.service.submit(TENANT, JobRequest(workflow="script"))).job
        ref = RunRef(job.id, 1, TENANT)
        await self.reached(host, job, lambda job: job.dispatched)
        return job, ref

    async def reached(self, host: Host, job: Job, holds: Callable[[Job], bool] | JobState) -> Job:
        """Return the job when it is so."""
        wanted = (lambda job: job.state is holds) if isinstance(holds, JobState) else holds

        async def look() -> bool:
            return wanted(await host.service.job(TENANT, job.id))

        await until(look, f"job {job.id} to be {holds}")
        return await host.service.job(TENANT, job.id)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "home")
    yield lab
    lab.engine.close()
