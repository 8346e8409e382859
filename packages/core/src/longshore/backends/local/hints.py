"""One line per change, to whoever looks: a named pipe in the state directory.

A hint is dropped when nobody reads or the pipe is full. The files are the truth.
"""

import contextlib
import os
import select

#: a line up to this size is written whole, whoever else writes
LINE = min(select.PIPE_BUF, 4096)
FILE = "hints"


class Hints:
    """The writing end, opened when it is needed and again when the reader was exchanged."""

    def __init__(self, state: str) -> None:
        self._path = f"{state}/{FILE}"
        self._fd = -1

    def send(self, line: str) -> None:
        """Write one line, or drop it."""
        data = line.encode() + b"\n"
        if len(data) > LINE:
            data = line.partition("\t")[0].encode() + b"\n"  # the name alone: look it up
        for _ in range(2):
            try:
                if self._fd < 0:
                    self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                os.write(self._fd, data)
            except BrokenPipeError:
                self.close()
            except OSError:
                return
            else:
                return

    def close(self) -> None:
        """Close the pipe; the next line opens it again."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
        self._fd = -1
