"""Parts that the storage has taken, kept where a mover that is started again finds them.

A part is not sent again where what is on the disk now has the MD5 and the size that were taken of
the same upload: its file is read for that anyway, so neither its times nor its inode are asked.
The commit compares what the storage lists, whatever is written here.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from longshore_mover.sending import Sent

FILE = "sent.jsonl"


class Acknowledged(Sent):
    """What has arrived, as in ``Sending``; what is added is also a line of a file.

    The file only grows. A line that was cut short is as if it was never written, and where none
    can be written, parts may be sent again after a kill, and nothing else.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._path = directory / FILE
        with contextlib.suppress(OSError):
            for line in self._path.read_bytes().splitlines():
                with contextlib.suppress(ValueError):
                    self._take(json.loads(line))

    def _take(self, line: Any) -> None:
        match line:
            case [str(ticket), int(number), str(md5), int(size), str(tag)]:
                super().__setitem__((ticket, number), (bytes.fromhex(md5), size, tag))
            case _:
                pass

    def __setitem__(self, place: tuple[str, int], part: tuple[bytes, int, str]) -> None:
        """Keep ``part``; several threads may do so at a time."""
        super().__setitem__(place, part)
        md5, *rest = part
        # begins where a line that a full disk has cut short ends; one write is one line
        line = f"\n{json.dumps([*place, md5.hex(), *rest])}"
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self._path, flags, 0o600)
            try:
                os.write(fd, line.encode())
            finally:
                os.close(fd)
