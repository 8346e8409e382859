"""A worker for the fake engine: what its spec says, as a process of this machine."""

import os
import signal
import subprocess
import sys

import anyio
import pytest

from longshore.models import Outcome, OutcomeKind
from longshore.placing import place, variable
from longshore.testing.fake_backend import FakeWorker, Script

PATH = "/usr/local/bin:/usr/bin:/bin"


async def run_command(worker: FakeWorker) -> Outcome:
    """Run the command of a worker; nothing of it is left when this returns."""
    seen = {name: str(path) for name, path in worker.places.items()}
    argv = place(worker.spec.command, {**seen, "python": sys.executable})
    with worker.log.open("ab") as log:
        try:
            process = await anyio.open_process(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(worker, seen),
                start_new_session=True,
            )
        except FileNotFoundError:
            return Outcome(kind=OutcomeKind.EXITED, exit_code=127)
    try:
        async with process, anyio.create_task_group() as tasks:
            tasks.start_soon(_terminate, worker, process.pid)
            code = await process.wait()
            tasks.cancel_scope.cancel()
    finally:
        _send(process.pid, signal.SIGKILL)
    return Outcome(kind=OutcomeKind.EXITED, exit_code=code if code >= 0 else 128 - code)


async def _terminate(worker: FakeWorker, group: int) -> None:
    await worker.terminated.wait()
    _send(group, signal.SIGTERM)


def _send(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _environment(worker: FakeWorker, seen: dict[str, str]) -> dict[str, str]:
    kinds = {"inputs": "LS_INPUT", "outputs": "LS_OUTPUT"}
    split = [(*key.partition("."), path) for key, path in seen.items()]
    named = {variable(kinds[kind], name): path for kind, _, name, path in split if name}
    return {"PATH": PATH, **worker.spec.environment, **named}


@pytest.fixture
def commands() -> Script:
    """Return the script whose workers are processes."""
    return run_command
