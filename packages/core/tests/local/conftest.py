"""A laboratory for the local backend: real storage, real processes, bounded waiting."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import attrs
import pytest

from longshore.backends.local import Isolation, LocalSettings, open_local
from longshore.backends.local.attempts import Order, Record, mark, read_record
from longshore.backends.local.backend import LocalBackend
from longshore.backends.local.isolation import make_order, works
from longshore.backends.local.processes import marked
from longshore.clock import Clock, SystemClock
from longshore.ids import new_id
from longshore.models import Input, JobSpec, Observation, Output, Phase, RunRef
from longshore.staging import Manifest, decode_manifest
from longshore.storages.local import LocalStorage
from longshore.transfer import (
    Audience,
    PlannedInput,
    PlannedOutput,
    SignedUpload,
    TransferPlan,
    UploadReceipt,
    UploadTicket,
)

BUBBLEWRAP_WORKS = works(Isolation.BUBBLEWRAP, ())
HOUR = timedelta(hours=1)


@attrs.frozen(kw_only=True)
class Context:
    state: Path
    instance: str = "lab"
    clock: Clock = attrs.field(factory=SystemClock)


@attrs.define
class Lab:
    """One state directory and one storage; backends are opened on them one after the other."""

    directory: Path
    storage: LocalStorage
    default: Isolation = Isolation.NONE
    tickets: dict[tuple[str, str], UploadTicket] = attrs.field(factory=dict)

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @asynccontextmanager
    async def open(self, **settings: object) -> AsyncIterator[LocalBackend]:
        given = {"isolation": self.default, "slots": 4, **settings}
        async with open_local(LocalSettings(**given), Context(state=self.state)) as backend:  # type: ignore[arg-type]  # checked at run time
            await backend.snapshot()  # as a supervisor does first
            yield backend

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[LocalBackend]:
        """Open the backend as a program that does not supervise."""
        async with open_local(LocalSettings(), Context(state=self.state)) as backend:
            yield backend

    def ref(self) -> RunRef:
        return RunRef(new_id(datetime.now(UTC)), 1)

    def processes(self, ref: RunRef) -> list[int]:
        """Return what runs of an attempt, wherever it fled to."""
        return marked(mark(str(self.path(ref))))

    def path(self, ref: RunRef) -> Path:
        return self.state / "attempts" / ref.name

    def record(self, ref: RunRef) -> Record | None:
        return read_record(str(self.path(ref)))

    async def upload(self, ref: RunRef, name: str, max_size: int = 2**30) -> SignedUpload:
        ticket = await self.storage.prepare_upload(f"{ref.name}/{name}", max_size=max_size)
        self.tickets[ref.name, name] = ticket
        return await self.storage.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)

    async def plan(
        self, ref: RunRef, spec: JobSpec, inputs: dict[str, bytes] | None = None
    ) -> TransferPlan:
        async def one(content: bytes) -> AsyncIterator[bytes]:
            yield content

        planned = []
        for name, content in (inputs or {}).items():
            key = f"{ref.name}/inputs/{name}"
            await self.storage.write(key, one(content))
            request = await self.storage.sign_read(key, audience=Audience.JOB, expires=HOUR)
            planned.append(PlannedInput(name=name, request=request, size=len(content)))
        return TransferPlan(
            job_id=ref.job_id,
            attempt=ref.attempt,
            inputs=tuple(planned),
            outputs=tuple(
                [
                    PlannedOutput(name=output.name, upload=await self.upload(ref, output.name))
                    for output in spec.outputs
                ]
            ),
            log=await self.upload(ref, "log"),
            manifest=await self.upload(ref, "manifest"),
            valid_until=datetime.now(UTC) + HOUR,
        )

    def order(self, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> Order:
        return make_order(
            ref,
            spec,
            plan,
            root=str(self.path(ref)),
            engine=Isolation.NONE,
            settings=LocalSettings(),
        )

    def spec(self, script: str, **fields: object) -> JobSpec:
        return JobSpec(workflow="lab", command=("sh", "-c", script), **fields)  # type: ignore[arg-type]  # checked at run time

    async def submit(
        self,
        backend: LocalBackend,
        script: str,
        *,
        content: dict[str, bytes] | None = None,
        **fields: object,
    ) -> RunRef:
        """Submit a shell script with the inputs ``content`` and whatever the spec says."""
        if content:
            fields["inputs"] = tuple(Input(name=name) for name in content)
        ref, spec = self.ref(), self.spec(script, **fields)
        await backend.submit(ref, spec, await self.plan(ref, spec, content))
        return ref

    async def run(self, backend: LocalBackend, script: str, **fields: object) -> Observation:
        """Submit a shell script and return what is seen of it when it is over."""
        ref = await self.submit(backend, script, **fields)  # type: ignore[arg-type]  # passed on
        return await self.over(backend, ref)

    async def see(self, backend: LocalBackend, ref: RunRef) -> Observation | None:
        snapshot = await backend.snapshot()
        found = [seen for seen in snapshot.observations if seen.job_id == ref.job_id]
        return found[0] if found else None

    async def until(
        self,
        backend: LocalBackend,
        ref: RunRef,
        *phases: Phase,
        seconds: float = 20,
    ) -> Observation:
        found: list[Observation] = []

        async def is_there() -> bool:
            seen = await self.see(backend, ref)
            found[:] = [seen] if seen and seen.phase in phases else []
            return bool(found)

        await self.eventually(is_there, seconds=seconds)
        return found[0]

    async def over(self, backend: LocalBackend, ref: RunRef, *, seconds: float = 20) -> Observation:
        return await self.until(backend, ref, Phase.ENDED, Phase.TAKEN, seconds=seconds)

    async def started(self, backend: LocalBackend, ref: RunRef, text: bytes = b"ready") -> int:
        """Return the worker's pid when it has printed ``text``."""

        async def has_printed() -> bool:
            record = self.record(ref)  # the worker may be quicker than whoever writes its pid down
            return bool(record and record.care.worker) and text in await self.log(backend, ref)

        await self.eventually(has_printed)
        record = self.record(ref)
        assert record is not None
        assert record.care.worker is not None
        return record.care.worker.pid

    async def log(self, backend: LocalBackend, ref: RunRef, start: int = 0) -> bytes:
        return b"".join([chunk async for chunk in backend.logs(ref, start=start)])

    async def stored(self, ref: RunRef, name: str) -> bytes:
        """Commit an upload and return what it holds."""
        ticket = self.tickets[ref.name, name]
        stored = await self.storage.commit(ticket, UploadReceipt())
        return b"".join([chunk async for chunk in self.storage.read(stored.key)])

    async def manifest(self, ref: RunRef) -> Manifest:
        return decode_manifest(await self.stored(ref, "manifest"))

    def runner(self, ref: RunRef) -> int:
        record = self.record(ref)
        assert record is not None
        return record.care.runner.pid

    @staticmethod
    async def eventually(
        holds: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20
    ) -> None:
        """Return when ``holds()``; fail when it does not within the limit."""
        with anyio.fail_after(seconds):
            while True:
                answer = holds()
                if answer is True or (not isinstance(answer, bool) and await answer):
                    return
                await anyio.sleep(0.01)

    @staticmethod
    def parent(pid: int) -> int:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return int(fields[1])

    @staticmethod
    def is_running(pid: int) -> bool:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    @staticmethod
    def kill(*pids: int) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, LocalStorage(tmp_path / "storage"))


@pytest.fixture(
    params=[
        Isolation.NONE,
        pytest.param(
            Isolation.BUBBLEWRAP,
            marks=pytest.mark.skipif(not BUBBLEWRAP_WORKS, reason="bubblewrap does not work here"),
        ),
    ]
)
def both(request: pytest.FixtureRequest, lab: Lab) -> Lab:
    """The laboratory once without and once with a sandbox."""
    lab.default = request.param
    return lab


@pytest.fixture
def sandboxed(lab: Lab) -> Lab:
    """The laboratory with a sandbox."""
    if not BUBBLEWRAP_WORKS:
        pytest.skip("bubblewrap does not work here")
    lab.default = Isolation.BUBBLEWRAP
    return lab


@pytest.fixture
def outputs() -> Callable[..., tuple[Output, ...]]:
    return lambda *names, **fields: tuple(Output(name=name, **fields) for name in names)
