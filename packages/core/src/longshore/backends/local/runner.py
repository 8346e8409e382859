"""A runner: carries out attempts, one after the other, each from its order to its manifest.

It is the parent of the worker, and of what the worker leaves behind. Everything that it must not
forget is in the attempt's files before it goes on, so that another runner can continue after its
death: a worker is never started twice, and an end that nobody saw is said to be lost.
"""

import contextlib
import errno
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from longshore.backends.local import attempts, cgroups, processes, removal
from longshore.backends.local.attempts import Order
from longshore.backends.local.hints import Hints
from longshore.backends.local.tending import Canceled, Tended
from longshore.backends.local.wakeups import Wakeups
from longshore.backends.local.worker import Ended, Worker, adopt, start
from longshore.errors import PluginError
from longshore.models.job import Outcome, OutcomeKind
from longshore.models.run import Phase
from longshore.staging import StagingFailed, Transport, stage_in, stage_out
from longshore.staging.transports import transport_for
from longshore.transfer import TransferPlan

#: bytes of an order on the pipe from the service; short enough to be read and written whole
RECORD = 64
#: runners that die before they start a worker prove something; then the attempt is given back
_CLAIMS = 3
#: and so do runners that die while they stage out
_LATE_CLAIMS = 20
_RETRY_MAX = 5.0


class Runner:
    """Serves orders until the service and the keeper have no more for it."""

    def __init__(self, state: str, *, group: str | None) -> None:
        self._attempts = f"{state}/attempts"
        self._hints = Hints(state)
        self._wakeups = Wakeups()
        self._group = group
        self._cage: cgroups.Cage | None = None
        self._self = processes.this_process(os.getpid())

    def serve(self, orders: int, keeper: int, on_first: Callable[[], object]) -> None:
        """Take orders from the pipe until its other end is closed, or the keeper is gone."""
        idle = True

        def keeper_ended(*_: object) -> None:
            if idle:  # nobody would see our end: let the service start another keeper
                raise SystemExit(0)

        signal.signal(signal.SIGHUP, keeper_ended)
        first = True
        while os.getppid() == keeper and (record := os.read(orders, RECORD)):
            idle = False
            if first:
                on_first()
                first = False
            self.care(record.rstrip(b"\0").decode())
            idle = True

    def care(self, name: str) -> None:
        """Do what is left to do for an attempt, unless somebody does or nothing is left."""
        path = f"{self._attempts}/{name}"
        claimed = attempts.claim(path)
        if claimed is None:
            return
        lock, lines = claimed
        try:
            try:
                attempt = Tended(path, lock, lines, self._hints, self._self)
            except ValueError:  # of another version: a runner that dies of it would help nobody
                traceback.print_exc()
                return
            if not attempt.is_over:
                self._carry_out(attempt)
        except FileNotFoundError:
            if os.path.exists(f"{path}/{attempts.FILE}"):
                raise
        finally:
            os.close(lock)

    def _carry_out(self, attempt: Tended) -> None:
        if attempt.care.marked:
            attempt.claim()
            self._continue(attempt)
            return
        started: Worker | Ended | None = None
        try:
            started = self._begin(attempt)
        except Canceled:
            attempt.give_up("canceled", "stopped before the worker started")
        except StagingFailed as exc:
            attempt.give_up(exc.code, str(exc))
        except PluginError as exc:
            attempt.give_up("internal", str(exc))
        except OSError as exc:
            code = "disk" if exc.errno in {errno.ENOSPC, errno.EDQUOT} else "internal"
            attempt.give_up(code, f"cannot prepare: {exc.strerror}")
        # what fails from here on must never be taken for a worker that did not start
        if isinstance(started, Worker):
            attempt.note_worker(started.process)
            started = started.wait(self._wakeups, attempt.follow, attempt.tell)
        if started is not None:
            self._finish(attempt, _outcome(started))

    def _begin(self, attempt: Tended) -> Worker | Ended | None:
        """Do all that comes before the worker, and start it."""
        order = attempt.order
        attempt.check_stop()
        if attempt.care.claims > _CLAIMS:
            attempt.note(Phase.TAKEN, message="its runner died before the worker started")
            return None
        for directory in order.directories:
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o700)
        for file, text in order.files.items():
            attempts.replace(file, text.encode())
        if order.plan.inputs:
            attempt.note(Phase.STAGING_IN)
            with attempt.interruptible():
                places = {name: Path(place) for name, place in order.input_places.items()}
                plan = attempts.read_plan(attempt.path, order)
                stage_in(plan, order.inputs, places, _transport(attempt, plan))
        cage = None if order.kill else self._enter_cage()
        held = cage.limit(order.resources, order.pids) if cage else frozenset[str]()
        attempt.mark(_enforced(order, held))
        attempt.check_stop()  # after the mark: whoever asked before it sees that we never start
        return start(attempt.path, order, cage if held else None)

    def _continue(self, attempt: Tended) -> None:
        """Go on where another runner was lost."""
        outcome = attempt.seen.outcome
        if outcome is None:
            worker = adopt(attempt.path, attempt.order, attempt.care, attempt.seen.started_at)
            if worker is not None:
                outcome = _outcome(worker.wait(self._wakeups, attempt.follow, attempt.tell))
            else:
                code = attempts.read_exit(attempt.path)
                outcome = _outcome(Ended(code))
        if attempt.care.claims > _LATE_CLAIMS:
            message = "its runners died while they staged out"
            attempt.note(Phase.ENDED, message=message, outcome=outcome)
            return
        self._finish(attempt, outcome)

    def _finish(self, attempt: Tended, outcome: Outcome) -> None:
        if os.statvfs(attempt.path).f_bavail == 0:
            # nobody could write down how it ended; the scratch is what filled the disk, if we did
            with contextlib.suppress(OSError):
                removal.delete(f"{attempt.path}/tmp")  # noqa: S108 - not the system's
        attempt.note_outcome(outcome)
        problem = self._stage_out(attempt, outcome)
        attempt.note(Phase.ENDED, message=problem)

    def _stage_out(self, attempt: Tended, outcome: Outcome) -> str:
        """Offer the results until the storage took them; return what is wrong after all."""
        order = attempt.order
        places = {name: Path(place) for name, place in order.output_places.items()}
        # what a machine that stopped had not yet put on its disk looks like a shorter file
        outputs = order.outputs if attempt.care.boot == processes.boot_id() else ()
        until = time.monotonic() + order.outage.total_seconds()
        delay = 0.05
        transport: Transport | None = None  # the same for all tries: it knows what has arrived
        while True:
            try:
                plan = attempts.read_plan(attempt.path, order)
                transport = transport or _transport(attempt, plan)
                manifest = stage_out(
                    plan,
                    outputs,
                    places,
                    log=Path(attempt.path, "log"),
                    log_cap=order.log_cap,
                    outcome=outcome,
                    started_at=attempt.seen.started_at,
                    ended_at=attempt.seen.ended_at,
                    transport=transport,
                )
                lacking = [p for p in manifest.problems if p.code == "output-unavailable"]
                problem = "; ".join(f"{p.name}: {p.message}" for p in lacking)
            except (StagingFailed, PluginError) as exc:
                problem = str(exc)
            if not problem or time.monotonic() > until or attempt.is_discarded():
                return problem
            attempt.tell()
            self._wakeups.wait(delay)
            delay = min(delay * 2, _RETRY_MAX)

    def _enter_cage(self) -> cgroups.Cage | None:
        if self._group is not None:
            self._cage, self._group = cgroups.enter(f"{self._group}/{os.getpid()}"), None
        return self._cage


def _transport(attempt: Tended, plan: TransferPlan) -> Transport:
    order = attempt.order
    return transport_for(
        plan, outage=order.outage, newer=lambda: attempts.read_plan(attempt.path, order)
    )


def _outcome(ended: Ended) -> Outcome:
    if ended.stopped is not None:
        return Outcome(
            kind=OutcomeKind.STOPPED,
            exit_code=ended.code,
            by=ended.stopped,
            why=ended.stopped,
            reason=ended.reason,
        )
    if ended.code is None:
        return Outcome(kind=OutcomeKind.LOST)
    return Outcome(kind=OutcomeKind.EXITED, exit_code=ended.code, reason=ended.reason)


def _enforced(order: Order, held: frozenset[str]) -> dict[str, str]:
    """Say for each limit how it is held."""
    memory = "prlimit" if processes.LINUX else "not enforced"
    alone = {"memory": memory, "cpu": "not enforced", "pids": "not enforced"}
    engine = dict.fromkeys(alone, "container") if order.kill else alone
    limits = {name: "cgroup" if name in held else how for name, how in engine.items()}
    return {**order.enforced, **limits, "walltime": "timer", "disk": "not enforced"}
