"""An attempt in somebody's care: every change is written to its file, then hinted at."""

import contextlib
import fcntl
import os
import signal
from collections.abc import Generator
from datetime import UTC, datetime

import attrs

from longshore.backends.local import attempts, processes
from longshore.backends.local.attempts import Care
from longshore.backends.local.hints import Hints
from longshore.backends.local.lines import seal
from longshore.codec import to_json
from longshore.models.job import Outcome, Progress
from longshore.models.run import Observation, Phase

_STATUS_SIZE = 64 * 1024
_MESSAGE = 500


class Canceled(Exception):
    """The attempt is to stop and has not started its worker."""


class Tended:
    """An attempt whose file this process has locked."""

    def __init__(
        self, path: str, lock: int, lines: bytes, hints: Hints, runner: processes.Process
    ) -> None:
        self.path = path
        self.order = attempts.order_of(path, lines)
        self._name = os.path.basename(path)
        self._lock = lock
        self._end = len(lines)
        self._hints = hints
        before = attempts.last_record(path, lines)
        self.seen = before.observation if before else self._nothing_yet()
        self.is_over = before is not None and before.is_over
        self.care = Care(boot=processes.boot_id(), runner=runner)
        if before is not None:
            # the boot stays the worker's: after another one, its pid says nothing
            self.care = attrs.evolve(before.care, runner=runner, claims=before.care.claims + 1)

    def _nothing_yet(self) -> Observation:
        return Observation(
            job_id=self.order.job_id, attempt=self.order.attempt, phase=Phase.WAITING
        )

    def claim(self) -> None:
        """Record who takes care of the attempt."""
        self._write()

    def note(self, phase: Phase, *, message: str = "", outcome: Outcome | None = None) -> None:
        """Record and report a phase."""
        self.seen = attrs.evolve(
            self.seen, phase=phase, message=message[:_MESSAGE], outcome=outcome or self.seen.outcome
        )
        self._write(hint=True)

    def give_up(self, code: str, message: str) -> None:
        """Record that the worker never ran, and why."""
        self.seen = attrs.evolve(
            self.seen, phase=Phase.ENDED, reason=code, message=message[:_MESSAGE]
        )
        self.care = attrs.evolve(self.care, marked=False)
        self._write(hint=True)

    def mark(self, enforced: dict[str, str]) -> None:
        """Record that the worker may run from now on."""
        self.seen = attrs.evolve(self.seen, enforced=enforced, started_at=datetime.now(UTC))
        self.care = attrs.evolve(self.care, marked=True, boot=processes.boot_id())
        self._write()

    def note_worker(self, worker: processes.Process) -> None:
        """Record that the worker runs; it is reported by ``tell`` when it does for a while."""
        self.seen = attrs.evolve(self.seen, phase=Phase.RUNNING)
        self.care = attrs.evolve(self.care, worker=worker)
        self._write()

    def note_outcome(self, outcome: Outcome) -> None:
        """Record the worker's end, durably, before anything else is done about it."""
        if self.seen.outcome is None:
            self.seen = attrs.evolve(
                self.seen, phase=Phase.STAGING_OUT, outcome=outcome, ended_at=datetime.now(UTC)
            )
        self._write(hint=bool(self.order.outputs))  # else it is over in a moment
        (os.fdatasync if processes.LINUX else os.fsync)(self._lock)

    def follow(self, progress: Progress) -> None:
        """Report progress; record it as long as the file stays small."""
        self.seen = attrs.evolve(self.seen, progress=progress)
        if self._end < _STATUS_SIZE:
            self._write(hint=True)
        else:
            self.tell()

    def tell(self) -> None:
        """Report what is known."""
        self._hint(to_json(self.seen))

    def is_discarded(self) -> bool:
        """Say whether nobody wants results any more."""
        stop = attempts.read_stop(self.path)
        return stop is not None and stop.discard

    def check_stop(self) -> None:
        """Raise Canceled when the attempt is to stop."""
        if attempts.read_stop(self.path) is not None:
            raise Canceled

    @contextlib.contextmanager
    def interruptible(self) -> Generator[None]:
        """Let a request to stop break off what is done here."""

        def asked(*_: object) -> None:
            self.check_stop()

        before = signal.signal(signal.SIGTERM, asked)
        try:
            self.check_stop()
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _write(self, *, hint: bool = False) -> None:
        seen = to_json(self.seen)
        line = seal(self._name, f"[{seen},{to_json(self.care)}]")
        self._end = attempts.write_at(self._lock, line, self._end)
        if self.seen.phase in attempts.OVER:
            # before anybody hears of it: whoever removes the attempt may want the file for another
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        if hint:
            self._hint(seen)

    def _hint(self, seen: str) -> None:
        self._hints.send(f"{self._name}\t{seen}")


def end_unclaimed(path: str) -> None:
    """End an attempt that no runner has taken yet, without waiting for one that has time.

    Raises:
        OSError: its status cannot be written.
    """
    claimed = attempts.claim(path)
    if claimed is None:
        return
    lock, lines = claimed
    try:
        if attempts.last_record(path, lines) is None:
            hints = Hints(os.path.dirname(os.path.dirname(path)))
            tended = Tended(path, lock, lines, hints, processes.this_process(os.getpid()))
            tended.give_up("canceled", "stopped before the worker started")
            hints.close()
    finally:
        os.close(lock)
