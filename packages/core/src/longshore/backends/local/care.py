"""An attempt in somebody's care: every change is written to its files, then hinted at."""

import contextlib
import os
import signal
from collections.abc import Generator
from datetime import UTC, datetime

import attrs

from longshore.backends.local import attempts, processes
from longshore.backends.local.attempts import Order, Record
from longshore.backends.local.hints import Hints
from longshore.codec import to_json
from longshore.models.job import Outcome, Progress
from longshore.models.run import Observation, Phase

_STATUS_SIZE = 64 * 1024
_MESSAGE = 500


class Canceled(Exception):
    """The attempt is to stop and has not started its worker."""


class Care:
    """An attempt whose status file this process has locked."""

    def __init__(
        self, path: str, lock: int, order: Order, hints: Hints, runner: processes.Process
    ) -> None:
        self.path = path
        self.order = order
        self._lock = lock
        self._hints = hints
        self._progress_at = 0
        before = attempts.last_record(lock)
        if before is None:
            observation = Observation(
                job_id=order.job_id, attempt=order.attempt, phase=Phase.WAITING
            )
            self.record = Record(
                observation=observation, boot=processes.boot_id(), runner=runner, claims=0
            )
        else:
            self.record = before
        self.started_at = self.record.observation.started_at
        if not self.record.is_over:
            self._write(attrs.evolve(self.record, runner=runner, claims=self.record.claims + 1))

    def note(self, phase: Phase, *, message: str = "", outcome: Outcome | None = None) -> None:
        """Record and report a phase."""
        seen = self.record.observation
        seen = attrs.evolve(
            seen, phase=phase, message=message[:_MESSAGE], outcome=outcome or seen.outcome
        )
        self._write(attrs.evolve(self.record, observation=seen), hint=True)

    def give_up(self, code: str, message: str) -> None:
        """Record that the worker never ran, and why."""
        seen = attrs.evolve(
            self.record.observation, phase=Phase.ENDED, reason=code, message=message[:_MESSAGE]
        )
        self._write(attrs.evolve(self.record, observation=seen, marked=False), hint=True)

    def mark(self, enforced: dict[str, str]) -> None:
        """Record that the worker may run from now on."""
        seen = attrs.evolve(self.record.observation, enforced=enforced)
        self._write(attrs.evolve(self.record, observation=seen, marked=True))

    def note_worker(self, worker: processes.Process) -> None:
        """Record and report that the worker runs."""
        seen = attrs.evolve(
            self.record.observation, phase=Phase.RUNNING, started_at=self.started_at
        )
        self._write(attrs.evolve(self.record, observation=seen, worker=worker), hint=True)

    def note_outcome(self, outcome: Outcome) -> None:
        """Record the worker's end, durably, before anything else is done about it."""
        seen = self.record.observation
        if seen.outcome is None:
            seen = attrs.evolve(
                seen,
                phase=Phase.STAGING_OUT,
                outcome=outcome,
                started_at=self.started_at,
                ended_at=datetime.now(UTC),
            )
        self._write(attrs.evolve(self.record, observation=seen), hint=True)
        os.fdatasync(self._lock) if hasattr(os, "fdatasync") else os.fsync(self._lock)

    def follow(self, progress: Progress) -> None:
        """Report progress; record it as long as the file stays small."""
        seen = attrs.evolve(self.record.observation, progress=progress)
        record = attrs.evolve(self.record, observation=seen)
        if os.fstat(self._lock).st_size < _STATUS_SIZE:
            self._write(record, hint=True)
        else:
            self.record = record
            self._hint()

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

    def _write(self, record: Record, *, hint: bool = False) -> None:
        self.record = record
        os.write(self._lock, to_json(record).encode() + b"\n")
        if hint:
            self._hint()

    def _hint(self) -> None:
        self._hints.send(f"{os.path.basename(self.path)}\t{to_json(self.record.observation)}")


def end_unclaimed(path: str) -> None:
    """End an attempt that no runner has taken yet, without waiting for one that has time.

    Raises:
        OSError: its status cannot be written.
    """
    lock = attempts.claim(path)
    if lock is None:
        return
    try:
        order = attempts.read_order(path)
        if order is not None and attempts.last_record(lock) is None:
            hints = Hints(os.path.dirname(os.path.dirname(path)))
            care = Care(path, lock, order, hints, processes.this_process(os.getpid()))
            care.give_up("canceled", "stopped before the worker started")
            hints.close()
    finally:
        os.close(lock)
