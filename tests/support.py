"""What the tests of the whole path share: waiting, workflows, and looking at processes."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from longshore.models import Input, Output, Resources, Workflow

T = TypeVar("T")
#: long enough for two busy cores, short enough that a hang is seen
PATIENCE = 30.0
_LOOK = 0.01
_STOP_LIMIT = 10.0
_KEEPER = b"longshore.backends.local.keeper"


def until(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Return the first true value of ``condition``; fail after ``seconds``."""
    end = time.monotonic() + seconds
    pause = _LOOK / 4
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds:g} s for: {what}"
        time.sleep(pause)
        pause = min(pause * 1.5, 5 * _LOOK)
    return found


def shell(
    script: str,
    *,
    id: str = "script",  # noqa: A002 - the field's name
    outputs: Iterable[Output] = (),
    inputs: Iterable[Input] = (),
    parameters: Mapping[str, Any] | None = None,
    memory: int = 256 * 1024**2,
    walltime: timedelta = timedelta(minutes=5),
    **more: Any,
) -> Workflow:
    """Return a workflow whose worker is a shell script."""
    return Workflow(
        id=id,
        command=("/bin/sh", "-c", script),
        parameters=parameters or {},
        inputs={one.name: one for one in inputs},
        outputs={one.name: one for one in outputs},
        resources=Resources(memory=memory, walltime=walltime),
        **more,
    )


def settings(isolation: str = "none", **local: Any) -> dict[str, Any]:
    """Return settings of a service that offers nothing but what a test gives it."""
    return {
        "workflows": {"shipped": False},
        "deadlines": {"stop_grace": "1s"},
        "backends": {"local": {"isolation": isolation, **local}},
    }


@contextlib.contextmanager
def holder(home: Path, table: Mapping[str, Any] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A service of its own process, which supervises ``home`` until it is killed."""
    argv = [sys.executable, "-m", "longshore.holder", str(home)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(table or settings()).encode())
            process.stdin.close()
            assert process.stdout.read(1) == b"!", (home / "holder.log").read_text()
            yield process
        finally:
            process.kill()


def holders_of(home: Path) -> list[int]:
    """Return the detached supervisors of ``home``."""
    return [pid for pid in processes_of(home) if b"longshore.holder" in command_of(pid)]


# processes


def stat_fields(pid: int) -> list[str]:
    """Return /proc/PID/stat from the state on; nothing when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return []


def started(pid: int) -> str | None:
    """Return what tells this process from a later one with its pid; None for one that ended."""
    fields = stat_fields(pid)
    return fields[19] if fields and fields[0] not in {"Z", "X"} else None


def _pids() -> list[str]:
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def processes_of(home: Path) -> list[int]:
    """Return the processes whose command line or environment names ``home``, this one not."""
    wanted = os.fsencode(home)
    found = []
    for name in _pids():
        if int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            said = Path(f"/proc/{name}/cmdline").read_bytes()
            said += Path(f"/proc/{name}/environ").read_bytes()
            if wanted in said and started(int(name)):
                found.append(int(name))
    return found


def zombies_below(pids: Iterable[int]) -> list[int]:
    """Return the ended processes that one of ``pids`` has not taken in."""
    parents = {str(pid) for pid in pids}
    found = []
    for name in _pids():
        fields = stat_fields(int(name))
        if fields and fields[0] == "Z" and fields[1] in parents:
            found.append(int(name))
    return found


def kill(pids: Iterable[int]) -> int:
    """Send SIGKILL to each process by its id; return how many were still there."""
    killed = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def end_processes_of(home: Path) -> None:
    """Kill, each by its id, whatever still works for ``home``; wait until all are gone."""

    def all_gone() -> bool:
        left = processes_of(home)
        kill(left)
        return not left

    until(all_gone, f"the processes of {home} to end", _STOP_LIMIT)


def command_of(pid: int) -> bytes:
    """Return the command line of a process; nothing when there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def role_of(pid: int) -> str:
    """Return ``keeper``, ``runner``, ``worker`` or ``other`` for a process of a state directory."""
    if _KEEPER in command_of(pid):
        parent = (*stat_fields(pid), "0", "0")[1]
        return "runner" if _KEEPER in command_of(int(parent)) else "keeper"
    with contextlib.suppress(OSError):
        if b"LS_ATTEMPT=" in Path(f"/proc/{pid}/environ").read_bytes():
            return "worker"
    return "other"


def in_role(home: Path, role: str) -> list[int]:
    """Return the processes of ``home`` in a role; see ``role_of``."""
    return sorted(pid for pid in processes_of(home) if role_of(pid) == role)


def attempts_in(home: Path) -> list[str]:
    """Return the names of the attempts that the local backend of ``home`` has."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(one.name for one in (home / "backends" / "local" / "attempts").iterdir())
    return []


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Mount a file system of one megabyte at ``place``; skip where that is not allowed."""
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def has_bubblewrap() -> bool:
    """Say whether bubblewrap works here, by using it."""
    program = shutil.which("bwrap")
    if program is None:
        return False
    argv = [program, "--unshare-all", "--ro-bind", "/", "/", "true"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


needs_bubblewrap = pytest.mark.skipif(not has_bubblewrap(), reason="bubblewrap does not work here")
