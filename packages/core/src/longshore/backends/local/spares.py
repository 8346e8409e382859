"""Directories of removed attempts, emptied and kept for new ones.

ext4 does not give an inode out again for a minute, and searches for another one past all of them:
jobs that make and remove a few files each spent most of their time there. A few directories that
are never removed cost a rename instead, and their attempt files never grow.
"""

import contextlib
import fcntl
import os
import stat

from longshore.backends.local.attempts import FILE, write_at
from longshore.backends.local.lines import SIZE

_PLAIN = {FILE, "log", "tmp"}
_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY_MODE = stat.S_IFDIR | stat.S_IRWXU
_ZEROS = bytes(SIZE)


class Spares:
    """Up to ``most`` directories of the place of removed attempts, ``root``."""

    def __init__(self, root: str, most: int) -> None:
        self._root = root
        self._most = most
        self._names: list[str] = []

    def take(self, path: str) -> bool:
        """Make ``path`` a directory with an attempt file of zeros; say whether there was a spare.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        while self._names:
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                os.rename(f"{self._root}/{self._names.pop()}", path)
                return True
        return False

    def keep(self, path: str) -> bool:
        """Empty the directory of a removed attempt that was over; say whether it was fit for it.

        It is when it holds what every attempt's does and no more, when no name or process of the
        worker leads to its files, and nobody else has it open for work.
        """
        if len(self._names) >= self._most or set(os.listdir(path)) != _PLAIN:
            return False
        with contextlib.suppress(OSError):
            scratch = f"{path}/tmp"  # noqa: S108 - not the system's
            if _is_empty(scratch) and _clear_log(f"{path}/log") and _clear(f"{path}/{FILE}"):
                self._names.append(os.path.basename(path))
                return True
        return False


def _is_empty(path: str) -> bool:
    if os.lstat(path).st_mode != _DIRECTORY_MODE or os.listdir(path):
        return False
    return not os.listxattr(path, follow_symlinks=False) if hasattr(os, "listxattr") else False


def _clear_log(path: str) -> bool:
    fd = os.open(path, _OPEN)
    try:
        status = os.fstat(fd)
        if not _is_owned(status):
            return False
        if status.st_size:  # also a truncation of nothing is a transaction of the file system
            os.ftruncate(fd, 0)
        return True
    finally:
        os.close(fd)


def _clear(path: str) -> bool:
    fd = os.open(path, _OPEN)
    try:
        status = os.fstat(fd)
        if status.st_size != SIZE or not _is_owned(status):  # it outgrew its size
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its runner may not have let go yet
        write_at(fd, _ZEROS, 0)
        return True
    finally:
        os.close(fd)


def _is_owned(status: os.stat_result) -> bool:
    """Say whether it is a file, and has no other name."""
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1
