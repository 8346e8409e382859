"""A laboratory for a workflow backend: plans, attempts, and bounded waiting."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import attrs
import pytest

from longshore.backends.abc import WorkflowBackend
from longshore.errors import NotFound, RetryError
from longshore.ids import new_id
from longshore.models import JobSpec, Observation, Phase, RunRef
from longshore.staging import MANIFEST_MAX_SIZE, Manifest, decode_manifest
from longshore.storages.abc import StorageBackend
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

T = TypeVar("T")
#: opens the backend under test, each time on the same state
OpenBackend = Callable[[], AbstractAsyncContextManager[WorkflowBackend]]
OVER = frozenset({Phase.ENDED, Phase.TAKEN})
HOUR = timedelta(hours=1)
MOMENT = timedelta(seconds=0.2)
#: a worker that says that it runs, and ends with 5 when it is asked to
OBEDIENT = "trap 'exit 5' TERM; echo ready; sleep 1000 & wait"
#: a worker that says that it runs, and ends when it is killed
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 1; done"
#: a worker that makes its output of its input
UPPER = 'tr a-z A-Z < "$LS_INPUT_TEXT" > "$LS_OUTPUT_MY_RESULT"'
_TENANT = "acme"
_LOOK = 0.01
_LATEST = 0.25


@attrs.define(kw_only=True)
class Lab:
    """One engine and one storage; an asynchronous context manager that opens the backend.

    ``patience`` is how many seconds anything that is waited for may take.
    """

    open_backend: OpenBackend
    storage: StorageBackend
    patience: float
    _stack: AsyncExitStack = attrs.field(factory=AsyncExitStack, init=False)
    _backend: WorkflowBackend | None = attrs.field(default=None, init=False)
    _submitted: set[RunRef] = attrs.field(factory=set[RunRef], init=False)

    @property
    def backend(self) -> WorkflowBackend:
        """The backend under test, open."""
        assert self._backend is not None, "the backend is closed"
        return self._backend

    async def open(self) -> None:
        """Open the backend on the state that it has."""
        self._backend = await self._stack.enter_async_context(self.open_backend())

    async def close(self) -> None:
        """Leave the backend; the engine goes on."""
        self._backend = None
        await self._stack.aclose()

    async def reopen(self) -> None:
        """Leave the backend, and open it on the same state."""
        await self.close()
        await self.open()

    async def __aenter__(self) -> Self:
        """Open the backend."""
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove whatever was submitted, and leave the backend."""
        if self._backend is None:
            await self.open()
        for ref in self._submitted:
            await self.backend.remove(ref)
        await self.close()

    def ref(self) -> RunRef:
        """Return the first attempt at a new job."""
        return RunRef(new_id(datetime.now(UTC)), 1, _TENANT)

    async def plan(
        self, ref: RunRef, spec: JobSpec, content: Mapping[str, bytes] | None = None
    ) -> "Planned":
        """Return a plan with uploads of its own, and the inputs ``content`` in the storage."""
        inputs = [await self._store(ref, name, data) for name, data in (content or {}).items()]
        tickets = {
            output.name: await self._prepare(ref, f"outputs/{output.name}", output.max_size)
            for output in spec.outputs
        }
        tickets["log"] = await self._prepare(ref, "log", spec.log_cap)
        tickets["manifest"] = await self._prepare(ref, "manifest.json", MANIFEST_MAX_SIZE)
        uploads = {name: await self._sign(ticket) for name, ticket in tickets.items()}
        plan = TransferPlan(
            job_id=ref.job_id,
            attempt=ref.attempt,
            inputs=tuple(inputs),
            outputs=tuple(
                PlannedOutput(name=output.name, upload=uploads[output.name])
                for output in spec.outputs
            ),
            log=uploads["log"],
            manifest=uploads["manifest"],
            valid_until=datetime.now(UTC) + HOUR,
        )
        return Planned(storage=self.storage, plan=plan, tickets=tickets)

    async def _store(self, ref: RunRef, name: str, data: bytes) -> PlannedInput:
        async def chunks() -> AsyncIterator[bytes]:
            yield data

        stored = await self.storage.write(f"lab/{ref.job_id}/inputs/{name}", chunks())
        request = await self.storage.sign_read(stored.key, audience=Audience.JOB, expires=HOUR)
        return PlannedInput(name=name, request=request, size=stored.size, sha256=stored.sha256)

    async def _prepare(self, ref: RunRef, name: str, max_size: int) -> UploadTicket:
        key = f"lab/{ref.job_id}/{ref.attempt}/{name}"
        return await self.storage.prepare_upload(key, max_size=max_size)

    async def _sign(self, ticket: UploadTicket) -> SignedUpload:
        return await self.storage.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)

    async def submit(self, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:
        """Submit an attempt that is removed in the end."""
        self._submitted.add(ref)
        await self.backend.submit(ref, spec, plan)

    async def begin(
        self,
        spec: JobSpec,
        content: Mapping[str, bytes] | None = None,
        *,
        ref: RunRef | None = None,
    ) -> tuple[RunRef, "Planned"]:
        """Submit an attempt, at a new job where ``ref`` is not given, with a plan of its own."""
        ref = ref or self.ref()
        planned = await self.plan(ref, spec, content)
        await self.submit(ref, spec, planned.plan)
        return ref, planned

    async def run(
        self, spec: JobSpec, content: Mapping[str, bytes] | None = None
    ) -> tuple[Observation, "Planned"]:
        """Submit an attempt and return what the engine says when it is over."""
        ref, planned = await self.begin(spec, content)
        return await self.over(ref), planned

    def ref_of(self, seen: Observation) -> RunRef:
        """Return the attempt that is seen."""
        return RunRef(seen.job_id, seen.attempt, _TENANT)

    async def list(self, since: datetime | None = None) -> dict[tuple[str, int], Observation]:
        """Return every attempt of a list that was begun after ``since``, by default now."""
        since = since or datetime.now(UTC)

        async def begun_later() -> dict[tuple[str, int], Observation] | None:
            snapshot = await self.backend.snapshot()
            seen = {(one.job_id, one.attempt): one for one in snapshot.observations}
            assert len(seen) == len(snapshot.observations), "an attempt is listed twice"
            return seen if snapshot.as_of >= since else None

        return await self.until(begun_later, "a list that is new enough")

    async def see(self, ref: RunRef) -> Observation | None:
        """Return what the engine says about an attempt now."""
        return (await self.list()).get((ref.job_id, ref.attempt))

    async def over(self, ref: RunRef) -> Observation:
        """Return what the engine says when an attempt is over."""

        async def is_over() -> Observation | None:
            seen = await self.see(ref)
            assert seen is not None, f"{ref.name} is not in the list"
            return seen if seen.phase in OVER else None

        return await self.until(is_over, f"the end of {ref.name}")

    async def said(self, ref: RunRef, text: bytes = b"ready") -> None:
        """Return when the worker has printed ``text``."""

        async def has_said() -> bool:
            return text in await self.log(ref)

        await self.until(has_said, f"{text!r} in the log of {ref.name}")

    async def log(self, ref: RunRef, start: int = 0) -> bytes:
        """Return what there is of an attempt's log."""
        return b"".join([chunk async for chunk in self.backend.logs(ref, start=start)])

    async def until(self, holds: Callable[[], Awaitable[T | None]], what: str) -> T:
        """Return the first answer but None and False; fail when ``patience`` is over."""
        pause = _LOOK
        end = anyio.current_time() + self.patience
        while (answer := await holds()) is None or answer is False:
            assert anyio.current_time() < end, f"waited {self.patience:g} s for {what}"
            await anyio.sleep(pause)
            pause = min(pause * 1.5, _LATEST)
        return answer


@attrs.frozen(kw_only=True)
class Planned:
    """A plan, and the tickets behind it by name: outputs, ``log`` and ``manifest``."""

    storage: StorageBackend
    plan: TransferPlan
    tickets: Mapping[str, UploadTicket]

    async def sent(self, name: str, receipt: UploadReceipt | None = None) -> bytes | None:
        """Commit an upload and return its bytes; None when nothing was sent, or not all."""
        ticket = self.tickets[name]
        try:
            await self.storage.commit(ticket, receipt or UploadReceipt())
        except (NotFound, RetryError):
            return None
        return b"".join([chunk async for chunk in self.storage.read(ticket.key)])

    async def manifest(self) -> Manifest | None:
        """Return the attempt's manifest, None before it was sent."""
        data = await self.sent("manifest")
        return decode_manifest(data) if data is not None else None

    async def results(self) -> dict[str, bytes]:
        """Return all that the manifest says was sent, each verified against its receipt."""
        manifest = await self.manifest()
        assert manifest is not None, "no manifest was sent"
        results: dict[str, bytes] = {}
        for entry in (*manifest.outputs, *([manifest.log] if manifest.log else [])):
            receipt = UploadReceipt(size=entry.size, sha256=entry.sha256, parts=entry.parts)
            data = await self.sent(entry.name, receipt)
            assert data is not None, f"the manifest names {entry.name}, which was not sent"
            results[entry.name] = data
        return results


class UnderTest:
    """A backend under test: the fixtures of ``WorkflowBackendContract``, and its abilities."""

    pytestmark = pytest.mark.anyio

    #: seconds that anything may take
    patience = 30.0
    #: ``observe`` yields the end of an attempt without being asked
    observes = True

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run on asyncio."""
        return "asyncio"

    @pytest.fixture
    def open_backend(self) -> OpenBackend:
        """Return what opens the backend under test."""
        raise NotImplementedError

    @pytest.fixture
    def storage(self, tmp_path: Path) -> StorageBackend:
        """Return where plans lead to."""
        return LocalStorage(tmp_path / "storage")

    def make_spec(self, script: str, **fields: Any) -> JobSpec:
        """Return the spec of a worker that is a POSIX shell script."""
        return JobSpec(workflow="contract", command=("sh", "-c", script), **fields)

    async def trace(self, ref: RunRef) -> bool | None:
        """Say whether the engine has anything of an attempt, without asking the backend.

        None where it cannot be looked at.
        """
        del ref
        return None

    @pytest.fixture
    async def lab(self, open_backend: OpenBackend, storage: StorageBackend) -> AsyncIterator[Lab]:
        """Return the backend, open, and what there is to use it with."""
        async with Lab(open_backend=open_backend, storage=storage, patience=self.patience) as lab:
            yield lab
