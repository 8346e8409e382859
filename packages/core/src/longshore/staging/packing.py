"""Packing a directory that a worker wrote into an archive, as a stream.

The format is tar with gzip: it needs no seeking and no total beforehand, every system unpacks it,
and with sorted names and no times the same files make the same bytes.
"""

import os
import posixpath
import stat
import tarfile
import zlib
from collections.abc import Iterator

from longshore.errors import DataRefused
from longshore.staging.below import open_directory, open_file

_CHUNK = 1024**2
#: gzip's container, and the level that compresses faster than most disks write
_GZIP, _LEVEL = 31, 1
_MAX_DEPTH = 64
_MAX_LINKS = 8
_END = bytes(2 * tarfile.BLOCKSIZE)


def pack(directory: int) -> Iterator[bytes]:
    """Yield the archive of the directory that the descriptor stands for, which stays open.

    Regular files and directories only; a link to a regular file inside is packed as that file.

    Raises:
        DataRefused: a link that leads elsewhere, a device, a pipe, a socket, a name that is not
            UTF-8, or a file that changes while it is read.
    """
    press = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for block in _members(directory, directory, ""):
        if pressed := press.compress(block):
            yield pressed
    yield press.compress(_END) + press.flush()


def _members(root: int, directory: int, prefix: str) -> Iterator[bytes]:
    if prefix.count("/") > _MAX_DEPTH:
        raise DataRefused(f"{prefix!r} lies deeper than {_MAX_DEPTH} directories")
    for name in sorted(os.listdir(directory)):
        path = prefix + name
        kind = stat.S_IFMT(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
        if kind == stat.S_IFDIR:
            inner = open_directory(name, directory)
            try:
                yield _header(path + "/", os.fstat(inner))
                yield from _members(root, inner, path + "/")
            finally:
                os.close(inner)
        else:
            linked = kind == stat.S_IFLNK
            yield from _file(
                path, _open_linked(root, path) if linked else open_file(name, directory)
            )


def _file(path: str, fd: int) -> Iterator[bytes]:
    with os.fdopen(fd, "rb", buffering=0) as file:
        status = os.fstat(fd)
        yield _header(path, status)
        left = status.st_size
        while left:
            chunk = file.read(min(_CHUNK, left))
            if not chunk:
                raise DataRefused(f"{path!r} changed while it was read")
            left -= len(chunk)
            yield chunk
        yield bytes(-status.st_size % tarfile.BLOCKSIZE)


def _header(path: str, status: os.stat_result) -> bytes:
    info = tarfile.TarInfo(path)
    if stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    else:
        info.size = status.st_size
        info.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    try:
        path.encode()  # what tar does with other names, other programs do not read
    except UnicodeEncodeError as exc:
        raise DataRefused(f"the name {path!r} is not UTF-8") from exc
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8")


def _open_linked(root: int, path: str) -> int:
    """Return the regular file below ``root`` to which the link ``path`` leads in the end."""
    target = path
    for _ in range(_MAX_LINKS):
        parent, name = _open_parent(root, target)
        try:
            link = _readlink(name, parent)
            if link is None:
                return open_file(name, parent)
        except FileNotFoundError as exc:
            raise DataRefused(f"{path!r} is a link to nothing") from exc
        finally:
            os.close(parent)
        target = posixpath.normpath(posixpath.join(posixpath.dirname(target), link))
        if target.startswith(("/", "../")) or target in {"..", "."}:
            break
    raise DataRefused(f"{path!r} is a link that does not lead to a file of the same directory")


def _readlink(name: str, parent: int) -> str | None:
    if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        return os.readlink(name, dir_fd=parent)
    return None


def _open_parent(root: int, path: str) -> tuple[int, str]:
    *segments, name = path.split("/")
    fd = os.dup(root)
    for segment in segments:
        try:
            inner = open_directory(segment, fd)
        finally:
            os.close(fd)
        fd = inner
    return fd, name
