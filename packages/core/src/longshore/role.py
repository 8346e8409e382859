"""The supervisor's role on one state directory: a lock, and a way to wake who holds it."""

import contextlib
import fcntl
import logging
import os
import socket
from pathlib import Path

_LOCK = "supervisor.lock"
_SOCKET = "wake.sock"
_log = logging.getLogger("longshore.embedded")


class Role:
    """The right to supervise the jobs of ``home``; one process at a time has it.

    The lock is the operating system's, so it ends with its holder, however that ends.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / _LOCK
        self._socket = home / _SOCKET
        self._file: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object has the role; it ends when the lock's file is deleted."""
        return self._file is not None and os.fstat(self._file).st_nlink > 0

    def acquire(self) -> bool:
        """Take the role if nobody has it; say whether this object has it now."""
        if self._file is None:
            try:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as exc:  # no descriptor left, or the directory is gone: not now
                _log.warning("%s cannot be locked: %s", self._path, exc.strerror)
                return False
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                return False
            self._file = file
            with contextlib.suppress(OSError):  # for people only; a full disk is no reason
                os.ftruncate(file, 0)
                os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        return True

    def release(self) -> None:
        """Give the role back; repeatable."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # a fork of this program may have it open too
            os.close(self._file)
            self._file = None

    def wake_socket(self) -> Path:
        """Return where the holder listens; its path is free for a new holder."""
        self._socket.unlink(missing_ok=True)
        return self._socket

    def wake_holder(self) -> None:
        """Tell the holder to look at the store. A hint: without it, it looks every second."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
            wire.setblocking(False)
            wire.sendto(b"!", os.fspath(self._socket))
