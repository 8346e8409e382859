"""The service inside a program: everything in one state directory, no server.

Any number of programs may work on one directory. Each submits, reads and cancels by itself; one of
them at a time also supervises. It leaves only when no job is unfinished, or after a detached
process took the role over, so a job goes on when the program that submitted it ends.
"""

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from longshore.background import background
from longshore.clock import Clock
from longshore.codec import to_json
from longshore.errors import RetryError
from longshore.host import Host, open_host
from longshore.lifecycle import ACTIVE
from longshore.models import Workflow
from longshore.role import Role
from longshore.settings import Settings, load_table, parse_settings
from longshore.stores.abc import JobQuery

_TRY_AGAIN = 1.0
_HANDOVER = 15.0
_log = logging.getLogger("longshore.embedded")


def default_home(environment: Mapping[str, str] | None = None) -> Path:
    """Return ``$LONGSHORE_STATE``, else ``$XDG_STATE_HOME/longshore``, else its usual place."""
    environment = os.environ if environment is None else environment
    if environment.get("LONGSHORE_STATE"):
        return Path(environment["LONGSHORE_STATE"]).expanduser().absolute()
    base = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser().absolute() / "longshore"


class Embedded:
    """A host, and a share in supervising it. Made by ``open_embedded``."""

    def __init__(
        self,
        host: Host,
        home: Path,
        table: Mapping[str, Any],
        tasks: TaskGroup,
        *,
        detach: bool = True,
    ) -> None:
        self.host = host
        self.home = home
        self._table = table
        self._may_detach = detach
        self._role = Role(home)
        self._tasks = tasks
        self._holding: anyio.CancelScope | None = None
        self._given_up = anyio.Event()
        #: set once this program has supervised
        self.held = anyio.Event()

    @property
    def is_holder(self) -> bool:
        """Whether this program supervises the jobs of its directory."""
        return self._role.is_held

    def engage(self) -> None:
        """Supervise as soon as nobody else does; until then wake whoever does."""
        if self._holding is None:
            self._holding = anyio.CancelScope()
            self._tasks.start_soon(self._hold, self._holding)
        self.wake()

    def wake(self) -> None:
        """Tell whoever supervises that there is something new."""
        if self._role.is_held:
            self.host.wake()
        else:
            self._role.wake_holder()

    async def _hold(self, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                while True:
                    if self._role.acquire():
                        self.held.set()
                        async with anyio.create_task_group() as tasks:
                            tasks.start_soon(self._listen)
                            await self.host.supervise()
                    await anyio.sleep(_TRY_AGAIN)
        finally:  # also after a defect: nobody else could supervise, and leaving would never end
            self._role.release()
            self._given_up.set()

    async def _listen(self) -> None:
        try:
            path = self._role.wake_socket()
            with anyio.CancelScope(shield=True) as opening:  # cut off, it would leave it open
                async with await anyio.create_unix_datagram_socket(local_path=path) as hints:
                    opening.shield = False
                    async for _ in hints:
                        self.host.wake()
        except OSError as exc:
            _log.info("no wake socket, polling instead: %s", exc)

    async def is_idle(self) -> bool:
        """Say whether no job needs a supervisor; a store that cannot be asked may have one."""
        query = JobQuery(states=tuple(sorted(ACTIVE)), limit=1)
        try:
            return not await self.host.store.jobs(query)
        except RetryError as exc:
            _log.warning("cannot look for unfinished jobs: %s", exc)
            return False

    async def leave(self) -> None:
        """Give the role up; where it may, a detached process goes on with unfinished jobs."""
        if self._holding is not None:
            self._holding.cancel()
            await self._given_up.wait()
        if not self._may_detach:
            return
        # asked only now: whoever submitted before found the role taken, and may have left since
        if not await self.is_idle() and self._role.acquire():  # nobody else took it
            self._role.release()
            await self._detach()

    async def _detach(self) -> None:
        """Start a process of its own that supervises until every job is final."""
        # from here, for relative paths in the settings; but nothing is imported from here (-P)
        command = [sys.executable, "-P", "-m", "longshore.holder", str(self.home)]
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

        def hand_over() -> bytes:
            # not communicate(): that would wait for the end of a process that stays
            assert process.stdin is not None  # noqa: S101 - both are pipes
            assert process.stdout is not None  # noqa: S101 - same
            with contextlib.suppress(BrokenPipeError), process.stdin as settings:
                settings.write(to_json(self._table).encode())
            with process.stdout as answer:
                return answer.read(1)

        process.returncode = 0  # nobody here waits for its end, and Popen need not warn of that
        with anyio.move_on_after(_HANDOVER):
            if await anyio.to_thread.run_sync(hand_over, abandon_on_cancel=True):
                return
        _log.error(
            "no detached supervisor answers (%s says why); the next program goes on with the jobs",
            self.home / "holder.log",
        )


@asynccontextmanager
async def open_embedded(
    home: Path | None = None,
    *,
    config: Path | None = None,
    table: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    workflows: Sequence[Workflow] = (),
    clock: Clock | None = None,
    detach: bool = True,
    public_url: str | None = None,
) -> AsyncIterator[Embedded]:
    """Open the embedded service of the directory ``home``, which is made where it is missing.

    Args:
        home: the state directory; ``default_home()`` when not given.
        config: a TOML file of settings.
        table: settings as a mapping, instead of the file and the environment.
        settings: what ``parse_settings`` made of a table, for who leaves no process behind.
        workflows: offered besides those of the settings.
        clock: the time.
        detach: whether a process is left behind for jobs that are unfinished at the end. A server
            that is started again by its operator says no.
        public_url: where a server of this program is reached, if it has one.

    Raises:
        SettingsInvalid, WorkflowInvalid: mistakes, all of them.
        StoreUnavailable: the directory cannot be used.
    """
    home = (home or default_home()).absolute()
    if settings is None:
        table = load_table(config, os.environ) if table is None else table
        settings = parse_settings(table)
    async with (
        open_host(settings, home, workflows=workflows, clock=clock, public_url=public_url) as host,
        background() as tasks,
    ):
        embedded = Embedded(host, home, table or {}, tasks, detach=detach)
        try:
            yield embedded
        finally:
            with anyio.CancelScope(shield=True):
                await embedded.leave()
