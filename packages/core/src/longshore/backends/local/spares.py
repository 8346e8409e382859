"""Directories of removed attempts, emptied and kept for new ones.

ext4 does not give an inode out again for a minute, and searches for another one past all of them:
jobs that make and remove a few files each spent most of their time there. A few directories that
are never removed cost a rename instead.
"""

import contextlib
import fcntl
import os
import stat

from longshore.backends.local.attempts import FILE

_PLAIN = {FILE, "log", "tmp"}
_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY_MODE = stat.S_IFDIR | stat.S_IRWXU


class Spares:
    """Up to ``most`` directories below ``root``."""

    def __init__(self, root: str, most: int) -> None:
        self._root = root
        self._most = most
        os.makedirs(root, 0o700, exist_ok=True)
        self._names = os.listdir(root)

    def take(self, path: str) -> bool:
        """Make ``path`` a directory with an empty attempt file; say whether there was a spare.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        while self._names:
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                os.rename(f"{self._root}/{self._names.pop()}", path)
                return True
        return False

    def keep(self, path: str) -> bool:
        """Take in the directory of an attempt that is over; say whether it was fit for it.

        It is when it holds what every attempt's does and no more, when no name or process of the
        worker leads to its files, and nobody else has it open for work.
        """
        if len(self._names) >= self._most or set(os.listdir(path)) != _PLAIN:
            return False
        with contextlib.suppress(OSError):
            scratch = f"{path}/tmp"  # noqa: S108 - not the system's
            if os.stat(scratch, follow_symlinks=False).st_mode != _DIRECTORY_MODE:
                return False
            if os.listdir(scratch) or _has_attributes(scratch):
                return False
            if _empty(f"{path}/log") and _empty(f"{path}/{FILE}"):
                name = os.path.basename(path)
                os.rename(path, f"{self._root}/{name}")
                self._names.append(name)
                return True
        return False


def _has_attributes(path: str) -> bool:
    return bool(os.listxattr(path, follow_symlinks=False)) if hasattr(os, "listxattr") else True


def _empty(path: str) -> bool:
    fd = os.open(path, _OPEN)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its runner may not have let go yet
        if status.st_size:  # also a truncation of nothing is a transaction of the file system
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)
    return True
