"""The service's side of the local backend."""

import contextlib
import errno
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Generator
from datetime import timedelta
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread

from longshore.backends.abc import WorkflowBackend
from longshore.backends.local import attempts, cgroups, processes, removal
from longshore.backends.local.attempts import Stop
from longshore.backends.local.commands import what_is_missing
from longshore.backends.local.hints import FILE as HINTS
from longshore.backends.local.isolation import Probes, choose, make_order
from longshore.backends.local.keeping import Keeping
from longshore.backends.local.settings import BackendContext, Isolation, LocalSettings
from longshore.backends.local.spares import Spares
from longshore.backends.local.tending import end_unclaimed
from longshore.codec import from_json, to_json
from longshore.errors import AttemptGone, BackendUnavailable, WorkflowRefused
from longshore.models.run import JobSpec, Observation, Phase, RunRef, Snapshot
from longshore.models.workflow import Workflow
from longshore.transfer import TransferPlan

_NAME_LENGTH = 63
_CHUNK = 64 * 1024
_POLL = 0.01
#: seconds for a worker to die, and then for a runner
_PATIENCE = 5.0


class LocalBackend(WorkflowBackend):
    """See ``longshore.backends.local``; an asynchronous context manager."""

    def __init__(self, settings: LocalSettings, context: BackendContext) -> None:
        self._settings = settings
        self._clock = context.clock
        self._state = context.state.absolute()
        self._root = f"{self._state}/attempts"
        self._probes = Probes(settings.visible)
        # installations share the machine's groups; a state directory belongs to one of them
        tag = hashlib.sha256(f"{context.instance} {self._state}".encode()).hexdigest()[:12]
        self._group = f"{cgroups.PARENT}/{tag}" if settings.cgroups else ""
        self._exit_stack = contextlib.AsyncExitStack()
        self._engaging = anyio.Lock()
        self._is_engaged = False

    @property
    def slots(self) -> int:
        """How many attempts run at once."""
        if self._settings.slots is not None:
            return self._settings.slots
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    async def __aenter__(self) -> Self:
        """Open for reading: who only looks at logs starts no process and tidies nothing."""
        with _unavailable("open the state directory"):
            os.makedirs(self._root, 0o700, exist_ok=True)
        self._tasks = await self._exit_stack.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go; running jobs stay."""
        self._tasks.cancel_scope.cancel()
        if self._is_engaged:
            with anyio.CancelScope(shield=True):
                await self._keeping.close()
        await self._exit_stack.__aexit__(None, None, None)

    async def _engage(self) -> None:
        """Start the keeper, and have every attempt taken care of that is not over; once."""
        if not self._is_engaged:  # every call asks; only the first ones need the lock
            async with self._engaging:
                await self._start()

    async def _start(self) -> None:
        if self._is_engaged:
            return
        with _unavailable("open the state directory"):
            await anyio.to_thread.run_sync(removal.sweep, self._root)
            self._spares = Spares(removal.place(self._root), most=2 * self.slots)
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._state / HINTS, 0o600)
            # also for writing: it must not end when the last runner closes it
            self._hints = os.open(self._state / HINTS, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._exit_stack.callback(os.close, self._hints)
        self._keeping = Keeping(
            self._state, slots=self.slots, group=self._group, on_loss=self._lost
        )
        await self._keeping.open(self._tasks)
        self._is_engaged = True
        await self._order_unfinished()

    async def probe(self) -> None:
        """Return when a host command could run as the settings want it; see ``SupportsProbe``."""
        wanted = self._settings.isolation
        if wanted is Isolation.NONE:
            return
        engine = Isolation.BUBBLEWRAP if wanted is Isolation.AUTO else wanted
        if not await anyio.to_thread.run_sync(self._probes.works, engine):
            raise BackendUnavailable(
                f"{engine.value} does not work on this machine",
                hint="install it, or allow host commands by isolation = none",
            )

    async def check(self, workflow: Workflow) -> None:
        """Look for the command of a host workflow; see ``SupportsCheck``."""
        missing = await anyio.to_thread.run_sync(what_is_missing, workflow, self._settings)
        if missing is not None:
            raise WorkflowRefused(missing, hint="install it, or change the workflow's command")

    async def submit(self, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:
        """Make the attempt's directory and order it; see ``WorkflowBackend``.

        Raises:
            IsolationUnavailable: what the workflow must run in does not work here.
            WorkflowRefused: the settings do not allow this kind of workflow.
            BackendUnavailable: the state directory cannot be written.
        """
        path = self._path(ref)
        await self._engage()
        if not attempts.is_accepted(path):
            engine = choose(spec, self._settings.isolation, lambda _: True)
            if engine is not Isolation.NONE and not self._probes.knows(engine):
                await anyio.to_thread.run_sync(self._probes.works, engine)
            engine = choose(spec, self._settings.isolation, self._probes.works)
            order = make_order(ref, spec, plan, root=path, engine=engine, settings=self._settings)
            with _unavailable("accept the attempt"):
                attempts.create(path, order, self._spares.take)
        await self._keeping.order(ref.name)

    async def renew(self, ref: RunRef, plan: TransferPlan) -> None:
        """Replace the plan; see ``WorkflowBackend``."""
        path = self._path(ref)
        if not attempts.is_accepted(path):
            raise AttemptGone(f"there is no attempt {ref.name}")
        with _unavailable("renew the plan"):
            attempts.replace(f"{path}/plan.json", to_json(plan).encode())

    async def stop(self, ref: RunRef, *, grace: timedelta) -> None:
        """Write the request down, then wake the runner; see ``WorkflowBackend``."""
        path = self._path(ref)
        await self._engage()
        if attempts.is_accepted(path):
            await self._request_stop(path, Stop(grace=max(0.0, grace.total_seconds())))

    async def _request_stop(self, path: str, stop: Stop) -> None:
        with _unavailable("request the stop"):
            attempts.replace(f"{path}/stop", to_json(stop).encode())
            end_unclaimed(path)
        record = attempts.read_record(path)
        if record is not None and record.is_over:
            return
        if record is None or not processes.send(record.care.runner, signal.SIGTERM):
            await self._keeping.order(os.path.basename(path))  # nobody takes care of it

    async def observe(self) -> AsyncIterator[Observation]:
        """Yield what runners hint at, of each attempt the latest; see ``WorkflowBackend``."""
        await self._engage()
        fd = os.dup(self._hints)
        rest = b""
        try:
            while True:
                await anyio.wait_readable(fd)
                try:
                    rest += os.read(fd, _CHUNK)
                except BlockingIOError:  # another observer was quicker
                    continue
                *lines, rest = rest.split(b"\n")
                parted = (line.partition(b"\t") for line in lines)
                latest = {name: text for name, _, text in parted}
                for name, text in latest.items():
                    if seen := self._hinted(name.decode("ascii", "replace"), text):
                        yield seen
        finally:
            os.close(fd)

    def _hinted(self, name: str, text: bytes) -> Observation | None:
        with contextlib.suppress(ValueError):
            if text:
                return from_json(Observation, text)
        return self._read(name)

    async def snapshot(self) -> Snapshot:
        """Read every attempt's status; see ``WorkflowBackend``."""
        await self._engage()
        as_of = self._clock.now()
        return Snapshot(as_of, await anyio.to_thread.run_sync(self._read_all))

    def _read_all(self) -> tuple[Observation, ...]:
        with _unavailable("list the attempts"):
            found = [self._read(name) for name in sorted(os.listdir(self._root))]
        return tuple(seen for seen in found if seen is not None)

    def _read(self, name: str) -> Observation | None:
        match = attempts.NAME.match(name)
        path = f"{self._root}/{name}"
        if match is None:
            return None
        if record := attempts.read_record(path):
            return record.observation
        if not attempts.is_accepted(path):
            return None
        return Observation(job_id=match[1], attempt=int(match[2]), phase=Phase.WAITING)

    async def logs(self, ref: RunRef, *, start: int = 0) -> AsyncIterator[bytes]:
        """Yield the log up to its cap; see ``WorkflowBackend``."""
        path = self._path(ref)
        order = attempts.read_order(path)
        if order is None:
            return
        cap = _cap(order)
        while start < cap:
            size = min(_CHUNK, cap - start)
            with _unavailable("read the log"):
                chunk = await anyio.to_thread.run_sync(_read_at, f"{path}/log", start, size)
            if not chunk:
                return
            start += len(chunk)
            yield chunk

    async def remove(self, ref: RunRef) -> None:
        """End the attempt without grace and delete its directory; see ``WorkflowBackend``."""
        path = self._path(ref)
        await self._engage()
        was_over = attempts.is_over(path)
        if not was_over and attempts.is_accepted(path):
            await self._end(path)
        with _unavailable("remove the attempt"):
            gone = removal.set_aside(path)
            if gone is None or (was_over and self._spares.keep(gone)):
                return
            if not removal.remove_plain(gone):  # most are; a hop to a thread costs more
                await anyio.to_thread.run_sync(removal.delete, gone)

    async def _end(self, path: str) -> None:
        await self._request_stop(path, Stop(grace=0.0, discard=True))
        kill_at = anyio.current_time() + _PATIENCE
        until = kill_at + _PATIENCE
        while (record := attempts.read_record(path)) is None or not record.is_over:
            if anyio.current_time() > until:
                raise BackendUnavailable(f"{os.path.basename(path)} does not end")
            if anyio.current_time() > kill_at and record is not None:
                # busy with the results that nobody wants; whoever continues sees that
                processes.send(record.care.runner, signal.SIGKILL)
                kill_at = until
            await anyio.sleep(_POLL)

    def _path(self, ref: RunRef) -> str:
        if not attempts.NAME.match(ref.name) or len(ref.name) > _NAME_LENGTH:
            raise ValueError(f"{ref.name!r} is no name of an attempt")
        return f"{self._root}/{ref.name}"

    def _lost(self) -> None:
        self._tasks.start_soon(self._order_unfinished)

    async def _order_unfinished(self) -> None:
        for seen in await anyio.to_thread.run_sync(self._read_all):
            if seen.phase not in {Phase.ENDED, Phase.TAKEN}:
                await self._keeping.order(RunRef(seen.job_id, seen.attempt).name)


def _cap(order: attempts.Order) -> int:
    # what lies beyond it for a moment is cut off again: who has seen it could not come back
    return order.log_cap


def _read_at(path: str, start: int, size: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(fd, size, start)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _unavailable(what: str) -> Generator[None]:
    try:
        yield
    except OSError as exc:
        full = exc.errno in {errno.ENOSPC, errno.EDQUOT}
        raise BackendUnavailable(
            f"cannot {what}: {exc.strerror or exc}",
            hint="free space in the state directory" if full else "",
        ) from exc
