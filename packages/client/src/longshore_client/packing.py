"""Pack a directory into an archive that is the same for the same files, wherever and whenever.

A job's request names the checksum of what will be sent, so a repeated command must make the same
bytes: names are sorted, and who owns a file and when it was made is nobody's business.
"""

import gzip
import tarfile
from pathlib import Path
from typing import BinaryIO

from longshore_client.errors import ArchiveRefused

_HINT = "an archive holds regular files and directories only"


def pack(directory: Path, into: BinaryIO) -> None:
    """Write the files and directories below ``directory`` to ``into``, as tar with gzip.

    A link to a regular file inside is packed as that file: the far side takes no links.

    Raises:
        ArchiveRefused: a link that leads elsewhere, a device, a pipe, a socket, or a name that is
            not UTF-8; the first such name is told.
        OSError: something cannot be read, or changes while it is.
    """
    root = directory.resolve()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=into, mtime=0) as pressed,
        tarfile.open(fileobj=pressed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(root.rglob("*")):
            _add(archive, root, path)


def _add(archive: tarfile.TarFile, root: Path, path: Path) -> None:
    target = path.resolve()
    if path.is_symlink() and not (target.is_relative_to(root) and target.is_file()):
        raise ArchiveRefused(f"{path} is a link to {target}: it would not be sent", hint=_HINT)
    if not (target.is_file() or target.is_dir()):
        raise ArchiveRefused(f"{path} is neither a file nor a directory", hint=_HINT)
    name = str(path.relative_to(root))
    try:
        name.encode()  # what tar does with other names, other programs do not read
    except UnicodeEncodeError as exc:
        raise ArchiveRefused(f"the name {name!r} is not UTF-8", hint="rename the file") from exc
    status = target.stat()
    member = tarfile.TarInfo(name)
    if target.is_dir():
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(member)
        return
    member.mode = 0o755 if status.st_mode & 0o100 else 0o644
    member.size = status.st_size
    with target.open("rb") as content:
        archive.addfile(member, content)
