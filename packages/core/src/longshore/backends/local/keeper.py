"""The keeper: the parent of the runners, in a process of its own that outlives the service.

It forks a runner when all others have work, and another one in the place of one that died. It is
told of every orphan below it, so when a runner is killed the keeper sees its worker's end, and
writes it down for the runner that continues.
"""

import contextlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path

from longshore.backends.local import attempts, cgroups, processes
from longshore.backends.local.runner import Runner
from longshore.backends.local.wakeups import Wakeups
from longshore.collector import collect_rarely

_FAILED = 70


class Keeper:
    """See the module. ``orders`` is a pipe from the service, ``alive`` one that only we hold."""

    def __init__(self, state: str, *, orders: int, alive: int, slots: int, group: str) -> None:
        self._state = state
        self._pid = os.getpid()
        self._orders = orders
        self._alive = alive
        self._slots = slots
        self._group = group
        self._wakeups = Wakeups()
        self._busy, self._grow = os.pipe()
        self._wakeups.watch(self._busy)
        self._runners: set[int] = set()
        self._unclaimed: dict[int, int] = {}

    def run(self) -> None:
        """Serve until the service is gone and no runner has work."""
        self._fork()
        while True:
            if self._busy in self._wakeups.wait(None):
                os.read(self._busy, 1)
                if len(self._runners) < self._slots:
                    self._fork()
            if not self._reap():
                break
        if self._group:
            cgroups.sweep()

    def _fork(self, name: str | None = None) -> None:
        """Fork a runner; with ``name`` it first continues that attempt."""
        pid = os.fork()
        if pid:
            self._runners.add(pid)
            return
        status = _FAILED
        try:
            self._wakeups.close()
            os.close(self._alive)
            is_watched = processes.hear_parents_end(self._pid)
            processes.become_reaper()
            runner = Runner(self._state, group=self._group or None)
            if name is not None:
                runner.care(name)
            if is_watched:
                runner.serve(self._orders, self._pid, lambda: os.write(self._grow, b"."))
            status = 0
        except SystemExit:
            status = 0
        except BaseException:  # noqa: BLE001 - a fork must never return into the keeper's loop
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> bool:
        """Take in who ended; say whether any child is left."""
        died = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                left = False
                break
            if pid == 0:
                left = True
                break
            if pid in self._runners:
                self._runners.discard(pid)
                if status:
                    died.append(pid)
            else:
                self._unclaimed[pid] = status
        self._write_exits()  # before anybody looks
        for pid in died:
            self._replace(pid)
        return left or bool(died)

    def _replace(self, runner: int) -> None:
        """Have the attempt of a dead runner continued."""
        root = f"{self._state}/attempts"
        continued = False
        for name in os.listdir(root):
            record = attempts.read_record(f"{root}/{name}")
            if record is None or record.is_over or record.care.runner.pid != runner:
                continue
            self._fork(name)
            continued = True
        if not continued:
            self._fork()
        with contextlib.suppress(OSError):
            os.write(self._alive, b".")  # orders that it had taken may be lost

    def _write_exits(self) -> None:
        """Write down how workers ended that lost their runner.

        Whoever has care of them now may be of another keeper: they are no children of its own.
        """
        for pid, status in self._unclaimed.items():
            if path := self._attempt_of(pid):
                code = os.waitstatus_to_exitcode(status)
                with contextlib.suppress(OSError):
                    attempts.write_exit(path, code if code >= 0 else 128 - code)
        self._unclaimed.clear()

    def _attempt_of(self, worker: int) -> str | None:
        root = f"{self._state}/attempts"
        for name in os.listdir(root):
            record = attempts.read_record(f"{root}/{name}")
            if record is None or record.is_over or record.care.worker is None:
                continue
            if record.care.worker.pid == worker:
                return f"{root}/{name}"
        return None


def main(arguments: str) -> None:
    """Run a keeper; ``arguments`` is the JSON object that ``keeping`` wrote."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.become_reaper()
    given = json.loads(arguments)
    for fd in (given["orders"], given["alive"]):
        os.set_inheritable(fd, False)  # they are no business of a worker
    collect_rarely()  # runners are forks of this process
    os.chdir("/")
    Path(given["state"], "attempts").mkdir(exist_ok=True)
    Keeper(**given).run()
