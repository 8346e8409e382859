"""Threads that move the pieces of one transfer."""

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from longshore_mover.line import Line

#: what its threads are called
NAME = "longshore-mover"
#: seconds between two reports while a piece is waited for
_REPORT = 0.5


class Crew:
    """Does ``work`` for the pieces 0 to ``count`` - 1, in order, one thread per line.

    A context manager: when it is left, no thread of it is there any more. The first error of any
    thread ends all of them, and is raised where the crew is waited for.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        count: int,
        work: Callable[[Line, int], None],
        *,
        allowed: int | None = None,
        report: Callable[[], None] = lambda: None,
    ) -> None:
        self._lines = lines[:count]
        self._count = count
        self._work = work
        self._report = report
        self._next = 0
        self._allowed = count if allowed is None else allowed
        self._done: set[int] = set()
        self._error: BaseException | None = None
        self._leaving = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, args=(line,), name=NAME, daemon=True)
            for line in self._lines
        ]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all threads, at once where something failed."""
        with self._changed:
            self._leaving = True
            self._changed.notify_all()
        while any(thread.is_alive() for thread in self._threads):
            if exc is not None:
                for line in self._lines:
                    line.is_abandoned = True
                    line.connection.cut()
                    line.patience.wake()
            for thread in self._threads:
                thread.join(_REPORT / 5)
        for line in self._lines:
            line.is_abandoned = False

    def allow(self, count: int) -> None:
        """Let the first ``count`` pieces begin."""
        with self._changed:
            self._allowed = count
            self._changed.notify_all()

    def wait_for(self, piece: int) -> None:
        """Return when ``piece`` is done; raise what any thread has raised."""
        with self._changed:
            while piece not in self._done:
                if self._error is not None:
                    raise self._error
                if not self._changed.wait(_REPORT):
                    self._report()

    def _run(self, line: Line) -> None:
        while (piece := self._take()) is not None:
            try:
                self._work(line, piece)
            except BaseException as exc:  # noqa: BLE001 - raised again by who waits
                with self._changed:
                    self._error = self._error or exc
                    self._changed.notify_all()
                return
            with self._changed:
                self._done.add(piece)
                self._changed.notify_all()

    def _take(self) -> int | None:
        with self._changed:
            while True:
                if self._leaving or self._error is not None or self._next >= self._count:
                    return None
                if self._next < self._allowed:
                    self._next += 1
                    return self._next - 1
                self._changed.wait()
