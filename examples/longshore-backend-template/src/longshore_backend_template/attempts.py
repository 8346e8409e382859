"""The directory of an attempt: the truth about it, for the backend and for its runner.

```
<state>/attempts/ls-<job id>-<attempt>/
    order.json    what to do; an attempt is accepted when it is there
    plan.json     the newest plan
    stop          the request to stop: seconds of grace
    seen.json     what is known, as an Observation
    marked        written before the worker is started: without it, it never was
    worker        the process of the worker
    lock          held by the runner that takes care of the attempt
    log  in/  out/  tmp/  parameters.json
```
"""

import contextlib
import fcntl
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import attrs

from longshore.codec import from_json, to_json
from longshore.models import JobSpec, Observation, Phase, RunRef

T = TypeVar("T")
OVER = frozenset({Phase.ENDED, Phase.TAKEN})


@attrs.frozen(kw_only=True)
class Order:
    """What to do."""

    ref: RunRef
    spec: JobSpec


@attrs.frozen
class Process:
    """A process: its number alone may be another's by now."""

    pid: int
    born: str


def write(path: Path, value: object) -> None:
    """Write a file whole or not at all, and durably."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(to_json(value))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(kind: type[T], path: Path) -> T | None:
    """Return what a file holds, None where there is none."""
    try:
        return from_json(kind, path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def order_of(root: Path) -> Order | None:
    """Return the order of an attempt, None when it was never accepted."""
    return read(Order, root / "order.json")


def seen_of(root: Path) -> Observation | None:
    """Return what is known of an attempt, None when it was never accepted."""
    order = order_of(root)
    if order is None:
        return None
    waiting = Observation(job_id=order.ref.job_id, attempt=order.ref.attempt, phase=Phase.WAITING)
    return read(Observation, root / "seen.json") or waiting


def grace_of(root: Path) -> float | None:
    """Return the seconds that a worker has to end, None when nobody asked it to."""
    return read(float, root / "stop")


def this_process(pid: int) -> Process:
    """Return a process that runs, with the boot and the tick at which it was born."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    return Process(pid, f"{boot} {stat.rpartition(')')[2].split()[19]}")


def end_worker(root: Path) -> None:
    """Kill the worker of an attempt, and its process group, if it still runs."""
    worker = read(Process, root / "worker")
    with contextlib.suppress(OSError):
        if worker is not None and this_process(worker.pid) == worker:
            os.killpg(worker.pid, signal.SIGKILL)


@contextlib.contextmanager
def claim(root: Path) -> Iterator[bool]:
    """Take care of an attempt; False when somebody does, or it was removed."""
    try:
        fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)
