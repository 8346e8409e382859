"""How long a transfer is tried, and when the next try is."""

import os
import threading
import time
from collections.abc import Callable

from longshore.errors import StorageUnavailable

#: seconds before the second try, and at most between two
_FIRST, _MOST = 0.1, 15.0
_DOUBLINGS = 10


def _draw() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2**32  # the module random costs 5 ms


class Patience:
    """The allowance for an outage, shared by all threads that move bytes.

    ``outage`` is seconds from the first failure until nothing is tried any more; it begins anew
    whenever a byte has moved. Whoever waits here can be told to hurry by ``end_by``.
    """

    def __init__(
        self,
        outage: float,
        *,
        now: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = _draw,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.outage = outage
        #: bytes that have moved, by all threads
        self.count = 0
        self._now = now
        self._draw = draw
        self._hurry = threading.Event()
        self._wait = wait or self._hurry.wait
        self._lock = threading.Lock()
        self._failing_since: float | None = None
        self._end = float("inf")

    def moved(self, count: int) -> None:
        """Note that the storage took, or gave, bytes: it is there."""
        with self._lock:
            self.count += count
            self._failing_since = None

    def again(self, what: str, tries: int, *, after: float = 0.0) -> None:
        """Return when the next try may be made, after ``tries`` of this request that failed.

        ``after`` is what the server asked for, in seconds.

        Raises:
            StorageUnavailable: the allowance is used up; ``what`` was wrong.
        """
        with self._lock:
            now = self._now()
            if self._failing_since is None:
                self._failing_since = now
            left = self._failing_since + self.outage - now
        if left <= 0:
            raise StorageUnavailable(f"{what}; tried again for {self.outage:g} s")
        pause = min(_MOST, _FIRST * 2 ** min(tries - 1, _DOUBLINGS)) * (0.5 + self._draw() / 2)
        self.pause(min(max(pause, after), left))
        self.check(what)

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than there is time."""
        if (seconds := min(seconds, self.left())) > 0:
            self._wait(seconds)

    def left(self) -> float:
        """Return how many seconds there are at most."""
        return self._end - self._now()

    def check(self, what: str = "it was not all sent") -> None:
        """Go on only while there is time.

        Raises:
            StorageUnavailable: there is none.
        """
        if self.left() <= 0:
            raise StorageUnavailable(f"{what}; there was no more time for it")

    def wake(self) -> None:
        """Let everybody who waits for the next try look again."""
        if not self._hurry.is_set():
            self._hurry.set()
            self._hurry.clear()

    def end_by(self, end: float | None) -> None:
        """Let everything end by ``end`` of the clock, by 0 at once; None takes that back."""
        self._end = float("inf") if end is None else end
        if self.left() <= 0:
            self._hurry.set()  # whoever waits looks again
        else:
            self._hurry.clear()
