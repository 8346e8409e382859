"""Objects as files: whole, synced and named after their key by one rename. Blocking.

Beside each object lies a second name of the same file, ``.<name>@<ticket id>@<sha256>``. It says
which upload made the object and what is in it, needs no writing and no syncing of its own, and
cannot be taken for another file's.
"""

import hashlib
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from longshore.errors import DataRefused, NotFound
from longshore.transfer import StoredObject

#: 128 leave room in a file name of 255 bytes for the ticket's id and the sha256
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
_KEY = re.compile(rf"{_SEGMENT}(/{_SEGMENT}){{0,15}}\Z")
_NOTHING = (FileNotFoundError, NotADirectoryError)


class ObjectFiles:
    """The objects below ``root``. Every method may raise OSError."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._changing = threading.Lock()

    def path(self, key: str) -> Path:
        """Return the file of ``key``.

        Raises:
            DataRefused: not a key.
        """
        if not _KEY.match(key):
            raise DataRefused(
                f"{key!r} is not a storage key",
                hint="segments of letters, digits, '.', '_' and '-', not beginning with '.'",
            )
        return self.root / key

    def find(self, key: str) -> tuple[StoredObject, str] | None:
        """Return the object and the id of the ticket that made it, or None."""
        path = self.path(key)
        try:
            status = path.stat()
        except _NOTHING:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        for record in _records(path):
            with suppress(FileNotFoundError):
                if os.path.samestat(record.stat(), status):
                    _, ticket_id, digest = record.name.split("@")
                    return _stored(key, status, digest), ticket_id
        return _stored(key, status, None), ""

    def publish(self, source: Path, key: str, ticket_id: str, digest: str) -> StoredObject:
        """Give the synced file ``source`` its key; when it returns, that is durable.

        Raises:
            NotFound: an object of a later ticket has the key.
        """
        path = self.path(key)
        record = path.with_name(f".{path.name}@{ticket_id}@{digest}")
        with self._changing:
            changed = _make_directories(path.parent)
            found = self.find(key)
            if found is not None and found[1] > ticket_id:
                raise NotFound(f"a later upload to {key} was committed already")
            older = _records(path)
            record.unlink(missing_ok=True)  # of a commit that was killed before its rename
            record.hardlink_to(source)
            source.rename(path)
            for other in older:
                if other != record:
                    other.unlink(missing_ok=True)
            status = record.stat()
        for directory in changed:
            sync_directory(directory)
        return _stored(key, status, digest)

    def walk(self, prefix: str) -> Iterator[StoredObject]:
        """Yield what is below ``prefix`` in order of the keys."""
        try:
            # "a-b" sorts before "a/b": directories take part with their slash
            names = sorted(
                f"{entry.name}/" if entry.is_dir() else entry.name
                for entry in self.path(prefix.removesuffix("/")).iterdir()
                if not entry.name.startswith(".")
            )
        except _NOTHING:
            return
        for name in names:
            if name.endswith("/"):
                yield from self.walk(prefix + name)
            elif found := self.find(prefix + name):
                yield found[0]

    def delete(self, prefix: str) -> int:
        """Delete an object, or all below a prefix that ends in ``/``; return how many."""
        path = self.path(prefix.removesuffix("/"))
        with self._changing:
            if prefix.endswith("/"):
                count = sum(1 for _ in self.walk(prefix))
                remove_tree(path)
            else:
                count = 1 if self.find(prefix) else 0
                for victim in (path, *_records(path)) if count else ():
                    victim.unlink(missing_ok=True)
            parent = path.parent
            while parent != self.root and _remove_empty(parent):
                parent = parent.parent
            if count:
                sync_directory(parent)
        return count


def seal(path: Path) -> tuple[int, str]:
    """Make the content of a file durable; return its size and sha256."""
    with path.open("rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            os.fsync(file.fileno())
        except OSError:
            # the kernel tells of lost pages once: the same file must not pass the next time
            path.unlink()
            raise
        return os.fstat(file.fileno()).st_size, digest


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it, if it is there."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def _stored(key: str, status: os.stat_result, digest: str | None) -> StoredObject:
    modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
    return StoredObject(key=key, size=status.st_size, modified_at=modified_at, sha256=digest)


def _records(path: Path) -> list[Path]:
    beginning = f".{path.name}@"
    try:
        return [entry for entry in path.parent.iterdir() if entry.name.startswith(beginning)]
    except _NOTHING:
        return []


def _make_directories(path: Path) -> list[Path]:
    """Make ``path``; return the directories that then must be synced, the deepest first."""
    if path.is_dir():
        return [path]
    above = _make_directories(path.parent)
    path.mkdir(0o700, exist_ok=True)
    return [path, *above]


def _remove_empty(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # not empty
    return True
