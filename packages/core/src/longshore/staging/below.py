"""Opening what a worker left, without following a link that it may have placed."""

import os
import stat
from pathlib import PurePath

from longshore.errors import DataRefused

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: a pipe without a writer must not block the opening
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_directory(name: str, directory: int | None = None) -> int:
    """Return a descriptor of the directory ``name`` in ``directory``.

    Raises:
        DataRefused: something else has that name.
        FileNotFoundError: nothing has.
    """
    _check(os.stat(name, dir_fd=directory, follow_symlinks=False), stat.S_IFDIR, name)
    return _open(name, _DIRECTORY, directory)


def open_file(name: str, directory: int | None = None) -> int:
    """Return a descriptor of the regular file ``name`` in ``directory``.

    Nothing else is even opened: opening a device can do something.

    Raises:
        DataRefused: something else has that name.
        FileNotFoundError: nothing has.
    """
    _check(os.stat(name, dir_fd=directory, follow_symlinks=False), stat.S_IFREG, name)
    fd = _open(name, _FILE, directory)
    try:
        _check(os.fstat(fd), stat.S_IFREG, name)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_parent(place: PurePath, root: PurePath) -> int:
    """Return a descriptor of the directory of ``place``; from ``root`` down no link is followed.

    A place that is not below ``root`` counts from its own directory.
    """
    trusted = root if root in place.parents else place.parent
    fd = os.open(trusted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for segment in place.relative_to(trusted).parts[:-1]:
        try:
            inner = open_directory(segment, fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def _open(name: str, flags: int, directory: int | None) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError as exc:  # it was exchanged since it was looked at, or cannot be read
        raise DataRefused(f"{name!r} cannot be opened: {exc.strerror}") from exc


_KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "regular file",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def _check(status: os.stat_result, wanted: int, name: str) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != wanted:
        raise DataRefused(
            f"{name!r} is a {_KINDS.get(kind, 'special file')}, not a {_KINDS[wanted]}"
        )
