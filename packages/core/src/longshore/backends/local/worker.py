"""The worker's process: started or adopted, watched, stopped, and cleaned up after."""

import contextlib
import errno
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import attrs

from longshore.backends.local import attempts, processes, progress
from longshore.backends.local.attempts import Care, Order
from longshore.backends.local.cgroups import Cage
from longshore.backends.local.processes import Process
from longshore.backends.local.wakeups import Wakeups
from longshore.models.job import Progress

#: descriptor on which bubblewrap says how the worker ended; it is never the worker's
STATUS_FD = 3
#: seconds between looks at a worker's log and deadlines
_TICK = 0.5
#: what ends within it is reported by its end alone, and has no time to take more than its share
_MOMENT = 0.1
_TERM_AGAIN = 0.05
_CLEAN_LIMIT = 10.0
_EXIT_FILE_LIMIT = 2.0
_CONTROL_LIMIT = 30
_LOOK = 64 * 1024
#: what the keeper, Python, or whoever started the service (a shell with `&`) may ignore: no
#: business of a worker
_IGNORED = (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ)
#: why a command could not be executed, and what a shell would have answered
_EXEC_ERRORS = {
    errno.ENOENT: (127, "command-not-found"),
    errno.ENOTDIR: (127, "command-not-found"),
    errno.EACCES: (126, "command-not-executable"),
    errno.ENOEXEC: (126, "command-not-executable"),
    errno.EISDIR: (126, "command-not-executable"),
    errno.E2BIG: (126, "command-not-executable"),
}
_BWRAP_EXEC = re.compile(
    rb"bwrap: execvp [^\n]*: (No such file or directory|Permission denied|Exec format error)\n?\Z"
)


@attrs.frozen
class Ended:
    """How a worker ended.

    ``code`` follows the shell, None when nobody saw it; ``stopped`` is who stopped it (``stop``,
    ``walltime``); ``reason`` is better knowledge, as a reason code.
    """

    code: int | None
    stopped: str | None = None
    reason: str | None = None


def start(path: str, order: Order, cage: Cage | None) -> "Worker | Ended":
    """Start the worker of the attempt in ``path``; a command that cannot be executed has ended.

    Raises:
        OSError: the system has no room for another process.
    """
    log = open_log(path)
    report = os.memfd_create("report", os.MFD_CLOEXEC) if order.inner else -1
    oom_kills = cage.oom_kills() if cage else 0
    os.chdir(order.cwd)
    os.environ["PATH"] = order.environment["PATH"]  # where the system looks a command up
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
    ]
    if report >= 0:
        actions.append((os.POSIX_SPAWN_DUP2, report, STATUS_FD))
    try:
        pid = os.posix_spawnp(
            order.argv[0],
            order.argv,
            order.environment,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_IGNORED,
        )
    except OSError as exc:
        if exc.errno not in _EXEC_ERRORS:
            raise
        code, reason = _EXEC_ERRORS[exc.errno]
        os.write(log, f"{order.argv[0]}: {os.strerror(exc.errno)}\n".encode())
        os.close(log)
        return Ended(code, reason=reason)
    finally:
        os.chdir("/")  # the scratch directory must not be kept busy
    if not order.kill and (cage is None or "memory" not in cage.paths):
        limit_memory(pid, order.resources.memory)
    worker = Worker(path, order, processes.this_process(pid), log=log, report=report)
    worker.cage, worker.oom_kills = cage, oom_kills
    return worker


def adopt(path: str, order: Order, care: Care, started_at: datetime | None) -> "Worker | None":
    """Return the worker that another runner left, if it still runs."""
    if care.boot != processes.boot_id():
        return None
    process = care.worker
    if process is None:  # its runner was lost in the moment between the start and the record
        found = processes.marked(attempts.mark(path))
        process = processes.this_process(found[0]) if found else None
    if process is None:
        return None
    worker = Worker(path, order, process, log=open_log(path), report=-1, is_child=False)
    if started_at is not None:
        age = datetime.now(UTC) - started_at
        worker.deadline -= age.total_seconds()
    return worker


def open_log(path: str) -> int:
    """Return the attempt's log, opened so that every write goes to its end."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(f"{path}/log", flags, 0o600)


def limit_memory(pid: int, size: int) -> None:
    """Bound what a process may write to; reserved address space costs nothing and counts not."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_DATA, (size, size))


class Worker:
    """A worker that runs, or ran until a moment ago."""

    def __init__(
        self,
        path: str,
        order: Order,
        process: Process,
        *,
        log: int,
        report: int,
        is_child: bool = True,
    ) -> None:
        self.process = process
        self.cage: Cage | None = None
        self.oom_kills = 0
        self.deadline = time.monotonic() + order.resources.walltime.total_seconds()
        self._path = path
        self._order = order
        self._log = log
        self._report = report
        self._is_child = is_child
        self._stopped: str | None = None
        self._kill_at = float("inf")
        self._term_again = False
        self._looked = 0

    def wait(
        self, wakeups: Wakeups, follow: Callable[[Progress], None], tell: Callable[[], None]
    ) -> Ended:
        """Wait for the worker's end, stopping it where it must; nothing of it runs afterwards.

        ``tell`` is called when it is a job that takes its time, ``follow`` with its progress.
        """
        watched = -1 if self._is_child else _open_pidfd(self.process.pid)
        if watched >= 0:
            wakeups.watch(watched)
        try:
            told = False
            moment = time.monotonic() + _MOMENT
            while not self._has_ended():
                # by the clock: the first wait may end at once, by the signal of an earlier child
                if not told and time.monotonic() >= moment:
                    told = True
                    tell()
                    if self.cage is not None:
                        self.cage.slow_down(self.process.pid, processes.family)
                self._stop_where_needed()
                wakeups.wait(self._seconds() if told else _MOMENT)
                self._look_at_log(follow)
        finally:
            if watched >= 0:
                wakeups.forget(watched)
                os.close(watched)
        code = self._code
        if code is None:
            code = self._reported_exit(wakeups)
        self._clean_up(wakeups)
        self._look_at_log(follow, last=True)
        os.close(self._log)
        return self._explain(code)

    _code: int | None = None
    _look_at = 0.0

    def _has_ended(self) -> bool:
        if not self._is_child:
            return not processes.is_alive(self.process)
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)  # its orphans come to us as well
            if pid == self.process.pid:
                code = os.waitstatus_to_exitcode(status)
                self._code = code if code >= 0 else 128 - code
                return True
            if pid == 0:
                return False

    def _seconds(self) -> float:
        now = time.monotonic()
        wake = min(now + _TICK, self.deadline if not self._stopped else self._kill_at)
        return (
            max(_TERM_AGAIN if self._stopped else 0.0, wake - now)
            if not self._term_again
            else _TERM_AGAIN
        )

    def _stop_where_needed(self) -> None:
        now = time.monotonic()
        if request := attempts.read_stop(self._path):
            self._kill_at = min(self._kill_at, now + request.grace)
            self._stopped = self._stopped or self._terminate("stop")
        elif not self._stopped and now >= self.deadline:
            self._kill_at = now + self._order.grace.total_seconds()
            self._stopped = self._terminate("walltime")
        if self._term_again:
            self._terminate("again")
        if now >= self._kill_at:
            _control(self._order.kill)
            processes.kill([*processes.family(self.process.pid), self.process.pid])

    def _terminate(self, who: str) -> str:
        """Send SIGTERM to the worker and its descendants, but to no process of the sandbox."""
        if self._order.stop:
            _control(self._order.stop)
            return who
        pids = [self.process.pid, *processes.family(self.process.pid)][self._order.inner :]
        self._term_again = not pids  # the sandbox is still being made
        processes.kill(pids, signal.SIGTERM)
        return who

    def _reported_exit(self, wakeups: Wakeups) -> int | None:
        """Return the exit code that the worker's parent wrote down."""
        until = time.monotonic() + _EXIT_FILE_LIMIT
        while (code := attempts.read_exit(self._path)) is None and time.monotonic() < until:
            wakeups.wait(0.02)
        return code

    def _clean_up(self, wakeups: Wakeups) -> None:
        """End what the worker left behind."""
        until = time.monotonic() + _CLEAN_LIMIT
        if self._is_child:
            while _has_children() and time.monotonic() < until:
                processes.kill(processes.family(os.getpid()))
                wakeups.wait(0.01)
        else:
            _control(self._order.kill)
            while (
                left := processes.marked(attempts.mark(self._path))
            ) and time.monotonic() < until:
                processes.kill(left)
                wakeups.wait(0.02)
        if not processes.LINUX:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _look_at_log(self, follow: Callable[[Progress], None], *, last: bool = False) -> None:
        """Cut the log at its cap, and report what it says about progress."""
        now = time.monotonic()
        if now < self._look_at and not last:
            return
        self._look_at = now + _TICK
        size = os.fstat(self._log).st_size
        cap = self._order.log_cap
        if size > cap:
            os.ftruncate(self._log, cap)
            size = cap
        if size > self._looked:
            begin = max(self._looked, size - _LOOK)
            text = os.pread(self._log, size - begin, begin)
            self._looked = begin + text.rfind(b"\n") + 1
            if found := progress.latest(text):
                follow(found)

    def _explain(self, code: int | None) -> Ended:
        if self._stopped == "walltime":
            return Ended(code, "walltime", "walltime")
        if self._stopped or not code:
            return Ended(code, self._stopped)
        if self.cage is not None and self.cage.oom_kills() > self.oom_kills:
            return Ended(code, reason="oom")
        if self._report >= 0 and b'"exit-code"' not in os.pread(self._report, 4096, 0):
            return self._explain_sandbox(code)
        if os.statvfs(self._path).f_bavail == 0:
            return Ended(code, reason="disk")
        return Ended(code)

    def _explain_sandbox(self, code: int) -> Ended:
        """Say why bubblewrap itself ended: by its own last words, for the worker never ran."""
        with open(f"{self._path}/log", "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 1024))
            match = _BWRAP_EXEC.search(log.read())
        if match is None:
            return Ended(code, reason="isolation-unavailable")
        missing = match[1].startswith(b"No such")
        number = errno.ENOENT if missing else errno.EACCES
        return Ended(_EXEC_ERRORS[number][0], reason=_EXEC_ERRORS[number][1])


def _open_pidfd(pid: int) -> int:
    with contextlib.suppress(OSError, AttributeError):
        return os.pidfd_open(pid)
    return -1


def _has_children() -> bool:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _control(argv: tuple[str, ...]) -> None:
    if argv:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(argv, capture_output=True, timeout=_CONTROL_LIMIT, check=False)
