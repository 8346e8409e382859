"""Removing attempts: one rename takes them away, all else is tidying up."""

import contextlib
import os
import stat
import time

from longshore.backends.local import attempts

#: levels of directories that are deleted in place: 8 names of 255 bytes are a legal path
_DEPTH = 8


def place(root: str) -> str:
    """Return where removed attempts lie until they are deleted or used again."""
    return f"{os.path.dirname(root)}/removed"


def set_aside(path: str) -> str | None:
    """Remove an attempt by one rename; return where its directory is now, None without one.

    A kill while it is emptied leaves no half of an attempt, which would look like one that never
    was: what is left there is no attempt any more, and ``sweep`` deletes it.

    Raises:
        OSError: it cannot be moved.
    """
    root, name = os.path.split(path)
    gone = f"{place(root)}/{name}.{time.time_ns()}"
    try:
        os.rename(path, gone)
    except FileNotFoundError:
        return None
    return gone


def sweep(root: str) -> None:
    """Bring the directories of attempts in order, before anybody works with them.

    Makes the place of removed attempts and deletes what is left there.

    Raises:
        OSError: it cannot be made.
    """
    removed = place(root)
    os.makedirs(removed, 0o700, exist_ok=True)
    for directory in (removed, root):
        for name in os.listdir(directory):
            _give_back(f"{directory}/{name}", root)
    for name in os.listdir(removed):
        with contextlib.suppress(OSError):
            delete(f"{removed}/{name}")


def _give_back(path: str, root: str) -> None:
    """Give an attempt its file back where that lies in the directory of an earlier attempt.

    A loss of power takes the newest renames back, but nothing from a file that was made durable.
    All else in such a directory was the earlier attempt's.

    Raises:
        OSError: it cannot be moved.
    """
    owner = attempts.read_owner(path)
    if owner is None or owner == os.path.basename(path).partition(".")[0]:
        return
    if not attempts.is_accepted(f"{root}/{owner}"):
        os.makedirs(f"{root}/{owner}", 0o700, exist_ok=True)
        os.rename(f"{path}/{attempts.FILE}", f"{root}/{owner}/{attempts.FILE}")
    if os.path.dirname(path) == root:
        set_aside(path)


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
