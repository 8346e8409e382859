"""Is every part that a job needs there? Each is asked for real, seldom enough to cost nothing."""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import anyio
import attrs
from anyio.abc import TaskGroup

from longshore.errors import LongshoreError
from longshore.host import Host
from longshore.storages.abc import StorageBackend
from longshore_api.errors import NotReady

#: seconds that a part has for its answer
PATIENCE = 2.0
#: seconds for which an answer is good: probes that come more often are no load
FRESH = 1.0
OK, FAILED, SILENT = "ok", "failed", "no answer"
_OBJECT = "readiness/probe"
_CONTENT = b"longshore was here\n"
_log = logging.getLogger("longshore.readiness")

Probe = Callable[[], Awaitable[object]]


@attrs.frozen
class Findings:
    """What was found of each part: ``ok``, ``failed`` or ``no answer``."""

    parts: Mapping[str, str]
    at: float

    @property
    def is_ready(self) -> bool:
        """Whether all are well."""
        return set(self.parts.values()) <= {OK}


class _Part:
    """One part, how it was found last, and whether it still owes an answer."""

    def __init__(self, name: str, probe: Probe) -> None:
        self.name = name
        self.found = OK
        self.reason = ""
        self._probe = probe
        self._answered = anyio.Event()
        self._answered.set()

    def begin(self, tasks: TaskGroup) -> None:
        """Ask, unless it is still asked: a part that hangs holds one probe, not a thousand."""
        self.found, self.reason = SILENT, ""
        if self._answered.is_set():
            self._answered = anyio.Event()
            tasks.start_soon(self._ask)

    async def wait(self) -> None:
        """Wait for its answer."""
        await self._answered.wait()

    async def _ask(self) -> None:
        try:
            await self._probe()
            self.found = OK
        except LongshoreError as exc:
            self.found, self.reason = FAILED, str(exc)
        except Exception as exc:  # noqa: BLE001 - a plug-in of somebody's; it is not ready
            self.found, self.reason = FAILED, f"{type(exc).__name__}: {exc}"
        finally:
            self._answered.set()


class Readiness:
    """The parts of a host: its store, its storage, and each workflow backend.

    A part's reason goes to the log, when it changes: a caller learns names only, as reasons hold
    paths and addresses of the provider.
    """

    def __init__(self, host: Host, now: Callable[[], float] = time.monotonic) -> None:
        self._tasks = host.tasks  # not the caller's: what hangs in a thread cannot be cancelled
        self._now = now
        self._parts = [
            _Part("store", host.store.check),
            _Part("storage", lambda: _reach(host.storage, f"{host.store.instance}/{_OBJECT}")),
            *(_Part(f"backend:{name}", _prober(host, name)) for name in host.settings.backends),
        ]
        self._asking = anyio.Lock()
        self._found = Findings({}, float("-inf"))

    async def look(self) -> Findings:
        """Return what is found now, or was less than ``FRESH`` seconds ago."""
        async with self._asking:  # of many at once the first asks, and the others get its answer
            if self._now() - self._found.at >= FRESH:
                before = self._found.parts
                self._found = await self._ask()
                self._tell(before)
        return self._found

    async def require(self) -> Findings:
        """Return what is found.

        Raises:
            NotReady: a part does not answer.
        """
        found = await self.look()
        if not found.is_ready:
            raise NotReady(found.parts)
        return found

    async def _ask(self) -> Findings:
        for part in self._parts:
            part.begin(self._tasks)
        with anyio.move_on_after(PATIENCE):
            for part in self._parts:
                await part.wait()
        return Findings({part.name: part.found for part in self._parts}, self._now())

    def _tell(self, before: Mapping[str, str]) -> None:
        for part in self._parts:
            if part.found != before.get(part.name, OK):
                details = {"part": part.name, "found": part.found, "reason": part.reason}
                level = logging.INFO if part.found == OK else logging.WARNING
                _log.log(level, "a part of the service changed", extra=details)


async def _reach(storage: StorageBackend, key: str) -> None:
    """Write an object of ours, and look at it: a disk that is full can still be read."""
    await storage.write(key, _content())
    await storage.stat(key)


async def _content() -> AsyncIterator[bytes]:
    yield _CONTENT


def _prober(host: Host, name: str) -> Probe:
    return lambda: host.probe(name)
