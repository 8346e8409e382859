"""The directory of an attempt: the engine's object, and the truth about it.

```
<state>/attempts/ls-<job id>-<attempt>/
    order.json        what to do, whole or not at all valid; never changed
    plan.json         a later plan, where there is one
    stop              the request to stop
    status            one record per line, appended; the last whole line is what holds;
                      locked by the runner that takes care of the attempt
    exit              the worker's wait status, from the keeper, when the runner was lost
    log               what the worker printed
    in/ out/ tmp/ parameters.json     what the worker sees
```
"""

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Mapping
from datetime import timedelta

import attrs

from longshore.backends.local.processes import Process
from longshore.codec import from_json, to_json
from longshore.models.run import Observation, Phase
from longshore.models.workflow import Input, Output, Resources
from longshore.transfer import TransferPlan

_FILE = os.O_CLOEXEC | os.O_NOFOLLOW
_TAIL = 16 * 1024
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
class Record:
    """What is known of an attempt: complete in itself, so that only the last one is read.

    ``marked`` is written before the worker is started: without it, it never was. ``claims``
    counts the runners that took care of the attempt.
    """

    observation: Observation
    boot: str
    runner: Process
    claims: int = 1
    marked: bool = False
    worker: Process | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.observation.phase in {Phase.ENDED, Phase.TAKEN}


@attrs.frozen(kw_only=True)
class Stop:
    """The request to stop: seconds of ``grace``; ``discard`` wants no results any more."""

    grace: float
    discard: bool = False


def create(path: str, order: Order) -> None:
    """Make the directory of an attempt; one that is there and whole stays as it is.

    Raises:
        OSError: nothing that could be started was made.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    with contextlib.suppress(FileExistsError):
        write_new(f"{path}/order.json", to_json(order).encode())
        return
    if read_order(path) is None:  # cut short by a kill: it was never accepted, and never started
        replace(f"{path}/order.json", to_json(order).encode())


def read_order(path: str) -> Order | None:
    """Return the order of an attempt; None when it was never accepted."""
    try:
        return from_json(Order, read(f"{path}/order.json"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def is_accepted(path: str) -> bool:
    """Say whether the attempt's order is there and whole."""
    try:
        json.loads(read(f"{path}/order.json"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return True


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
    try:
        fd = os.open(f"{path}/status", os.O_RDONLY | _FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return last_record(fd)
    finally:
        os.close(fd)


def last_record(fd: int) -> Record | None:
    """Return the last whole record of an open status file."""
    size = os.fstat(fd).st_size
    lines = os.pread(fd, _TAIL, max(0, size - _TAIL)).split(b"\n")
    for line in reversed(lines[:-1]):  # what follows the last line feed is not whole
        with contextlib.suppress(ValueError):
            return from_json(Record, line)
    return None


def claim(path: str) -> int | None:
    """Return the locked status file, to be closed when done; None when somebody else has it.

    Raises:
        FileNotFoundError: the attempt was removed.
    """
    fd = os.open(f"{path}/status", os.O_RDWR | os.O_CREAT | os.O_APPEND | _FILE, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        os.write(fd, b"\n")  # a record cut short by a kill or a full disk: it must not spoil ours
    return fd


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
        while content:
            content = content[os.write(fd, content) :]
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def replace(path: str, content: bytes) -> None:
    """Write a file whole or not at all."""
    draft = f"{path}.draft"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    write_new(draft, content)
    os.rename(draft, path)


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
