"""Control groups, version 1 or 2, where this process may write them.

A runner lives in a group of its own and sets its limits for each attempt, so that every process
of a worker is born inside: nothing is moved, and nothing can slip out before it is. Only the share
of the processors is version 1's own tree, and a worker is moved there when it has run for a
moment: groups of it make every start and every switch dearer, which short jobs felt most.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from longshore.models.workflow import Resources

ROOT = Path("/sys/fs/cgroup")
#: of all groups of ours: ``longshore/<installation>/<runner>``
PARENT = "longshore"
_PERIOD = 100_000
#: what is held by a group, and the kernel's controller for it
#: (the processors last: a group of version 1 without members may still be waited for there)
_CONTROLLERS = {"memory": "memory", "pids": "pids", "cpu": "cpu"}
#: files to write, in order; with a "?" a failure does not count (no swap accounting)
_V1 = {
    "memory": ("?memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes={memory}",
               "?memory.memsw.limit_in_bytes={memory}"),
    "cpu": ("cpu.cfs_period_us={period}", "cpu.cfs_quota_us={quota}"),
    "pids": ("pids.max={pids}",),
}  # fmt: skip
_V2 = {
    "memory": ("memory.max={memory}", "?memory.swap.max=0"),
    "cpu": ("cpu.max={quota} {period}",),
    "pids": ("pids.max={pids}",),
}


@attrs.define
class Cage:
    """The groups of one runner: what they hold, and where."""

    version: int
    paths: dict[str, Path]
    _set: dict[str, tuple[str, ...]] = attrs.field(factory=dict[str, tuple[str, ...]])

    def limit(self, resources: Resources, pids: int) -> frozenset[str]:
        """Set the limits of the next attempt; return those that are held now."""
        values = {
            "memory": resources.memory,
            "quota": max(1000, int(resources.cpu * _PERIOD)),
            "period": _PERIOD,
            "pids": pids + 1,  # the runner is inside
        }
        held = set()
        for name, path in self.paths.items():
            lines = tuple(
                line.format(**values) for line in (_V1 if self.version == 1 else _V2)[name]
            )
            if self._set.get(name) == lines or _write_lines(path, lines):
                self._set[name] = lines
                held.add(name)
        return frozenset(held)

    def slow_down(self, worker: int, family: Callable[[int], list[int]]) -> None:
        """Hold a worker to its share of the processors, with all its descendants."""
        if self.version == 1 and "cpu" in self.paths:
            moved: set[int] = set()
            # what is forked inside stays inside; again for what was forked before its parent moved
            while new := {worker, *family(worker)} - moved:
                for pid in new:
                    with contextlib.suppress(OSError):
                        (self.paths["cpu"] / "cgroup.procs").write_text(str(pid), "ascii")
                moved |= new

    def oom_kills(self) -> int:
        """Return how many processes the memory limit has killed."""
        if "memory" not in self.paths:
            return 0
        file = "memory.oom_control" if self.version == 1 else "memory.events"
        words = (self.paths["memory"] / file).read_text("ascii").split()
        return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0

    def remove(self) -> None:
        """Remove the groups; those that still have members stay."""
        for path in self.paths.values():
            _remove([path])


def enter(group: str, root: Path = ROOT) -> Cage | None:
    """Put this process into groups of its own, named ``group``; None where none can be had."""
    cage = _make(group, root)
    if cage is None:
        return None
    try:
        for path in {
            path for name, path in cage.paths.items() if cage.version > 1 or name != "cpu"
        }:
            (path / "cgroup.procs").write_text(str(os.getpid()), "ascii")
    except OSError:
        cage.remove()
        return None
    return cage


def _make(group: str, root: Path) -> Cage | None:
    if (root / "cgroup.controllers").exists():
        return _make_v2(group, root)
    paths: dict[str, Path] = {}
    for name, controller in _CONTROLLERS.items():
        path = root / controller / group
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileNotFoundError):  # a sweep took the parent away: again
                path.mkdir(0o755, parents=True, exist_ok=True)
            path.mkdir(0o755, parents=True, exist_ok=True)
            if (path / "cgroup.procs").exists():
                paths[name] = path
    return Cage(1, paths) if paths else None


def _make_v2(group: str, root: Path) -> Cage | None:
    path = root / group
    with contextlib.suppress(OSError):
        for parent in reversed([p for p in path.parents if p.is_relative_to(root)]):
            parent.mkdir(0o755, exist_ok=True)
            for controller in _CONTROLLERS.values():
                with contextlib.suppress(OSError):  # each alone: one that is missing hides no other
                    (parent / "cgroup.subtree_control").write_text(f"+{controller}", "ascii")
        path.mkdir(0o755, exist_ok=True)
        had = (path / "cgroup.controllers").read_text("ascii").split()
        paths = {name: path for name, controller in _CONTROLLERS.items() if controller in had}
        return Cage(2, paths) if paths else None
    return None


def sweep(root: Path = ROOT) -> None:
    """Remove what runners left that were killed, of any installation; what has members stays."""
    bases = (root, *(root / controller for controller in _CONTROLLERS.values()))
    tags = {tag.name for base in bases for tag in _directories(base / PARENT)}
    for tag in tags:
        of_runners = {path.name for base in bases for path in _directories(base / PARENT / tag)}
        for runner in of_runners:
            _remove(base / PARENT / tag / runner for base in bases)
        for base in bases:
            _remove([base / PARENT / tag])


def _directories(path: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [each for each in path.iterdir() if each.is_dir()]
    return []


def _write_lines(path: Path, lines: Iterable[str]) -> bool:
    for line in lines:
        file, _, value = line.removeprefix("?").partition("=")
        try:
            fd = os.open(path / file, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError:
            if not line.startswith("?"):
                return False
    return True


def _remove(paths: Iterable[Path]) -> None:
    """Remove groups of one runner, in this order, up to one that still has members."""
    for path in dict.fromkeys(paths):
        try:
            path.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return
