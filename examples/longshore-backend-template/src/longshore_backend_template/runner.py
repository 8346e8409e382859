"""The program beside a worker: ``python -m longshore_backend_template.runner DIRECTORY``.

It carries one attempt out, from its inputs to its manifest, and needs nobody for it. Everything
that must be known after its death is written down before it goes on.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from longshore.models import JobSpec, Observation, Outcome, OutcomeKind, Phase
from longshore.placing import place, variable
from longshore.staging import FileTransport, StagingFailed, stage_in, stage_out
from longshore.transfer import TransferPlan
from longshore_backend_template import attempts

_TICK = 0.02
_PATH = "/usr/local/bin:/usr/bin:/bin"
_ENFORCED = {"walltime": "timer", "memory": "not enforced", "cpu": "not enforced"}
#: why a command cannot be executed, and what a shell would have answered
_NOT_EXECUTED: dict[type[OSError], tuple[int, str]] = {
    FileNotFoundError: (127, "command-not-found"),
    NotADirectoryError: (127, "command-not-found"),
    PermissionError: (126, "command-not-executable"),
}


class Runner:
    """Takes care of one attempt, whose lock it has."""

    def __init__(self, root: Path, order: attempts.Order, seen: Observation) -> None:
        self._root = root
        self._spec = order.spec
        self._seen = seen
        self._places = {
            **{f"inputs.{one.name}": root / "in" / one.name for one in order.spec.inputs},
            **{f"outputs.{one.name}": root / "out" / one.name for one in order.spec.outputs},
            "parameters_file": root / "parameters.json",
        }

    def carry_out(self) -> None:
        """Do what is left to do."""
        if not (self._root / "marked").exists():
            self._begin()
        elif self._seen.outcome is None:  # another runner died: nobody saw the worker's end
            attempts.end_worker(self._root)
            self._finish(Outcome(kind=OutcomeKind.LOST))
        else:
            self._finish(self._seen.outcome)

    def _begin(self) -> None:
        try:
            self._prepare()
        except StagingFailed as exc:
            self._note(phase=Phase.ENDED, reason=exc.code, message=str(exc))
            return
        except OSError as exc:
            self._note(phase=Phase.ENDED, reason="internal", message=f"cannot prepare: {exc}")
            return
        # first the mark, then the question: whoever asked before the mark sees that we never start
        attempts.write(self._root / "marked", value=True)
        if attempts.grace_of(self._root) is not None:
            self._note(phase=Phase.ENDED, reason="canceled", message="stopped before it started")
            return
        self._finish(self._work())

    def _prepare(self) -> None:
        for name in ("in", "out", "tmp"):
            (self._root / name).mkdir(exist_ok=True)
        (self._root / "parameters.json").write_text(self._spec.parameters_json, "utf-8")
        self._note(phase=Phase.STAGING_IN)
        stage_in(self._plan(), self._spec.inputs, self._named("inputs"), FileTransport())

    def _work(self) -> Outcome:
        """Run the command to its end, and leave nothing of it."""
        started_at = datetime.now(UTC)
        with (self._root / "log").open("ab") as log:
            try:
                worker = subprocess.Popen(
                    self._command(),
                    env=self._environment(),
                    cwd=self._root / "tmp",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as exc:
                if type(exc) not in _NOT_EXECUTED:
                    raise
                log.write(f"{exc.filename}: {exc.strerror}\n".encode())
                self._note(started_at=started_at)
                code, why = _NOT_EXECUTED[type(exc)]
                return Outcome(kind=OutcomeKind.EXITED, exit_code=code, reason=why)
        attempts.write(self._root / "worker", attempts.this_process(worker.pid))
        self._note(phase=Phase.RUNNING, started_at=started_at, enforced=_ENFORCED)
        stopped = self._wait(worker)
        code = worker.returncode if worker.returncode >= 0 else 128 - worker.returncode
        if stopped is None:
            return Outcome(kind=OutcomeKind.EXITED, exit_code=code)
        reason = "walltime" if stopped == "walltime" else None
        return Outcome(
            kind=OutcomeKind.STOPPED, exit_code=code, by=stopped, why=stopped, reason=reason
        )

    def _wait(self, worker: subprocess.Popen[bytes]) -> str | None:
        """Wait for the worker's end; return who stopped it."""
        stopped, kill_at = None, float("inf")
        ends_at = time.monotonic() + self._spec.resources.walltime.total_seconds()
        while worker.poll() is None:
            now = time.monotonic()
            if (grace := attempts.grace_of(self._root)) is not None:
                kill_at = min(kill_at, now + grace)
                stopped = stopped or self._terminate(worker, "stop")
            elif stopped is None and now >= ends_at:
                kill_at = now + self._spec.grace.total_seconds()
                stopped = self._terminate(worker, "walltime")
            if now >= kill_at:
                kill(worker.pid, signal.SIGKILL)
            self._cut_log()
            time.sleep(_TICK)
        kill(worker.pid, signal.SIGKILL)  # what it left behind
        return stopped

    def _terminate(self, worker: subprocess.Popen[bytes], who: str) -> str:
        kill(worker.pid, signal.SIGTERM)
        return who

    def _cut_log(self) -> None:
        log = self._root / "log"
        if log.stat().st_size > self._spec.log_cap:
            os.truncate(log, self._spec.log_cap)

    def _finish(self, outcome: Outcome) -> None:
        if self._seen.outcome is None:
            self._note(phase=Phase.STAGING_OUT, outcome=outcome, ended_at=datetime.now(UTC))
        message = ""
        try:
            stage_out(
                self._plan(),
                self._spec.outputs,
                self._named("outputs"),
                log=self._root / "log",
                log_cap=self._spec.log_cap,
                outcome=self._seen.outcome,
                started_at=self._seen.started_at,
                ended_at=self._seen.ended_at,
                transport=FileTransport(),
            )
        except StagingFailed as exc:  # a backend for work would try again for a while
            message = str(exc)
        self._note(phase=Phase.ENDED, message=message)

    def _note(self, **changes: Any) -> None:
        self._seen = attrs.evolve(self._seen, **changes)
        attempts.write(self._root / "seen.json", self._seen)

    def _plan(self) -> TransferPlan:
        plan = attempts.read(TransferPlan, self._root / "plan.json")
        if plan is None:
            raise FileNotFoundError(f"{self._root} has no plan")
        return plan

    def _named(self, kind: str) -> dict[str, Path]:
        split = [(*key.partition("."), path) for key, path in self._places.items()]
        return {name: path for found, _, name, path in split if found == kind}

    def _command(self) -> tuple[str, ...]:
        seen = {name: str(path) for name, path in self._places.items()}
        argv = place(self._spec.command, {**seen, "python": sys.executable})
        return tuple(on_host(element, self._spec) for element in argv)

    def _environment(self) -> dict[str, str]:
        """Return all that the worker knows: nothing of the service's environment."""
        scratch = str(self._root / "tmp")
        return {
            "PATH": _PATH,
            "LANG": "C.UTF-8",
            "HOME": scratch,
            "TMPDIR": scratch,
            **self._spec.environment,
            **{variable("LS_INPUT", n): str(p) for n, p in self._named("inputs").items()},
            **{variable("LS_OUTPUT", n): str(p) for n, p in self._named("outputs").items()},
        }


def on_host(element: str, spec: JobSpec) -> str:
    """Return where an element of a command lies that names the workflow's own directory."""
    if spec.directory is not None and element.startswith("/workflow/"):
        return str(spec.directory / element.removeprefix("/workflow/"))
    return element


def kill(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group, if there is one."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def main(root: Path) -> None:
    """Carry the attempt in ``root`` out, unless somebody does or it is over."""
    with attempts.claim(root) as is_mine:
        order, seen = attempts.order_of(root), attempts.seen_of(root)
        if is_mine and order is not None and seen is not None and seen.phase not in attempts.OVER:
            Runner(root, order, seen).carry_out()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
