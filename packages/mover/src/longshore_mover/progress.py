"""What a mover says: a line of JSON for what happens, and about one per second in between."""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

_PAUSE = 1.0


class Progress:
    """Writes lines with ``at``, ``what``, and as they apply ``name``, ``done`` and ``total``."""

    def __init__(
        self, stream: TextIO | None = None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stdout
        self._now = now
        self._said = 0.0
        self._is_whole = False
        self._what = self._name = ""

    def begin(self, what: str, name: str) -> None:
        """Let what ``report`` counts from now on be of ``name``."""
        self._what, self._name = what, name
        self._said, self._is_whole = self._now(), False

    def report(self, done: int, total: int) -> None:
        """Say how many bytes have moved: in the end, and now and then before it."""
        whole = done == total
        if (whole and not self._is_whole) or self._now() - self._said >= _PAUSE:
            self._said, self._is_whole = self._now(), whole
            self.say(self._what, name=self._name, done=done, total=total)

    def say(self, what: str, **more: object) -> None:
        """Write a line; nobody has to read it."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        with contextlib.suppress(OSError):
            self._stream.write(json.dumps({"at": at, "what": what, **more}) + "\n")
            self._stream.flush()
