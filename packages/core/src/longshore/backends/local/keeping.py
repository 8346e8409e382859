"""The service's end of the keeper: starts it, sends it orders, starts another when it died."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from longshore.backends.local.isolation import PATH
from longshore.backends.local.runner import RECORD
from longshore.errors import BackendUnavailable

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from longshore.backends.local.keeper import main; main(sys.argv[1])"
)
_LAST_WORDS = 0.5
_POLL = 0.002
#: seconds; a keeper that cannot run at all must not be started in a circle
_PAUSE = 0.05
#: keepers that were left with work; kept so that their end is taken in when this process looks
_left: list[subprocess.Popen[bytes]] = []


class Keeping:
    """Keeps a keeper running as long as it is open."""

    def __init__(self, state: Path, *, slots: int, group: str, on_loss: Callable[[], None]) -> None:
        self._state = state
        self._slots = slots
        self._group = group
        self._on_loss = on_loss
        self._orders, self._send = os.pipe()
        os.set_blocking(self._send, False)
        self._keeper: subprocess.Popen[bytes]
        self._alive = -1

    async def open(self, tasks: TaskGroup) -> None:
        """Start the keeper, and watch over it in ``tasks``.

        Raises:
            BackendUnavailable: it cannot be started.
        """
        self._start()
        tasks.start_soon(self._watch)

    async def order(self, name: str) -> None:
        """Have a runner take care of an attempt, unless one does already."""
        record = name.encode().ljust(RECORD, b"\0")
        while True:
            try:
                os.write(self._send, record)
            except BlockingIOError:
                await anyio.wait_writable(self._send)
            else:
                return

    async def close(self) -> None:
        """Let the keeper go: it ends when it has nothing to do any more."""
        os.close(self._send)
        os.close(self._orders)
        with anyio.move_on_after(_LAST_WORDS, shield=True):
            while self._keeper.poll() is None:  # noqa: ASYNC110 - a process sets no event
                await anyio.sleep(_POLL)
        os.close(self._alive)
        _left[:] = [keeper for keeper in (*_left, self._keeper) if keeper.poll() is None]

    def _start(self) -> None:
        self._alive, held = os.pipe()
        arguments = {
            "state": str(self._state),
            "orders": self._orders,
            "alive": held,
            "slots": self._slots,
            "group": self._group,
        }
        try:
            with open(self._state / "keeper.log", "ab") as errors:
                self._keeper = subprocess.Popen(
                    [
                        sys.executable,
                        "-I",
                        "-c",
                        _PROGRAM,
                        json.dumps(arguments),
                        json.dumps(sys.path),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    env={"PATH": PATH, "LANG": "C.UTF-8"},
                    pass_fds=(self._orders, held),
                    start_new_session=True,
                )
        except OSError as exc:
            raise BackendUnavailable(f"cannot start the keeper: {exc}") from exc
        finally:
            os.close(held)

    async def _watch(self) -> None:
        while True:
            await anyio.wait_readable(self._alive)
            if not os.read(self._alive, 64):  # nobody holds the other end: the keeper is gone
                await anyio.sleep(_PAUSE)
                self._keeper.wait()
                os.close(self._alive)
                self._start()
            self._on_loss()  # a runner or all of them: orders may be lost
