"""An engine with knobs: its workers are what a test makes of them, and it fails on demand."""

import math
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import attrs

from longshore.backends.abc import WorkflowBackend
from longshore.clock import Clock, SystemClock
from longshore.errors import AttemptGone, BackendUnavailable
from longshore.models import JobSpec, Observation, Outcome, OutcomeKind, Phase, RunRef, Snapshot
from longshore.staging import StagingFailed, stage_in, stage_out
from longshore.staging.transports import transport_for
from longshore.transfer import TransferPlan

_KILLED = Outcome(kind=OutcomeKind.STOPPED, exit_code=137)
#: how long it waits for a storage, during which nothing else goes on in its event loop
_OUTAGE = timedelta(seconds=5)


class Hints(StrEnum):
    """What becomes of the hints that ``observe`` should yield."""

    SEND = "send"
    DROP = "drop"
    DELAY = "delay"
    DUPLICATE = "duplicate"


_COPIES: Mapping[Hints, int] = {Hints.SEND: 1, Hints.DROP: 0, Hints.DELAY: 1, Hints.DUPLICATE: 2}


@attrs.frozen(kw_only=True, eq=False)
class FakeWorker:
    """A worker, as the script that plays it sees it.

    ``places`` says where inputs, outputs and the parameters lie, by placeholder; ``log`` is what
    was printed. ``terminated`` is set by SIGTERM; SIGKILL cancels the script.
    """

    ref: RunRef
    spec: JobSpec
    log: Path
    places: Mapping[str, Path]
    terminated: anyio.Event = attrs.field(factory=anyio.Event)


Script = Callable[[FakeWorker], Awaitable[Outcome]]


async def succeed(worker: FakeWorker) -> Outcome:
    """Write every output, empty, and end with 0 at once."""
    for output in worker.spec.outputs:
        worker.places[f"outputs.{output.name}"].touch()
    return Outcome(kind=OutcomeKind.EXITED, exit_code=0)


async def hold(worker: FakeWorker) -> Outcome:
    """Run until SIGTERM, or until ``FakeWorkflowBackend.end``."""
    await worker.terminated.wait()
    return Outcome(kind=OutcomeKind.EXITED, exit_code=143)


@attrs.define(kw_only=True, eq=False)
class _Attempt:
    worker: FakeWorker
    plan: TransferPlan
    seen: Observation
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    done: anyio.Event = attrs.field(factory=anyio.Event)
    stopped: str | None = None
    told: Outcome | None = None
    is_gone: bool = False


class FakeWorkflowBackend(WorkflowBackend):
    """An engine in this process; an asynchronous context manager whose attempts end with it.

    Attempts are real files below ``directory``; ``script`` plays their workers, ``slots`` at a
    time. What goes wrong may be set at any time: ``unavailable`` is how many calls from now on
    raise ``BackendUnavailable``, ``hints`` what becomes of observations.

    Example:
        >>> async with FakeWorkflowBackend(tmp_path, script=hold) as engine:
        ...     engine.unavailable = 3
    """

    def __init__(
        self,
        directory: Path,
        *,
        script: Script = succeed,
        slots: int = 4,
        clock: Clock | None = None,
    ) -> None:
        self.slots = slots
        self.unavailable = 0
        self.hints = Hints.SEND
        self._directory = directory
        self._script = script
        self._clock = clock or SystemClock()
        self._attempts: dict[str, _Attempt] = {}
        self._delayed: list[Observation] = []
        self._sender, self._receiver = anyio.create_memory_object_stream[Observation](math.inf)

    async def __aenter__(self) -> Self:
        """Start the engine."""
        self._room = anyio.CapacityLimiter(self.slots)
        self._answering = anyio.Event()
        self._answering.set()
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the engine and all its attempts."""
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(kind, exc, traceback)
        self._sender.close()
        self._receiver.close()

    # what a test does to it

    def stop_answering(self) -> None:
        """Leave every call without an answer until ``answer``."""
        self._answering = anyio.Event()

    def answer(self) -> None:
        """Answer the calls that wait, and all later ones."""
        self._answering.set()

    def release_hints(self) -> None:
        """Send the hints that were delayed."""
        for seen in self._delayed:
            self._sender.send_nowait(seen)
        self._delayed.clear()

    def end(self, ref: RunRef, outcome: Outcome) -> None:
        """End a running worker with any outcome."""
        attempt = self._attempts[ref.name]
        attempt.told = outcome
        attempt.scope.cancel()

    def lose(self, ref: RunRef) -> None:
        """Forget an attempt and whatever becomes of it."""
        self._drop(self._attempts.pop(ref.name))

    def take(self, ref: RunRef) -> None:
        """Take an attempt away from its worker, and say so."""
        attempt = self._attempts[ref.name]
        self._drop(attempt)
        self._tell(attempt, phase=Phase.TAKEN, message="the platform took it away")

    def _drop(self, attempt: _Attempt) -> None:
        attempt.is_gone = True
        attempt.scope.cancel()

    # what the contract says

    async def submit(self, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:
        """See ``WorkflowBackend``."""
        await self._called()
        if ref.name in self._attempts:
            return
        root = self._directory / ref.name
        worker = FakeWorker(ref=ref, spec=spec, log=root / "log", places=_lay_out(root, spec))
        seen = Observation(job_id=ref.job_id, attempt=ref.attempt, phase=Phase.WAITING)
        attempt = self._attempts[ref.name] = _Attempt(worker=worker, plan=plan, seen=seen)
        self._tell(attempt)
        self._tasks.start_soon(self._carry_out, attempt)

    async def renew(self, ref: RunRef, plan: TransferPlan) -> None:
        """See ``WorkflowBackend``."""
        await self._called()
        if ref.name not in self._attempts:
            raise AttemptGone(f"there is no attempt {ref.name}")
        self._attempts[ref.name].plan = plan

    async def stop(self, ref: RunRef, *, grace: timedelta) -> None:
        """See ``WorkflowBackend``."""
        await self._called()
        if ref.name in self._attempts:
            self._stop(self._attempts[ref.name], "stop", grace)

    async def observe(self) -> AsyncIterator[Observation]:
        """See ``WorkflowBackend``; of several observers each gets a part."""
        await self._called()
        async for seen in self._receiver:
            yield seen

    async def snapshot(self) -> Snapshot:
        """See ``WorkflowBackend``."""
        as_of = self._clock.now()
        await self._called()
        return Snapshot(as_of, tuple(attempt.seen for attempt in self._attempts.values()))

    async def logs(self, ref: RunRef, *, start: int = 0) -> AsyncIterator[bytes]:
        """See ``WorkflowBackend``."""
        await self._called()
        if ref.name in self._attempts:
            worker = self._attempts[ref.name].worker
            yield worker.log.read_bytes()[start : worker.spec.log_cap]

    async def remove(self, ref: RunRef) -> None:
        """See ``WorkflowBackend``."""
        await self._called()
        attempt = self._attempts.pop(ref.name, None)
        if attempt is not None:
            self._drop(attempt)
            await attempt.done.wait()
            shutil.rmtree(attempt.worker.log.parent)

    async def _called(self) -> None:
        await self._answering.wait()
        if self.unavailable:
            self.unavailable -= 1
            raise BackendUnavailable("the engine is away")

    # the life of an attempt

    def _tell(self, attempt: _Attempt, **changes: Any) -> None:
        attempt.seen = attrs.evolve(attempt.seen, **changes)
        send = self._delayed.append if self.hints is Hints.DELAY else self._sender.send_nowait
        for _ in range(_COPIES[self.hints]):
            send(attempt.seen)

    def _stop(self, attempt: _Attempt, who: str, grace: timedelta) -> None:
        if attempt.seen.outcome is not None:
            return
        attempt.stopped = attempt.stopped or who
        attempt.worker.terminated.set()
        if attempt.seen.phase is Phase.RUNNING:
            self._tasks.start_soon(self._kill, attempt, grace)
        else:
            attempt.scope.cancel()

    async def _kill(self, attempt: _Attempt, grace: timedelta) -> None:
        await self._clock.sleep(grace)
        attempt.scope.cancel()

    async def _carry_out(self, attempt: _Attempt) -> None:
        try:
            outcome = await self._run(attempt)
            if attempt.is_gone:
                return
            if outcome is None:
                self._tell(attempt, phase=Phase.ENDED, reason="canceled")
                return
            now = self._clock.now()
            self._tell(attempt, phase=Phase.STAGING_OUT, outcome=outcome, ended_at=now)
            self._stage_out(attempt)
            self._tell(attempt, phase=Phase.ENDED)
        except StagingFailed as exc:
            self._tell(attempt, phase=Phase.ENDED, reason=exc.code, message=str(exc))
        except Exception as exc:  # noqa: BLE001 - a script's defect ends its attempt, not the engine
            self._tell(attempt, phase=Phase.ENDED, reason="internal", message=repr(exc))
        finally:
            attempt.done.set()

    async def _run(self, attempt: _Attempt) -> Outcome | None:
        """Return how the worker ended, None when it never ran."""
        worker = attempt.worker
        outcome = None
        with attempt.scope:
            async with self._room:
                self._tell(attempt, phase=Phase.STAGING_IN)
                inputs = {
                    one.name: worker.places[f"inputs.{one.name}"] for one in worker.spec.inputs
                }
                transport = transport_for(attempt.plan, outage=_OUTAGE)
                stage_in(attempt.plan, worker.spec.inputs, inputs, transport)
                self._tell(attempt, phase=Phase.RUNNING, started_at=self._clock.now())
                async with anyio.create_task_group() as limits:
                    limits.start_soon(self._limit, attempt)
                    outcome = await self._script(worker)
                    limits.cancel_scope.cancel()
        if attempt.told is not None:
            return attempt.told
        if attempt.stopped is None or attempt.seen.started_at is None:
            return outcome
        reason = "walltime" if attempt.stopped == "walltime" else None
        by = attempt.stopped
        return attrs.evolve(
            outcome or _KILLED, kind=OutcomeKind.STOPPED, by=by, why=by, reason=reason
        )

    async def _limit(self, attempt: _Attempt) -> None:
        await self._clock.sleep(attempt.worker.spec.resources.walltime)
        self._stop(attempt, "walltime", attempt.worker.spec.grace)

    def _stage_out(self, attempt: _Attempt) -> None:
        worker = attempt.worker
        stage_out(
            attempt.plan,
            worker.spec.outputs,
            _named(worker.places, "outputs"),
            log=worker.log,
            log_cap=worker.spec.log_cap,
            outcome=attempt.seen.outcome,
            started_at=attempt.seen.started_at,
            ended_at=attempt.seen.ended_at,
            transport=transport_for(attempt.plan, outage=_OUTAGE),
        )


def _lay_out(root: Path, spec: JobSpec) -> dict[str, Path]:
    places = {f"inputs.{one.name}": root / "in" / one.name for one in spec.inputs}
    places |= {f"outputs.{one.name}": root / "out" / one.name for one in spec.outputs}
    places["parameters_file"] = root / "parameters.json"
    for directory in ("in", "out"):
        (root / directory).mkdir(parents=True)
    (root / "log").touch()
    places["parameters_file"].write_text(spec.parameters_json, "utf-8")
    return places


def _named(places: Mapping[str, Path], kind: str) -> dict[str, Path]:
    return {
        key.removeprefix(f"{kind}."): path
        for key, path in places.items()
        if key.startswith(f"{kind}.")
    }
