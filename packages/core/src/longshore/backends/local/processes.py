"""Processes of this machine: who they are, who their descendants are, how they are signalled.

Linux tells all of it in ``/proc``. Elsewhere there is less: an identity by ``ps``, no search for
descendants.
"""

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

LINUX = sys.platform == "linux"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@attrs.frozen
class Process:
    """A process for good: a pid is used again, a pid with its start time (and boot) is not."""

    pid: int
    start: str


@functools.cache
def boot_id() -> str:
    """Return what changes when the machine starts anew."""
    if LINUX:
        return _BOOT_ID.read_text("ascii").strip()
    return _output("/usr/sbin/sysctl", "-n", "kern.boottime")


def start_time(pid: int) -> str | None:
    """Return when ``pid`` started, in the kernel's own words; None when it ended."""
    if not LINUX:
        return _output("/bin/ps", "-o", "lstart=", "-p", str(pid)) or None
    fields = _stat(pid)
    # a zombie has ended: only its parent does not know yet
    return fields[19] if fields and fields[0] not in {"Z", "X"} else None


def this_process(pid: int) -> Process:
    """Return the identity of a process that is known to live; "" stands for a lost start time."""
    return Process(pid, start_time(pid) or "")


def is_alive(process: Process) -> bool:
    """Say whether exactly this process still runs."""
    return start_time(process.pid) == process.start


def send(process: Process, number: signal.Signals) -> bool:
    """Signal exactly this process; say whether it was still there."""
    with contextlib.suppress(ProcessLookupError):
        if not hasattr(os, "pidfd_open"):
            if is_alive(process):
                os.kill(process.pid, number)
                return True
            return False
        fd = os.pidfd_open(process.pid)
        try:
            # checked after the descriptor is there: it cannot become another process any more
            if is_alive(process):
                signal.pidfd_send_signal(fd, number)
                return True
        finally:
            os.close(fd)
    return False


def family(pid: int) -> list[int]:
    """Return the descendants of ``pid``, parents first; nothing where the system does not tell."""
    children: dict[int, list[int]] = {}
    for other in _pids():
        if fields := _stat(other):
            children.setdefault(int(fields[1]), []).append(other)
    found = list(children.get(pid, ()))
    for member in found:
        found.extend(children.get(member, ()))
    return found


def marked(mark: str) -> list[int]:
    """Return the processes whose environment at their start held ``mark`` (``NAME=value``)."""
    wanted = b"\0" + mark.encode() + b"\0"
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if wanted in b"\0" + Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return [pid for pid in found if start_time(pid) is not None]


def kill(pids: list[int], number: signal.Signals = signal.SIGKILL) -> None:
    """Signal each of these processes that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def become_reaper() -> None:
    """Become the parent of every orphan among the descendants, where the system can do that."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hear_parents_end(parent: int) -> bool:
    """Ask for a SIGHUP when the parent ends; say whether ``parent`` is still the parent."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGHUP)
    return os.getppid() == parent


def _prctl(option: int, value: int) -> None:
    if LINUX:
        import ctypes  # noqa: PLC0415 - costs more to import than most jobs to run; two calls need it

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _pids() -> Iterator[int]:
    if LINUX:
        yield from (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/<pid>/stat`` from the state on; nothing when there is none."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):  # the second: while it ends
        return []
    try:
        # the name before the last parenthesis may hold anything
        return os.read(fd, 1024).rpartition(b")")[2].decode("ascii").split()
    except ProcessLookupError:
        return []
    finally:
        os.close(fd)


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
