"""One attempt carried out: its inputs, the word to start, the worker's end, its results."""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

import attrs

from longshore.errors import IsolationUnavailable, LongshoreError
from longshore.staging import (
    FileTransport,
    StagingFailed,
    StagingProblem,
    Transport,
    files,
    stage_in,
    stage_out,
)
from longshore_mover import memory
from longshore_mover.acknowledged import Acknowledged
from longshore_mover.carriage import Carriage
from longshore_mover.closing import answering, wait_until_closed
from longshore_mover.order import Order, OrderFile
from longshore_mover.progress import Progress
from longshore_mover.transport import HttpTransport
from longshore_mover.worker_end import PAUSE, Watch, WorkerEnd, ask_to_stop, give_go

#: exit codes; 2 is a wrong call or plan, 1 a defect
DONE, NOT_STAGED, NOT_STORED, TERMINATED = 0, 3, 4, 143
#: seconds in which a launcher that took ``go`` has written down that it did
_TAKEN = 1.0
_NEVER = WorkerEnd(outcome=None, reason="internal", message="no launcher has begun")
_RUNS = "the worker had not ended when the mover had to"


class Terminated(Exception):
    """SIGTERM came before the worker was allowed to start."""


class Mover:
    """Does what an order says; everything may be done again by another one after a kill."""

    def __init__(self, file: OrderFile, progress: Progress) -> None:
        self._file = file
        self._progress = progress
        order = file.order
        self._memory = memory.recall(order.state)
        self._terminated: float | None = None
        self._carriage = Carriage(_transport(file, progress), order.plan, progress)

    @property
    def _order(self) -> Order:
        return self._file.order

    def terminate(self, *_: object) -> None:
        """Bring home what there is, and end within the grace; a handler of SIGTERM."""
        if self._terminated is None:
            self._terminated = time.monotonic()
            self._carriage.stop()

    def serve(self) -> int:
        """Do all of it beside a worker; return the exit code."""
        code = self.stage_in()
        return code if code == TERMINATED else self.stage_out()

    def stage_in(self) -> int:
        """Fetch the inputs and give the word to start; return the exit code.

        Where that fails, the launcher is asked to end, so that stage-out comes next.
        """
        try:
            if self._memory.failed is None:
                self._stage_in()
                return DONE
        except Terminated:
            self._progress.say("terminated", message="before the worker was allowed to start")
            self._give_up()
            return TERMINATED
        except (StagingFailed, IsolationUnavailable) as exc:
            problem = _problem(exc)
            self._progress.say("failed", **attrs.asdict(problem))
            self._remember(attrs.evolve(self._memory, failed=problem))
        self._give_up()
        return NOT_STAGED

    def _stage_in(self) -> None:
        order = self._order
        if self._memory.go:
            self._give_go_again()
            return
        if not self._memory.staged:
            answered = answering(order.closed) if order.closed else ()
            try:
                stage_in(order.plan, order.inputs, order.input_places, self._carriage)
            except StagingFailed:
                self._check_terminated()
                raise
            self._remember(attrs.evolve(self._memory, staged=True, answered=answered))
        self._progress.say("staged")
        if order.closed:
            seconds = order.closing.total_seconds()
            wait_until_closed(self._memory.answered, seconds, sleep=self._rest)
            self._progress.say("closed")
        self._check_terminated()
        # before the word: a worker that may have started must never find its inputs replaced
        self._remember(attrs.evolve(self._memory, go=True))
        give_go(order.directory, order.key)
        self._progress.say("go")

    def _give_go_again(self) -> None:
        """Give the word unless it was: a killed mover may have been about to."""
        order = self._order
        with Watch(order.directory, order.name, order.key) as watch:
            end = time.monotonic() + _TAKEN
            while not (given := watch.was_given()) and time.monotonic() < end:
                time.sleep(PAUSE)
        if not given:
            give_go(order.directory, order.key)

    def _give_up(self) -> None:
        with contextlib.suppress(OSError):  # then the launcher waits until the engine ends it
            ask_to_stop(self._order.directory)

    def _rest(self, seconds: float) -> None:
        self._check_terminated()
        time.sleep(seconds)

    def _check_terminated(self) -> None:
        if self._terminated is not None:
            raise Terminated

    def _remember(self, now: memory.Memory) -> None:
        memory.remember(self._order.state, now)
        self._memory = now

    def stage_out(self) -> int:
        """Wait for the worker's end and send what is there; return the exit code."""
        if self._memory.failed is not None:
            return self._send(_NEVER, [self._memory.failed])
        end = self._wait_for_end()
        if end is None:
            late = [_lost(one.name) for one in self._order.outputs]
            return self._send(_NEVER, late)
        self._progress.say("worker-ended", reason=end.reason, message=end.message)
        problems = []
        if end.outcome is None:
            code = end.reason or "internal"
            problems = [StagingProblem(name="worker", code=code, message=end.message)]
        return self._send(end, problems)

    def _wait_for_end(self) -> WorkerEnd | None:
        """Return how the worker ended; None when it did not in time after SIGTERM."""
        order = self._order
        if not self._memory.go and not (order.directory / files.ATTEMPT).exists():
            return _NEVER
        key = order.key if self._memory.go else ""
        with Watch(order.directory, order.name, key) as watch:
            while (end := watch.look()) is None:
                if self._terminated is not None and self._half_time() < time.monotonic():
                    return None
                time.sleep(PAUSE)
        return end

    def _half_time(self) -> float:
        """Return until when a worker's end is awaited after SIGTERM."""
        return (self._terminated or 0.0) + self._order.grace.total_seconds() / 2

    def _send(self, end: WorkerEnd, problems: Iterable[StagingProblem]) -> int:
        """Send the outputs of a worker that ran, the log, and what is known; manifest last."""
        order = self._order
        while True:
            terminated = self._terminated
            if terminated is not None:
                self._carriage.hurry(order.grace, terminated)
            try:
                manifest = stage_out(
                    order.plan,
                    order.outputs if end.outcome is not None else (),
                    order.output_places,
                    log=order.directory / files.LOG,
                    log_cap=order.log_cap,
                    outcome=end.outcome,
                    started_at=end.started_at,
                    ended_at=end.ended_at,
                    problems=problems,
                    transport=self._carriage,
                    root=order.directory,
                    log_first=terminated is not None,
                )
            except StagingFailed as exc:
                if terminated is not self._terminated:
                    continue  # SIGTERM broke it off: again, with the log first
                self._progress.say("failed", **attrs.asdict(_problem(exc)))
                return NOT_STORED
            for one in manifest.problems:
                self._progress.say("problem", **attrs.asdict(one))
            self._progress.say("done")
            return DONE


def _transport(file: OrderFile, progress: Progress) -> Transport:
    order = file.order
    if order.plan.manifest.parts[0].url.startswith("file:"):
        return FileTransport()
    return HttpTransport(
        order.plan,
        outage=order.outage,
        newer=file.newer,
        scratch=order.state,
        sent=Acknowledged(order.state),
        report=progress.report,
    )


def _lost(name: str) -> StagingProblem:
    return StagingProblem(name=name, code="output-unavailable", message=_RUNS)


def _problem(exc: LongshoreError) -> StagingProblem:
    if isinstance(exc, StagingFailed):
        return StagingProblem(
            name=exc.name, code=exc.code, message=exc.message.removeprefix(f"{exc.name}: ")
        )
    return StagingProblem(name="network", code="isolation-unavailable", message=str(exc))


def open_mover(plan: Path, progress: Progress) -> Mover:
    """Return the mover of the order in the file ``plan``.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    return Mover(OrderFile(plan), progress)
