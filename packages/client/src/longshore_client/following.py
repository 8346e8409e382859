"""Attend a job to its end: its log, its states, and what a person or a signal asks meanwhile."""

import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, NoReturn

from longshore_client.output import LogWriter, is_terminal, say
from longshore_client.session import FINAL_STATES, Json, Session

LOG, EVENT, END, ERROR = "log", "event", "end", "error"
#: pieces of log and events that may wait to be shown
_BACKLOG = 64


class Interrupted(BaseException):
    """A signal other than Ctrl-C asks this process to end. Not an error, so no ``Exception``."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Left(Exception):
    """The command leaves before the job has ended; ``exit_code`` is the command's."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Wish(Enum):
    """What a person wants after Ctrl-C."""

    DETACH = "d"
    CANCEL = "c"
    GO_ON = "g"


@contextmanager
def signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into ``Interrupted`` while this is open."""

    def interrupt(signum: int, _: Any) -> NoReturn:
        raise Interrupted(signum)

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Attendance:
    """Shows a job's log on ``log`` and its states on standard error until both have ended."""

    def __init__(self, session: Session, job_id: str, log: LogWriter) -> None:
        self._session = session
        self._job_id = job_id
        self._log = log
        self._news: queue.Queue[tuple[str, Any]] = queue.Queue(_BACKLOG)
        self._left = threading.Event()
        self._open = 2

    def attend(self) -> None:
        """Return when the job is final and its log complete.

        Ctrl-C asks whether to detach or to cancel where a person is there to answer; a second one
        cancels at once, a third one leaves. Without a person, Ctrl-C, SIGTERM and SIGHUP detach:
        the job goes on.

        Raises:
            Left: the command is to end before the job.
        """
        session, job_id = self._session, self._job_id
        self._read(LOG, lambda: session.logs(job_id, follow=True))
        self._read(EVENT, lambda: session.events(job_id, follow=True))
        canceling = False
        try:
            while not self._is_shown():
                self._log.break_line()
                wish = Wish.DETACH if canceling else _ask()
                if wish is Wish.DETACH:
                    raise Left(128 + signal.SIGINT)
                if wish is Wish.CANCEL:
                    canceling = True
                    session.cancel(job_id)
                    say("canceling; Ctrl-C again leaves without waiting for the end")
                else:
                    say("going on")
            self._log.finish()
        except Interrupted as exc:
            raise Left(128 + exc.signum) from exc
        except KeyboardInterrupt as exc:  # between showing and asking
            raise Left(128 + signal.SIGINT) from exc
        finally:
            self._left.set()

    def _read(self, kind: str, source: Callable[[], Iterator[Any]]) -> None:
        def run() -> None:
            try:
                for item in source():
                    self._put(kind, item)
                    if self._left.is_set():
                        return
            except Exception as exc:  # noqa: BLE001 - it is raised again where it can be shown
                self._put(ERROR, (kind, exc))
            self._put(END, kind)

        threading.Thread(target=run, name=f"longshore-{kind}", daemon=True).start()

    def _put(self, kind: str, item: Any) -> None:
        while not self._left.is_set():
            try:
                return self._news.put((kind, item), timeout=0.2)
            except queue.Full:
                continue
        return None

    def _is_shown(self) -> bool:
        """Show everything to the end, or to a Ctrl-C."""
        try:
            self._show()
        except KeyboardInterrupt:
            return False
        return True

    def _show(self) -> None:
        while self._open:
            kind, item = self._news.get()
            if kind == LOG:
                self._log.write(item)
            elif kind == EVENT:
                self._tell(item)
            elif kind == END:
                self._open -= 1
            elif item[0] == LOG:  # a log that may not be read is no reason to miss the end
                say(f"no log: {item[1]}")
            else:
                raise item[1]

    def _tell(self, event: Json) -> None:
        state = event.get("state")
        if isinstance(state, str) and state not in FINAL_STATES and not event.get("inferred"):
            self._log.break_line()
            attempt = event.get("attempt", 1)
            say(f"{state} (attempt {attempt})" if attempt > 1 else state)


def _ask() -> Wish:
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        return Wish.DETACH
    try:
        while True:
            sys.stderr.write("\ninterrupted: [d]etach, [c]ancel the job, or [g]o on? ")
            sys.stderr.flush()
            answer = sys.stdin.readline()
            if not answer:
                return Wish.DETACH
            for wish in Wish:
                if answer.strip().lower()[:1] == wish.value:
                    return wish
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return Wish.CANCEL
