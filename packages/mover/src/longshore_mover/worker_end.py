"""The worker's end, as whoever carries its results sees it: by the files that a launcher leaves.

The attempt's file says how the worker ended; its lock says whether anybody is left who could still
write that. The worker has the launcher's uid and may write what it likes into that directory, so a
line counts only when it is sealed with the key that the launcher was given by the file ``go``.
"""

import contextlib
import fcntl
import hmac
import json
import os
import time
from binascii import crc32
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from longshore.codec import from_json, parse_time
from longshore.models.job import Outcome, OutcomeKind
from longshore.models.run import Phase
from longshore.staging import files

#: seconds between looks at the attempt's file: one read of 8 KiB and a lock
PAUSE = 0.025
_FILE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NEVER_RAN = "the launcher was killed before it started the worker"
_WRONG = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


@attrs.frozen(kw_only=True)
class WorkerEnd:
    """How it ended.

    ``outcome`` is None when the worker never ran; then ``reason`` says why as a reason code. It is
    ``lost``, or ``stopped`` without an exit code, when launcher and worker were killed. ``log_cut``
    is how many bytes of output the log lacks, and ``message`` says why.
    """

    outcome: Outcome | None
    reason: str | None = None
    message: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    log_cut: int = 0


@attrs.frozen
class _Record:
    seen: Mapping[str, Any]
    care: Mapping[str, Any]

    @property
    def phase(self) -> str:
        return str(self.seen["phase"])

    def end(self) -> WorkerEnd | None:
        """Return the end that is written down, if it is."""
        outcome = self.seen.get("outcome")
        if outcome is None and self.phase != Phase.ENDED:
            return None
        return self._make(from_json(Outcome, json.dumps(outcome)) if outcome else None)

    def killed(self) -> WorkerEnd:
        """Return the end of a worker whose launcher was killed."""
        if stop := self.care.get("stop"):
            by = str(stop["by"])
            return self._make(Outcome(kind=OutcomeKind.STOPPED, by=by, why=by))
        return self._make(Outcome(kind=OutcomeKind.LOST))

    def _make(self, outcome: Outcome | None) -> WorkerEnd:
        return WorkerEnd(
            outcome=outcome,
            reason=self.seen.get("reason"),
            message=str(self.seen.get("message", "")),
            started_at=_time(self.seen.get("started_at")),
            ended_at=_time(self.seen.get("ended_at")),
            log_cut=int(self.care.get("log_cut", 0)),
        )


class Watch:
    """Looks at the attempt ``name`` in a directory, again and again; a context manager.

    It keeps the attempt's file open once it was there, so a worker that removes or replaces it
    hides nothing. ``key`` is the one of ``give_go``, "" as long as that was not called.
    """

    def __init__(self, directory: Path, name: str, key: str = "") -> None:
        self._directory = directory
        self._name = name
        self._key = key
        self._fd = -1

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def look(self) -> WorkerEnd | None:
        """Return how the worker ended; None while it may still end, or nobody has begun.

        Raises:
            OSError: the attempt's file is there and cannot be read.
        """
        if not self._is_open():
            return None
        record = self._last(self._key)
        if record is not None and (end := record.end()):
            return end
        if (record is None and not self._has_begun()) or not self._is_unlocked():
            return None
        return self._left_behind()

    def was_given(self) -> bool:
        """Say whether the word to start is there, or was taken by a launcher.

        Raises:
            OSError: the attempt's file is there and cannot be read.
        """
        if self._holds_go():
            return True
        record = self._last(self._key) if self._is_open() else None
        return record is not None and (bool(self._key) or record.phase != Phase.WAITING)

    def _left_behind(self) -> WorkerEnd:
        """Return what is to be made of a file whose lock went: nobody writes to it any more."""
        record = self._last(self._key)  # again: the end may have come just before the lock went
        if record is not None and (self._key or record.phase != Phase.WAITING):
            return record.end() or record.killed()
        record = self._last("")
        if record is not None and (not self._key or self._holds_go()):
            return _never_ran(record)
        return WorkerEnd(outcome=Outcome(kind=OutcomeKind.LOST))

    def _is_open(self) -> bool:
        if self._fd < 0:
            with contextlib.suppress(FileNotFoundError):
                self._fd = os.open(self._directory / files.ATTEMPT, os.O_RDONLY | _FILE)
        return self._fd >= 0

    def _last(self, key: str) -> _Record | None:
        """Return the last record that is sealed with ``key``."""
        content = os.pread(self._fd, files.ATTEMPT_SIZE, 0)
        return next(_records(content, self._name, key), None)

    def _has_begun(self) -> bool:
        """Say whether a launcher had the lock: a worker may have destroyed what it wrote."""
        return self._last("") is not None or (bool(self._key) and not self._holds_go())

    def _is_unlocked(self) -> bool:
        # Only asked of a file with a record: whoever begins one is never kept from its lock.
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return True

    def _holds_go(self) -> bool:
        """Say whether our word is still there: then no worker was started."""
        with contextlib.suppress(OSError):
            fd = os.open(self._directory / files.GO, os.O_RDONLY | _FILE)
            try:
                return os.read(fd, 4096) == f"{self._key}\n".encode()
            finally:
                os.close(fd)
        return False


def wait_for_end(
    directory: Path, name: str, key: str = "", *, timeout: float | None = None
) -> WorkerEnd | None:
    """Wait for the end of the worker of the attempt ``name``; None after ``timeout`` seconds.

    Nothing of a worker whose end is written down runs any more.

    Raises:
        OSError: the attempt's file is there and cannot be read.
    """
    until = float("inf") if timeout is None else time.monotonic() + timeout
    with Watch(directory, name, key) as watch:
        while (end := watch.look()) is None and time.monotonic() < until:
            time.sleep(PAUSE)
    return end


def new_key() -> str:
    """Return a new secret for ``give_go``, to be kept where the worker cannot read it."""
    import secrets  # noqa: PLC0415 - who keeps a mover's order has a key already

    return secrets.token_hex(32)


def give_go(directory: Path, key: str = "") -> None:
    """Let the launcher start the worker, and seal with ``key`` what it writes.

    Raises:
        OSError: it was not told.
    """
    _put(directory, files.GO, f"{key}\n")


def ask_to_stop(directory: Path, *, grace: float = 0.0) -> None:
    """Ask the launcher to end: before the worker starts, or after ``grace`` seconds for it.

    Raises:
        OSError: it was not told.
    """
    _put(directory, files.STOP, json.dumps({"grace": grace}))


def _put(directory: Path, name: str, text: str) -> None:
    """Write a file whole or not at all."""
    draft = directory / f".{name}.draft"
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(text)
    draft.rename(directory / name)


def _never_ran(record: _Record) -> WorkerEnd:
    end = record.end()
    if end is not None and end.outcome is None:
        return end
    return WorkerEnd(outcome=None, reason="internal", message=_NEVER_RAN)


def _records(content: bytes, name: str, key: str) -> Iterator[_Record]:
    """Yield the records that can be believed, the last one first."""
    for line in reversed(content.split(b"\n")):
        with contextlib.suppress(*_WRONG):
            seen, care = json.loads(_unseal(line, name.encode(), key.encode()))
            record = _Record(seen, care)
            record.end()  # whole also in what it means
            record.killed()
            yield record


def _unseal(line: bytes, owner: bytes, key: bytes) -> bytes:
    """Return the body of a line; nothing when it is not whole, not ours or not sealed with it."""
    # a worker may have left anything before it, or cut the file short: then there are zeros
    _, begun, rest = line.rpartition(b'["%b",' % owner)
    if not begun or not rest.endswith(b"]"):
        return b""
    proof, _, content = rest[:-1].partition(b",")
    if key:
        proven = b'"%b"' % hmac.digest(key, owner + content, "sha256").hex().encode()
    else:
        proven = b"%d" % crc32(owner + content)
    return content if hmac.compare_digest(proof, proven) else b""


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None
