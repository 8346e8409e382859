"""When a call is sent again, after which pause, and when that ends: pure but for the pause."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from longshore_client.errors import Again, LongshoreError


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How failed calls are repeated. All times are seconds.

    Pauses begin at ``first``, double up to ``most``, and are shortened at random by up to a half,
    so that many clients do not come back together; a server's ``Retry-After`` is a lower bound.

    Attributes:
        patience: from a call's first failure to its last repetition.
        first_contact: the same while the server has never answered: who mistyped an address should
            not wait.
        sleep, clock, chance: injected by tests.
    """

    patience: float = 60.0
    first_contact: float = 3.0
    first: float = 0.2
    most: float = 10.0
    sleep: Callable[[float], Awaitable[None]] = field(default=anyio.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    chance: Callable[[], float] = field(default=random.random, repr=False)


class Trial:
    """One piece of work and its repetitions."""

    def __init__(self, retry: Retry, *, repeatable: bool = True) -> None:
        self._retry = retry
        self._repeatable = repeatable
        self._failed_at: float | None = None
        self._pauses = 0
        self._tries = 0

    def connected(self) -> None:
        """Note that the server answered: the patience begins anew, the pauses go on growing."""
        self._failed_at = None

    def progressed(self) -> None:
        """Note that something was achieved, so that the next failure is a first one."""
        self._failed_at = None
        self._pauses = self._tries = 0

    async def pause(self, error: LongshoreError, *, known: bool = True) -> None:
        """Return when the work is to be tried again.

        Args:
            error: how the last try failed.
            known: whether the server ever answered.

        Raises:
            LongshoreError: ``error``, when it is not to be tried again; it says how often it was.
        """
        retry = self._retry
        now = retry.clock()
        self._tries += 1
        if self._failed_at is None:
            self._failed_at = now
        pause = self._next_pause(error)
        patience = retry.patience if known else min(retry.patience, retry.first_contact)
        if not self._may(error) or now + pause > self._failed_at + patience:
            self._count(error, now - self._failed_at)
            raise error
        await retry.sleep(pause)

    def _may(self, error: LongshoreError) -> bool:
        return error.again is Again.ALWAYS or (error.again is Again.REPEATABLE and self._repeatable)

    def _next_pause(self, error: LongshoreError) -> float:
        retry = self._retry
        longest = min(retry.most, retry.first * 2.0**self._pauses)
        self._pauses = min(self._pauses + 1, 32)
        pause = longest * (1 - retry.chance() / 2)
        if error.retry_after is None:
            return pause
        return error.retry_after + pause if error.retry_after else pause

    def _count(self, error: LongshoreError, seconds: float) -> None:
        if error.tries > 1:  # a part of this work was tried often enough, and says so
            return
        error.tries = self._tries
        if self._tries > 1:
            error.message += f" (tried {self._tries} times in {seconds:.0f} s)"
            error.args = (error.message,)
