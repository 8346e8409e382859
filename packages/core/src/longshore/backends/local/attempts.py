"""The directory of an attempt: the engine's object, and the truth about it.

```
<state>/attempts/ls-<job id>-<attempt>/
    attempt.jsonl     what to do, then what is known: the last whole line is what holds (see
                      ``lines``); locked by the runner that takes care of the attempt
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
import re
from collections.abc import Callable, Mapping
from datetime import timedelta

import attrs

from longshore.backends.local.lines import (
    SIZE,
    first_body,
    last_body,
    owner,
    seal,
    whole_lines,
)
from longshore.backends.local.processes import Process
from longshore.codec import converter, from_json, to_json
from longshore.models.run import Observation, Phase
from longshore.models.workflow import Input, Output, Resources
from longshore.transfer import TransferPlan

_FILE = os.O_CLOEXEC | os.O_NOFOLLOW
_CHUNK = 64 * 1024
OVER = frozenset({Phase.ENDED, Phase.TAKEN})
FILE = "attempt.jsonl"
MARK = "LS_ATTEMPT"
#: what directories of attempts are called
NAME = re.compile(r"ls-([A-Za-z0-9][A-Za-z0-9-]*)-(\d+)\Z")


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
        return self.observation.phase in OVER


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

    ``take_spare`` may put a directory with a file of zeros in its place.

    Raises:
        OSError: nothing that could be started was made.
    """
    line = seal(os.path.basename(path), to_json(order))
    if not os.path.lexists(path):
        if take_spare(path):
            _write_over(f"{path}/{FILE}", line)
            return
        os.mkdir(path, 0o700)
    line = line.ljust(SIZE, b"\0")  # written, not reserved: that would be a transaction later
    try:
        write_new(f"{path}/{FILE}", line)
    except FileExistsError:
        if not is_accepted(path):  # cut short by a kill: it was never started either
            replace(f"{path}/{FILE}", line)


def is_accepted(path: str) -> bool:
    """Say whether the attempt's order is there, and whole."""
    return bool(_lines(path))


def read_order(path: str) -> Order | None:
    """Return the order of an attempt; None when it was never accepted."""
    lines = _lines(path)
    return order_of(path, lines) if lines else None


def order_of(path: str, lines: bytes) -> Order:
    """Return the order of an attempt that was accepted.

    Raises:
        ValueError: it is of another version.
    """
    return from_json(Order, first_body(os.path.basename(path), lines) or b"")


def read_owner(path: str) -> str | None:
    """Return the name of the attempt whose order is in a directory, whatever that is called."""
    with contextlib.suppress(OSError):  # whatever a worker made of it
        name = owner(_content(path))
        return name if name is not None and NAME.match(name) else None
    return None


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
    return last_record(path, _lines(path))


def is_over(path: str) -> bool:
    """Say whether nothing is left to do for the attempt."""
    body = last_body(os.path.basename(path), _lines(path))
    return body is not None and json.loads(body)[0]["phase"] in OVER


def last_record(path: str, lines: bytes) -> Record | None:
    """Return the last whole record in an attempt's file."""
    body = last_body(os.path.basename(path), lines)
    if body is None:
        return None
    observation, care = json.loads(body)
    return Record(converter.structure(observation, Observation), converter.structure(care, Care))


def _lines(path: str) -> bytes:
    return whole_lines(os.path.basename(path), _content(path))


def _content(path: str) -> bytes:
    try:
        return read(f"{path}/{FILE}")
    except (FileNotFoundError, NotADirectoryError):
        return b""


def claim(path: str) -> tuple[int, bytes] | None:
    """Return the locked file of an attempt, to be closed when done, and its whole lines.

    None when somebody else has it, when it was removed, or was never accepted. What follows the
    lines was cut short by a kill or a full disk, and is to be written over.
    """
    try:
        fd = os.open(f"{path}/{FILE}", os.O_RDWR | _FILE)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        content = read_all(fd)
    except BlockingIOError:
        content = b""
    lines = whole_lines(os.path.basename(path), content)
    if not lines:
        os.close(fd)
        return None
    return fd, lines


def read(path: str) -> bytes:
    """Return the content of a file of ours."""
    fd = os.open(path, os.O_RDONLY | _FILE)
    try:
        return read_all(fd)
    finally:
        os.close(fd)


def read_all(fd: int) -> bytes:
    """Return the content of an open file, wherever its offset is."""
    content = b""
    # a short answer is the end: most files are read in one call
    while len(chunk := os.pread(fd, _CHUNK, len(content))) == _CHUNK:
        content += chunk
    return content + chunk


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


def _write_over(path: str, content: bytes) -> None:
    _write(os.open(path, os.O_WRONLY | _FILE), content)


def _write(fd: int, content: bytes) -> None:
    try:
        write_at(fd, content, 0)
    finally:
        os.close(fd)


def write_at(fd: int, content: bytes, at: int) -> int:
    """Write all of ``content`` at a place of a file; return where it ends."""
    while content:
        written = os.pwrite(fd, content, at)
        at += written
        content = content[written:]
    return at


def replace(path: str, content: bytes) -> None:
    """Write a file whole or not at all."""
    draft = f"{path}.draft"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    write_new(draft, content)
    os.rename(draft, path)
