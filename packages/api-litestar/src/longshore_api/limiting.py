"""How much one token, and all together, may ask for at a time.

Each decision is one synchronous step in the one process that serves, so no two requests can both
take the last place.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import attrs

from longshore.settings import LimitsSettings
from longshore_api.errors import Overloaded, RateLimited

_SECOND = 1_000_000_000
#: tokens remembered; beyond, those whose bucket is full again are forgotten
_MOST = 10_000


@attrs.frozen
class Allowance:
    """What is left for a token: requests now, and seconds until the bucket is full."""

    remaining: int
    reset: float


class RateLimiter:
    """A token bucket for each key: ``rate`` a second flow in, ``burst`` fit.

    Kept as one number, the time at which the bucket is full again (the generic cell rate
    algorithm, ITU-T I.371). ``now`` is in nanoseconds: whole numbers, as with fractions the last
    of a burst would be refused or not by how they round.
    """

    def __init__(self, rate: float, burst: int, now: Callable[[], int] = time.monotonic_ns) -> None:
        self.rate = rate
        self.burst = burst
        self._now = now
        self._each = max(1, round(_SECOND / rate))
        self._all = self._each * burst
        self._full_at: dict[str, int] = {}
        self._most = _MOST

    def take(self, key: str) -> Allowance:
        """Take one request out of the bucket of ``key``.

        Raises:
            RateLimited: it is empty; nothing was taken.
        """
        now = self._now()
        left = self._all - max(self._full_at.get(key, now) - now, 0) - self._each
        if left < 0:
            raise RateLimited(
                f"this token may send {self.rate:g} requests a second, {self.burst} at once",
                retry_after=-left / _SECOND,
                hint="wait as long as Retry-After says",
            )
        if len(self._full_at) >= self._most:
            self._full_at = {one: at for one, at in self._full_at.items() if at > now}
            self._most = max(_MOST, 2 * len(self._full_at))
        self._full_at[key] = now + self._all - left
        return Allowance(left // self._each, (self._all - left) / _SECOND)


class Shares:
    """What is open at a time: ``each`` token may have so many, and all ``together``."""

    def __init__(self, each: int, together: int, *, one_has: str, all_have: str) -> None:
        self._each = each
        self._together = together
        self._one_has = one_has
        self._all_have = all_have
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open.total()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Count one of ``key`` while the block runs.

        Raises:
            RateLimited: the token has as many as it may.
            Overloaded: all together have.
        """
        if self._open[key] >= self._each:
            raise RateLimited(self._one_has, retry_after=5, hint="end one")
        if self.open >= self._together:
            raise Overloaded(self._all_have, hint="ask again later")
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]


class Streams(Shares):
    """The streams that are open: logs and events that somebody follows."""

    def __init__(self, limits: LimitsSettings) -> None:
        super().__init__(
            limits.streams,
            limits.all_streams,
            one_has=f"this token follows {limits.streams} streams already",
            all_have="too many streams are followed",
        )


class Bodies(Shares):
    """The bodies that come in pieces: each is in memory until it is whole."""

    def __init__(self, each: int, together: int) -> None:
        super().__init__(
            each,
            together,
            one_has=f"this token sends {each} large bodies already",
            all_have="too many large bodies are sent",
        )


class Place:
    """A request's place among those that are worked on. ``leave`` it, or use it as a context."""

    __slots__ = ("_crowd", "_has_left")

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd
        self._has_left = False

    def leave(self) -> None:
        """Give the place to somebody else, for good: what follows is waiting. Repeatable."""
        if not self._has_left:
            self._has_left = True
            self._crowd.at_work -= 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class Crowd:
    """The requests that are worked on at a time: ``most`` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.at_work = 0

    def join(self) -> Place:
        """Return a place, to be used as a context manager.

        Raises:
            Overloaded: none is free.
        """
        if self.at_work >= self._most:
            raise Overloaded("more is asked at once than the service can do")
        self.at_work += 1
        return Place(self)

    @contextmanager
    def stand_aside(self) -> Iterator[None]:
        """Give the place of a request that has one to others while the block waits for something.

        It works again afterwards, even where others fill all places: who was let in stays.
        """
        self.at_work -= 1
        try:
            yield
        finally:
            self.at_work += 1
