"""What goes wrong at a chosen point of a transfer, and who looks at what can be read meanwhile."""

import random
import threading
from collections.abc import Callable
from typing import Any, Self

import pytest
from tests.faultproxy import Asked, Fault, FaultProxy
from tests.mover.attempts import Attempt
from tests.mover.objects import MIB
from tests.support import until

from longshore.models import Output
from longshore.staging import files
from longshore_mover.fetching import RANGE

DATA = random.Random(10).randbytes(4 * MIB)
RESULT = Output(name="result", max_size=8 * MIB)
#: a worker that leaves a line for each time it runs
COPY = "echo ran >> $HOME/ran; cat in/0/text > out/result; echo said"
#: every 5 % of a transfer
STEPS = [percent / 100 for percent in range(0, 100, 5)]
EVERYWHERE = pytest.mark.parametrize("share", STEPS)
WAYS = pytest.mark.parametrize("way", ["down", "up"])


class Readers:
    """Look all the time whether anything is readable that was not committed.

    ``readable`` returns what is, now.
    """

    def __init__(self, readable: Callable[[], set[str]]) -> None:
        self._readable = readable
        self._ended = threading.Event()
        self.looks = 0
        self.found: set[str] = set()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        assert self.looks

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            self.looks += 1
            self.found |= self._readable()


class Outage:
    """The storage is away from when this is called until ``proxy`` has refused two requests.

    ``others`` are more ways to the same storage.
    """

    def __init__(self, proxy: FaultProxy, *others: FaultProxy) -> None:
        self._proxies = (proxy, *others)
        self._before = proxy.refused
        self._thread = threading.Thread(target=self._come_back)

    def __call__(self) -> None:
        self._set(is_down=True)
        self._thread.start()

    def _set(self, *, is_down: bool) -> None:
        for proxy in self._proxies:
            proxy.is_down = is_down

    def _is_felt(self) -> bool:
        return self._proxies[0].refused >= self._before + 2

    def _come_back(self) -> None:
        try:
            until(self._is_felt, "the mover to try again")
        finally:
            self._set(is_down=False)

    def join(self) -> None:
        """Return when it is over; it must have begun, and been felt."""
        self._thread.join()
        assert self._is_felt()


def at_share(share: float, *, up: bool, size: int, act: Callable[[], Any]) -> Any:
    """Return what does ``act`` once, when this share of what goes up, or down, has passed."""
    passed, lock, done = [0], threading.Lock(), threading.Event()

    def choose(asked: Asked) -> Fault | None:
        if (asked.method == "PUT") != up:
            return None
        with lock:
            before = passed[0]
            passed[0] += asked.length if up else min(RANGE, size - before)
            if done.is_set() or passed[0] <= share * size:
                return None
            done.set()
        return Fault(up=up, at=max(0, int(share * size) - before), act=act, cut=True)

    return choose


def runs(attempt: Attempt) -> int:
    """Return how often the worker of ``COPY`` has run."""
    path = attempt.place.directory / files.SCRATCH / "ran"
    return len(path.read_text().splitlines()) if path.exists() else 0
