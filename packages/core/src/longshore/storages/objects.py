"""Objects as files: whole, synced and named after their key by one rename. Blocking.

Beside each object lies a second name of the same file, ``.<name>@<ticket id>@<sha256>``. It says
which upload made the object and what is in it, needs no writing and no syncing of its own, and
cannot be taken for another file's.
"""

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Protocol

from longshore.errors import DataRefused, NotFound
from longshore.staging.transport import WHOLE
from longshore.transfer import StoredObject

#: 128 leave room in a file name of 255 bytes for the ticket's id and the sha256
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
_KEY = re.compile(rf"{_SEGMENT}(/{_SEGMENT}){{0,15}}\Z")
_NOTHING = (FileNotFoundError, NotADirectoryError)


def check_key(key: str) -> None:
    """Raise where ``key`` is none of ours.

    Raises:
        DataRefused: not a key.
    """
    if not _KEY.match(key):
        raise DataRefused(
            f"{key!r} is not a storage key",
            hint="segments of letters, digits, '.', '_' and '-', not beginning with '.'",
        )


class Objects(Protocol):
    """Where whole objects are kept, and which ticket made each. Blocking; may raise OSError."""

    def path(self, key: str) -> object:
        """Return where ``key`` is; raise ``DataRefused`` where it is no key."""
        ...

    def find(self, key: str) -> tuple[StoredObject, str] | None:
        """Return the object and the id of the ticket that made it, or None."""
        ...

    def open(self, key: str) -> tuple[FileIO, StoredObject]:
        """Open the object as a file of this machine; raise ``NotFound`` where there is none."""
        ...

    def open_at(self, key: str, start: int) -> "Reading":
        """Open the object at byte ``start``; raise ``NotFound`` where there is none."""
        ...

    def publish(self, source: Path, key: str, ticket_id: str, digest: str) -> StoredObject:
        """Give the file ``source`` its key, then take it away; see ``ObjectFiles``."""
        ...

    def settle(self, key: str) -> None:
        """Do what a ``publish`` that was killed had not come to."""
        ...

    def walk(self, prefix: str) -> Iterator[StoredObject]:
        """Yield what is below ``prefix`` in order of the keys."""
        ...

    def delete(self, prefix: str) -> int:
        """Delete an object, or all below a prefix that ends in ``/``; return how many."""
        ...


class Reading(Protocol):
    """An object that is being read."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes; none at the end."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


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
        check_key(key)
        return self.root / key

    def find(self, key: str) -> tuple[StoredObject, str] | None:
        """Return the object and the id of the ticket that made it, or None."""
        path = self.path(key)
        return _look(key, path, _records(path)) if path.is_file() else None

    def open(self, key: str) -> tuple[FileIO, StoredObject]:
        """Open the object, whose description is of the very file that is open.

        Raises:
            NotFound: there is no such object.
        """
        path = self.path(key)
        file = open_object(key, path)
        try:
            status = os.fstat(file.fileno())
            record = _record_of(status, _records(path))
            return file, _stored(key, status, record[1] if record else None)
        except BaseException:
            file.close()
            raise

    def open_at(self, key: str, start: int) -> FileIO:
        """Open the object to read it from byte ``start`` on.

        Raises:
            NotFound: there is no such object.
        """
        file = open_object(key, self.path(key))
        try:
            file.seek(start)
        except BaseException:
            file.close()
            raise
        return file

    def publish(self, source: Path, key: str, ticket_id: str, digest: str) -> StoredObject:
        """Give the synced file ``source`` its key; when it returns, that is durable.

        Raises:
            NotFound: an object of a later ticket has the key.
            FileNotFoundError: there is no ``source``, or no longer.
        """
        path = self.path(key)
        record = path.with_name(f".{path.name}@{ticket_id}@{digest}")
        with self._changing:
            changed = _make_directories(path.parent)
            found = self.find(key)
            if found is not None and found[1] > ticket_id:
                raise NotFound(f"a later upload to {key} was committed already")
            _link(source, record)
            source.rename(path)
            status = record.stat()
        self.settle(key, changed)
        return _stored(key, status, digest)

    def settle(self, key: str, directories: Sequence[Path] = ()) -> None:
        """Do what follows the rename: forget former uploads to ``key``, and sync."""
        path = self.path(key)
        with self._changing, suppress(FileNotFoundError):
            status = path.stat()
            for record in _records(path):
                with suppress(FileNotFoundError):
                    if not os.path.samestat(record.stat(), status):
                        record.unlink()
        for directory in directories or [path.parent]:
            _sync_directory(directory)

    def walk(self, prefix: str) -> Iterator[StoredObject]:
        """Yield what is below ``prefix`` in order of the keys."""
        directory = self.path(prefix.removesuffix("/"))
        records: dict[str, list[Path]] = {}
        names: list[str] = []
        try:
            for entry in directory.iterdir():
                if entry.name.startswith("."):
                    records.setdefault(entry.name[1:].partition("@")[0], []).append(entry)
                else:
                    # "a-b" sorts before "a/b": directories take part with their slash
                    names.append(f"{entry.name}/" if entry.is_dir() else entry.name)
        except _NOTHING:
            return
        for name in sorted(names):
            if name.endswith("/"):
                yield from self.walk(prefix + name)
            elif found := _look(prefix + name, directory / name, records.get(name, [])):
                yield found[0]

    def delete(self, prefix: str) -> int:
        """Delete an object, or all below a prefix that ends in ``/``; return how many."""
        path = self.path(prefix.removesuffix("/"))
        with self._changing:
            if prefix.endswith("/"):
                count = sum(1 for _ in self.walk(prefix))
                with suppress(*_NOTHING):
                    shutil.rmtree(path)
            else:
                count = 1 if self.find(prefix) else 0
                for victim in (path, *_records(path)) if count else ():
                    victim.unlink(missing_ok=True)
            parent = path.parent
            while parent != self.root and _remove_empty(parent):
                parent = parent.parent
            if count:
                _sync_directory(parent)
        return count


def seal(file: FileIO, path: Path) -> tuple[int, str]:
    """Make the content of an open file durable and read-only; return its size and sha256."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    harden(file, path)
    return os.fstat(file.fileno()).st_size, digest


def harden(file: FileIO, path: Path) -> None:
    """Make the content of an open file durable and read-only."""
    os.fchmod(file.fileno(), WHOLE)
    try:
        os.fsync(file.fileno())
    except OSError:
        # the kernel tells of lost pages once: the same file must not pass the next time
        path.unlink()
        raise


def _sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _link(source: Path, record: Path) -> None:
    try:
        record.hardlink_to(source)
    except FileExistsError:  # of a commit that was killed before its rename
        if not record.samefile(source):  # and the same bytes were sent again
            record.unlink()
            record.hardlink_to(source)


def open_object(key: str, path: Path) -> FileIO:
    """Open the file ``path`` of ``key`` to read.

    Raises:
        NotFound: there is no such object.
    """
    try:
        return path.open("rb", buffering=0)
    except (IsADirectoryError, *_NOTHING) as exc:
        raise NotFound(f"there is no object {key}") from exc


def _look(key: str, path: Path, records: list[Path]) -> tuple[StoredObject, str] | None:
    """Return the object and its ticket's id, which is "" where no record is of this very file."""
    with suppress(FileNotFoundError):
        status = path.stat()
        ticket_id, digest = _record_of(status, records) or ("", None)
        return _stored(key, status, digest), ticket_id
    return None


def _record_of(status: os.stat_result, records: list[Path]) -> tuple[str, str] | None:
    """Return the ticket's id and the sha256 of the file that has this ``status``."""
    for record in records:
        with suppress(FileNotFoundError):
            if os.path.samestat(record.stat(), status):
                _, ticket_id, digest = record.name.split("@")
                return ticket_id, digest
    return None


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
