"""The directory of an attempt: the engine's object, and the truth about it.

```
<state>/attempts/ls-<job id>-<attempt>/
    attempt.jsonl     what to do, then what is known: the last whole line is what holds;
                      locked by the runner that takes care of the attempt
    plan.json         a later plan, where there is one
    stop              the request to stop
    exit              the worker's exit code, from the keeper, when the runner was lost
    log               what the worker printed
    in/ out/ tmp/ parameters.json     what the worker sees
```
"""

import contextlib
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import attrs

from longshore.backends.local.processes import Process
from longshore.codec import converter, from_json, to_json
from longshore.models.run import Observation, Phase
from longshore.models.workflow import Input, Output, Resources
from longshore.transfer import TransferPlan

_FILE = os.O_CLOEXEC | os.O_NOFOLLOW
_OVER = frozenset({Phase.ENDED, Phase.TAKEN})
FILE = "attempt.jsonl"
MARK = "LS_ATTEMPT"
#: levels of directories that are deleted in place: 8 names of 255 bytes are a legal path
_DEPTH = 8


@attrs.frozen(kw_only=True)
class Order:
    """All that a runner needs. ``inner`` is how many processes of a sandbox are not the worker.

    ``stop`` and ``kill`` are commands that signal a worker which is no descendant of ours.
    """

    job_id: str
    attempt: int
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str
    inner: int = 0
    stop: tuple[str, ...] = ()
    kill: tuple[str, ...] = ()
    resources: Resources
    pids: int
    grace: timedelta
    log_cap: int
    outage: timedelta
    directories: tuple[str, ...] = ()
    files: Mapping[str, str] = attrs.field(factory=dict[str, str])
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    input_places: Mapping[str, str] = attrs.field(factory=dict[str, str])
    output_places: Mapping[str, str] = attrs.field(factory=dict[str, str])
    enforced: Mapping[str, str] = attrs.field(factory=dict[str, str])
    plan: TransferPlan


@attrs.frozen(kw_only=True)
class Care:
    """Who takes care of an attempt, and what the next one must know.

    ``marked`` is written before the worker is started: without it, it never was. ``claims``
    counts the runners that took care of the attempt.
    """

    boot: str
    runner: Process
    claims: int = 1
    marked: bool = False
    worker: Process | None = None


@attrs.frozen
class Record:
    """What is known of an attempt: complete in itself, so that only the last one is read."""

    observation: Observation
    care: Care

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.observation.phase in _OVER


@attrs.frozen(kw_only=True)
class Stop:
    """The request to stop: seconds of ``grace``; ``discard`` wants no results any more."""

    grace: float
    discard: bool = False


def mark(path: str) -> str:
    """Return what marks the processes of an attempt, on this machine: ``NAME=value``."""
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    return f"{MARK}={os.path.basename(path)}-{digest}"


def create(path: str, order: Order, take_spare: Callable[[str], bool]) -> None:
    """Make the directory of an attempt; one that is there and whole stays as it is.

    ``take_spare`` may put an emptied directory in its place.

    Raises:
        OSError: nothing that could be started was made.
    """
    line = to_json(order).encode() + b"\n"
    if not os.path.lexists(path):
        if take_spare(path):
            write_over(f"{path}/{FILE}", line)
            return
        os.mkdir(path, 0o700)
    try:
        write_new(f"{path}/{FILE}", line)
    except FileExistsError:
        if not is_accepted(path):  # cut short by a kill: it was never started either
            replace(f"{path}/{FILE}", line)


def is_accepted(path: str) -> bool:
    """Say whether the attempt's order is there, and whole."""
    return b"\n" in _lines(path)


def read_order(path: str) -> Order | None:
    """Return the order of an attempt; None when it was never accepted."""
    line, whole, _ = _lines(path).partition(b"\n")
    return from_json(Order, line) if whole else None


def read_plan(path: str, order: Order) -> TransferPlan:
    """Return the newest plan."""
    with contextlib.suppress(FileNotFoundError):
        return from_json(TransferPlan, read(f"{path}/plan.json"))
    return order.plan


def read_stop(path: str) -> Stop | None:
    """Return the request to stop, where there is one; one cut short by a kill has no grace."""
    try:
        return from_json(Stop, read(f"{path}/stop"))
    except FileNotFoundError:
        return None
    except ValueError:
        return Stop(grace=0.0)


def read_exit(path: str) -> int | None:
    """Return the worker's exit code that the keeper wrote down, if it did."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(read(f"{path}/exit"))
    return None


def write_exit(path: str, code: int) -> None:
    """Write down the exit code of a worker whose runner was lost, durably."""
    replace(f"{path}/exit", b"%d\n" % code)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _FILE)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_record(path: str) -> Record | None:
    """Return the last whole record; None when no runner took care of the attempt yet."""
    return last_record(_lines(path))


def is_over(path: str) -> bool:
    """Say whether nothing is left to do for the attempt."""
    last = _last(_lines(path))
    return last is not None and last[0]["phase"] in _OVER


def last_record(lines: bytes) -> Record | None:
    """Return the last whole record of an attempt's file."""
    last = _last(lines)
    if last is None:
        return None
    return Record(converter.structure(last[0], Observation), converter.structure(last[1], Care))


def _last(lines: bytes) -> Any:
    end = lines.rfind(b"\n")  # what follows the last line feed is not whole
    while end > 0:
        begin = lines.rfind(b"\n", 0, end)
        if begin < 0:
            return None  # the first line is the order
        with contextlib.suppress(ValueError):
            return json.loads(lines[begin + 1 : end])
        end = begin
    return None


def _lines(path: str) -> bytes:
    try:
        return read(f"{path}/{FILE}")
    except (FileNotFoundError, NotADirectoryError):
        return b""


def claim(path: str) -> tuple[int, bytes] | None:
    """Return the locked file of an attempt, to be closed when done, and what is in it.

    None when somebody else has it, when it was removed, or was never accepted.
    """
    try:
        fd = os.open(f"{path}/{FILE}", os.O_RDWR | os.O_APPEND | _FILE)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lines = os.pread(fd, os.fstat(fd).st_size, 0)
    except BlockingIOError:
        lines = b""
    if b"\n" not in lines:
        os.close(fd)
        return None
    if not lines.endswith(b"\n"):
        os.write(fd, b"\n")  # a record cut short by a kill or a full disk: it must not spoil ours
    return fd, lines


def read(path: str) -> bytes:
    """Return the content of a file of ours."""
    fd = os.open(path, os.O_RDONLY | _FILE)
    with open(fd, "rb", buffering=0) as file:
        return file.readall()


def write_new(path: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file that is not there yet; nothing is left where that fails.

    Raises:
        FileExistsError: it is there.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, mode)
    try:
        _write(fd, content)
    except BaseException:
        os.unlink(path)
        raise


def write_over(path: str, content: bytes) -> None:
    """Write into a file of ours that is empty."""
    _write(os.open(path, os.O_WRONLY | _FILE), content)


def _write(fd: int, content: bytes) -> None:
    try:
        while content:
            content = content[os.write(fd, content) :]
    finally:
        os.close(fd)


def replace(path: str, content: bytes) -> None:
    """Write a file whole or not at all."""
    draft = f"{path}.draft"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    write_new(draft, content)
    os.rename(draft, path)


def remove_plain(path: str) -> bool:
    """Remove a directory of files and empty directories; say whether it was one."""
    try:
        for name in os.listdir(path):
            entry = f"{path}/{name}"
            try:
                os.unlink(entry)
            except (IsADirectoryError, PermissionError):
                os.rmdir(entry)
        os.rmdir(path)
    except OSError:
        return not os.path.lexists(path)
    return True


def set_aside(path: str) -> str | None:
    """Remove an attempt by one rename; return where its directory is now, None without one.

    A kill while it is emptied leaves no half of an attempt, which would look like one that never
    was: what is left there is no attempt any more, and ``sweep`` deletes it.

    Raises:
        OSError: it cannot be moved.
    """
    gone = f"{_removed(os.path.dirname(path))}/{os.path.basename(path)}"
    if os.path.lexists(gone):
        delete(gone)  # of an earlier removal that was cut short
    try:
        os.rename(path, gone)
    except FileNotFoundError:
        return None
    return gone


def sweep(root: str) -> None:
    """Make the place of removed attempts, and delete what kills have left there.

    Raises:
        OSError: it cannot be made.
    """
    removed = _removed(root)
    os.makedirs(removed, 0o700, exist_ok=True)
    for name in os.listdir(removed):
        with contextlib.suppress(OSError):
            delete(f"{removed}/{name}")


def _removed(root: str) -> str:
    return f"{os.path.dirname(root)}/removed"


def delete(path: str) -> None:
    """Delete a directory with all that a worker left in it; no link is followed.

    Raises:
        OSError: something cannot be deleted.
    """
    try:
        _delete(path)
    except PermissionError:  # the worker took the owner's rights from its own directories
        _open_up(path)
        _delete(path)


def _delete(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        while os.listdir(path):  # again: what lay too deep was moved up
            _empty(path, path, 0)
        os.rmdir(path)


def _empty(path: str, root: str, depth: int) -> None:
    for entry in list(os.scandir(path)):
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)
        elif depth < _DEPTH:
            _empty(entry.path, root, depth + 1)
            if not os.listdir(entry.path):
                os.rmdir(entry.path)
        else:  # deeper paths would be longer than the system takes
            os.rename(entry.path, f"{root}/deep-{entry.inode()}")


def _open_up(path: str) -> None:
    os.chmod(path, stat.S_IRWXU)
    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            _open_up(entry.path)
