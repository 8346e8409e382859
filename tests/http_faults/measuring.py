"""What a server takes of its machine, and how long it takes for an answer."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.http_faults.http import Client

MIB = 1024**2


def memory(pid: int) -> int:
    """Return the bytes of memory that a process has now."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def forget_peak(pid: int) -> None:
    """Begin to look for the most memory of a process anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid: int) -> int:
    """Return the most bytes of memory that a process had since ``forget_peak``."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def open_files(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def open_sockets(pid: int) -> int:
    """Return how many sockets a process has open; its store's files come and go."""
    found = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(file.readlink()).startswith("socket:")
    return found


def times(ask: Callable[[], object], count: int) -> list[float]:
    """Return how many seconds each of ``count`` calls took, the shortest first."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        ask()
        found.append(time.perf_counter() - began)
    return sorted(found)


def p99(found: list[float]) -> float:
    """Return what 99 of 100 stay below."""
    return found[int(len(found) * 0.99)]


def slowest_live(client: Client, count: int = 100) -> float:
    """Return the p99 of ``/livez`` in seconds, all answered with 200."""

    def ask() -> None:
        assert client.get("/livez").status == 200

    return p99(times(ask, count))
