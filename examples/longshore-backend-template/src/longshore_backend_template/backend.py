"""The contract, method by method: each puts into files what it promises, and returns."""

import contextlib
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Generator
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread

from longshore import WorkflowBackend
from longshore.errors import AttemptGone, BackendUnavailable, WorkflowRefused
from longshore.hookspecs import PluginContext
from longshore.models import Input, JobSpec, Network, Observation, Output, RunRef, Snapshot
from longshore.transfer import TransferPlan
from longshore_backend_template import attempts
from longshore_backend_template.settings import TemplateSettings

_CHUNK = 64 * 1024
_LOOK = 0.1
_PATIENCE = 10.0


class TemplateBackend(WorkflowBackend):
    """Runs each attempt beside a runner process of its own."""

    def __init__(self, settings: TemplateSettings, context: PluginContext) -> None:
        self.slots = settings.slots  # see SupportsCapacity
        self._attempts = context.state.absolute() / "attempts"
        self._clock = context.clock
        self._accepting = anyio.Lock()

    async def probe(self) -> None:
        """Return when attempts can be kept; see ``SupportsProbe``."""
        with _unavailable("open the state directory"):
            self._attempts.mkdir(mode=0o700, parents=True, exist_ok=True)  # plans are secrets

    def adopt(self) -> None:
        """Have every attempt taken care of that is not over: its runner may be gone."""
        for seen in self._list():
            if seen.phase not in attempts.OVER:
                self._care(self._root(RunRef(seen.job_id, seen.attempt)))

    async def submit(self, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:
        """Write the order down, and start its runner."""
        _check(spec)
        async with self._accepting:
            with _unavailable("accept the attempt"):
                await anyio.to_thread.run_sync(self._accept, ref, spec, plan)

    def _accept(self, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:
        root = self._root(ref)
        if attempts.order_of(root) is None:
            root.mkdir(exist_ok=True)
            (root / "log").touch()
            attempts.write(root / "plan.json", plan)
            attempts.write(root / "order.json", attempts.Order(ref=ref, spec=spec))  # the last
        self._care(root)

    def _care(self, root: Path) -> None:
        """Start a runner, which ends at once where another one has the attempt."""
        if (seen := attempts.seen_of(root)) is None or seen.phase in attempts.OVER:
            return
        runner = subprocess.Popen(
            [sys.executable, "-m", "longshore_backend_template.runner", str(root)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # it stays when we go
        )
        threading.Thread(target=runner.wait, daemon=True).start()  # its end must be taken in

    async def renew(self, ref: RunRef, plan: TransferPlan) -> None:
        """Replace the plan of an attempt that is there."""
        root = self._root(ref)
        if attempts.order_of(root) is None:
            raise AttemptGone(f"there is no attempt {ref.name}")
        with _unavailable("renew the plan"):
            await anyio.to_thread.run_sync(attempts.write, root / "plan.json", plan)

    async def stop(self, ref: RunRef, *, grace: timedelta) -> None:
        """Write the request down; the runner looks for it."""
        root = self._root(ref)
        if attempts.order_of(root) is not None:
            with _unavailable("request the stop"):
                seconds = max(0.0, grace.total_seconds())
                await anyio.to_thread.run_sync(attempts.write, root / "stop", seconds)
                self._care(root)

    async def observe(self) -> AsyncIterator[Observation]:
        """Yield what changed; an engine with a watch of its own does better."""
        known: dict[tuple[str, int], Observation] = {}
        while True:
            snapshot = await self.snapshot()
            now = {(seen.job_id, seen.attempt): seen for seen in snapshot.observations}
            for place, seen in now.items():
                if known.get(place) != seen:
                    yield seen
            known = now
            await anyio.sleep(_LOOK)

    async def snapshot(self) -> Snapshot:
        """Read what is known of every attempt, after ``as_of``."""
        as_of = self._clock.now()
        with _unavailable("list the attempts"):
            return Snapshot(as_of, tuple(await anyio.to_thread.run_sync(self._list)))

    def _list(self) -> list[Observation]:
        found = [attempts.seen_of(root) for root in sorted(self._attempts.iterdir())]
        return [seen for seen in found if seen is not None]

    async def logs(self, ref: RunRef, *, start: int = 0) -> AsyncIterator[bytes]:
        """Yield the log up to its cap."""
        root = self._root(ref)
        order = attempts.order_of(root)
        if order is None:
            return
        with _unavailable("read the log"), (root / "log").open("rb") as log:
            log.seek(start)
            left = order.spec.log_cap - start
            while left > 0 and (chunk := log.read(min(_CHUNK, left))):
                left -= len(chunk)
                yield chunk

    async def remove(self, ref: RunRef) -> None:
        """End the attempt without grace, and delete its directory when nobody has it any more."""
        root = self._root(ref)
        await self.stop(ref, grace=timedelta(0))
        until = anyio.current_time() + _PATIENCE
        while root.exists():
            with attempts.claim(root) as is_ours, _unavailable("remove the attempt"):
                if is_ours:
                    await anyio.to_thread.run_sync(_delete, root)
                    return
            if anyio.current_time() > until:
                raise BackendUnavailable(f"{ref.name} does not end")
            await anyio.sleep(_LOOK / 10)

    def _root(self, ref: RunRef) -> Path:
        return self._attempts / ref.name


@contextlib.asynccontextmanager
async def open_backend(
    settings: TemplateSettings, context: PluginContext
) -> AsyncIterator[TemplateBackend]:
    """Open the backend on its state, and go on with what is there. Leaving it ends no attempt.

    Raises:
        BackendUnavailable: the state directory cannot be used.
    """
    backend = TemplateBackend(settings, context)
    await backend.probe()
    with _unavailable("go on with the attempts"):
        await anyio.to_thread.run_sync(backend.adopt)
    yield backend


def _check(spec: JobSpec) -> None:
    """Refuse what this engine cannot do: a promise that nobody keeps is worse than none."""
    entries: tuple[Input | Output, ...] = (*spec.inputs, *spec.outputs)
    paths = [one.path for one in entries if one.path]
    for asked, what in (
        (spec.image, "run an image"),
        (spec.network is Network.CLOSED, "close the network"),
        (spec.datasets, "protect a dataset"),
        (paths, f"show the worker {paths[:1]}"),
    ):
        if asked:
            raise WorkflowRefused(f"this backend cannot {what}", hint="choose another backend")


def _delete(root: Path) -> None:
    attempts.end_worker(root)  # its runner may have been killed
    with contextlib.suppress(FileNotFoundError):
        (root / "order.json").unlink()  # what is left is no attempt
    shutil.rmtree(root)


@contextlib.contextmanager
def _unavailable(what: str) -> Generator[None]:
    try:
        yield
    except OSError as exc:
        raise BackendUnavailable(f"cannot {what}: {exc}") from exc
