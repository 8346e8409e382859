"""Waiting for signals and descriptors in one place, without losing either."""

import os
import select
import signal

_HEARD = (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP)


class Wakeups:
    """Signals as bytes in a pipe: ``wait`` returns early when one arrived."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        for fd in (self._read, self._write):
            os.set_blocking(fd, False)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        for number in _HEARD:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def close(self) -> None:
        """Give the pipe up, as a fork must whose parent goes on using it."""
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)

    def watch(self, fd: int) -> None:
        """Let ``wait`` return also when ``fd`` can be read."""
        self._poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Take a watched descriptor away."""
        self._poll.unregister(fd)

    def wait(self, seconds: float | None) -> frozenset[int]:
        """Wait for a signal or a watched descriptor; return the descriptors."""
        timeout = None if seconds is None else max(0, round(seconds * 1000 + 0.5))
        ready = {fd for fd, _ in self._poll.poll(timeout)}
        if self._read in ready:
            ready.discard(self._read)
            os.read(self._read, 4096)
        return frozenset(ready)
