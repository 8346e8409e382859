"""Keeps callers from filling the log: of one kind of event some are written, the rest counted."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

#: events of a kind that are written in a window, and its seconds
MOST = 30
WINDOW = 60.0
#: who says what any caller can bring about, as often as it likes
LOGGERS = ("longshore.access", "longshore.api", "uvicorn.error")

_Kind = tuple[str, int, str]


@attrs.define
class _Window:
    ends_at: float
    written: int = 0
    left_out: int = 0


class Sparing(logging.Filter):
    """Of one logger, level and text lets ``MOST`` records through in ``WINDOW`` seconds.

    Afterwards how many were left out is an event itself: with the next one of any kind, or by
    ``tell``. ``now`` is in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._windows: dict[_Kind, _Window] = {}
        self._looking = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record is written."""
        self.tell()
        kind = (record.name, record.levelno, str(record.msg))
        with self._looking:
            window = self._windows.setdefault(kind, _Window(self._now() + WINDOW))
            if window.written < MOST:
                window.written += 1
                return True
            window.left_out += 1
            return False

    def tell(self, *, is_end: bool = False) -> None:
        """Say what was left out in the windows that are over; at the end all are."""
        with self._looking:
            end = math.inf if is_end else self._now()
            over = {kind: one for kind, one in self._windows.items() if one.ends_at <= end}
            for kind in over:
                del self._windows[kind]
        for (name, level, text), window in over.items():
            if window.left_out:
                details = {"of": text, "left_out": window.left_out, "seconds": WINDOW}
                logging.getLogger(name).log(level, "more of the same was left out", extra=details)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Filter what ``LOGGERS`` say while the block runs."""
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self)
        try:
            yield
        finally:
            self.tell(is_end=True)
            for name in LOGGERS:
                logging.getLogger(name).removeFilter(self)


#: of this process, whose log is one
SPARING = Sparing()
