"""``longshore serve --check``: everything that could keep the service from starting, at once.

It changes nothing, and it may be asked while the service runs.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import anyio
import attrs

from longshore.backends.abc import SupportsCheck, SupportsProbe
from longshore.blobs import BlobUrls, Secret
from longshore.clock import SystemClock
from longshore.definitions import load_directory
from longshore.errors import Invalid, LongshoreError, Problem
from longshore.hookspecs import PluginContext
from longshore.models import Workflow
from longshore.quantities import format_size
from longshore.registry import Plugins, load_plugins
from longshore.settings import PluginSettings, Settings, build, parse_settings
from longshore.suggestions import did_you_mean
from longshore.workers import shipped
from longshore_api.cors import check_origins
from longshore_api.origins import Origins
from longshore_api.redaction import redact_text
from longshore_api.urls import PublicUrl

OK, FAILED, NOTE = "ok", "failed", "note"
_MISTAKE = 2
#: less is too little to begin with
_LEAST_SPACE = 64 * 1024**2
_PATIENCE = 10.0
_ASK = b"GET /livez HTTP/1.1\r\nHost: check\r\nConnection: close\r\n\r\n"
_CONTENT = b"longshore serve --check\n"


@attrs.frozen
class Finding:
    """What came of one check: ``ok``, ``failed``, or a ``note`` that is no mistake."""

    outcome: str
    what: str
    said: str


def check(table: Mapping[str, Any], home_of: Callable[[Settings], Path], origins: Origins) -> int:
    """Print a line for each thing that was checked; return 0, or 2 where one has failed."""
    findings = anyio.run(examine, table, home_of, origins)
    width = max(len(one.what) for one in findings)
    for one in findings:
        first, *more = redact_text(one.said).splitlines() or [""]
        sys.stdout.write(f"{one.outcome:6}  {one.what:{width}}  {first}\n")
        sys.stdout.writelines(f"{'':8}{'':{width}}  {line.strip()}\n" for line in more)
    failed = sum(one.outcome == FAILED for one in findings)
    sys.stdout.write(f"\n{failed} of {len(findings)} failed\n" if failed else "\nall is well\n")
    return _MISTAKE if failed else 0


async def examine(
    table: Mapping[str, Any], home_of: Callable[[Settings], Path], origins: Origins
) -> list[Finding]:
    """Return what was found, in the order in which a start would meet it."""
    found: list[Finding] = []
    settings = _settings(table, origins, found)
    home = home_of(settings)
    plugins = load_plugins()
    found += [_tried(one.distribution, one.error) for one in plugins.broken]
    found += _addresses(settings, home)
    found += _state(settings, home)
    offered: list[Workflow] = []
    found += _workflows(settings, offered)
    with _scratch(home) as scratch:
        found.append(await _storage(settings, plugins, scratch))
        for name in settings.backends:
            found += await _backend(settings, plugins, name, scratch, offered)
    return found


def _tried(what: str, error: Exception) -> Finding:
    said = str(error) or type(error).__name__
    if isinstance(error, Invalid) and error.problems:
        said = "\n".join(map(str, error.problems))
    elif isinstance(error, OSError) and error.strerror:
        said = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return Finding(FAILED, what, said)


def _try(what: str, step: Callable[[], str]) -> Finding:
    try:
        return Finding(OK, what, step())
    except (LongshoreError, OSError, sqlite3.Error) as exc:
        return _tried(what, exc)


def _settings(table: Mapping[str, Any], origins: Origins, found: list[Finding]) -> Settings:
    """Return the settings of the sections that have no mistake, so that the rest is checked too."""
    good: dict[str, Any] = {}
    mistakes: list[Problem] = []
    for section, inner in table.items():
        try:
            parse_settings({section: inner})
        except Invalid as exc:
            mistakes += exc.problems or [Problem(section, exc.message)]
            good.update(_without(section, inner, exc.problems))
        else:
            good[section] = inner
    told = [str(origins.told(one)) for one in mistakes]
    said = "\n".join(told) or f"{origins}: {', '.join(table) or 'nothing is set'}"
    found.append(Finding(FAILED if mistakes else OK, "settings", said))
    return parse_settings(good)


def _without(section: str, inner: Any, mistakes: Sequence[Problem]) -> dict[str, Any]:
    """Return a section without the keys that have mistakes, if it has none then."""
    if not isinstance(inner, Mapping):
        return {}
    wrong = {one.where for one in mistakes}
    rest = {key: value for key, value in inner.items() if f"{section}.{key}" not in wrong}
    try:
        parse_settings({section: rest})
    except Invalid:
        return {}
    return {section: rest}


# addresses


def _addresses(settings: Settings, home: Path) -> Iterator[Finding]:
    service = settings.service
    for name, given in (("public_url", service.public_url), ("job_url", service.job_url)):
        if given is not None:
            yield _try(name, lambda name=name, given=given: PublicUrl.parse(given, name).base)  # type: ignore[misc]  # bound now
    if service.origins:
        yield _try("origins", lambda: check_origins(service.origins))
    where = f"{service.host} port {service.port}"
    try:
        _bind(service.host, service.port)
    except (OSError, UnicodeError) as exc:
        in_use = isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE
        if in_use and _is_supervised(home) and _answers(service.host, service.port):
            yield Finding(NOTE, "address", f"{where}: the service on this state listens there now")
        else:
            yield Finding(FAILED, "address", f"{where}: {_tried('', exc).said}")
    else:
        yield Finding(OK, "address", where)


def _bind(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family):
        pass


def _answers(host: str, port: int) -> bool:
    """Say whether a service of ours answers there."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((host, port), timeout=_PATIENCE / 5) as wire,
    ):
        wire.sendall(_ASK)
        answer = b""
        while chunk := wire.recv(4096):
            answer += chunk
        return b'{"status":"ok"}' in answer
    return False


def _is_supervised(home: Path) -> bool:
    """Say whether a process has the role of the supervisor, without taking it."""
    try:
        file = os.open(home / "supervisor.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


# state


def _state(settings: Settings, home: Path) -> Iterator[Finding]:
    yield _try("state", lambda: _check_directory(home))
    kind, _, place = settings.service.state.partition(":")
    if kind != "sqlite" or not place:
        said = f'service.state {settings.service.state!r} is not known here: say "sqlite:FILE"'
        yield Finding(FAILED, "database", said)
    else:
        yield _try("database", lambda: _check_database(home / place))
    if _is_supervised(home):
        yield Finding(NOTE, "running", "a process works on this state now; it is left alone")


def _check_directory(home: Path) -> str:
    place = next(one for one in (home, *home.parents) if one.exists())
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "it cannot be written", str(place))
    space = os.statvfs(place)
    free = space.f_bavail * space.f_frsize
    if free < _LEAST_SPACE or (space.f_files and not space.f_favail):
        raise OSError(errno.ENOSPC, f"only {format_size(free)} are free", str(place))
    if place == home:  # a quota or a failing disk shows when something is written
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(bytes(1024**2))
            file.flush()
            os.fsync(file.fileno())
    what = "is there" if place == home else "will be made"
    return f"{home} {what}, {format_size(free)} free"


def _check_database(path: Path) -> str:
    if not path.exists():
        return f"{path} will be made"
    known = sum(
        one.name.endswith(".sql")
        for one in (resources.files("longshore.stores") / "schema").iterdir()
    )
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reader:
        (version,) = reader.execute("PRAGMA user_version").fetchone()
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version > known:
        raise sqlite3.DatabaseError(
            f"{path} has schema {version}, and this version of Longshore knows {known}: "
            "install the newer one again, or use a backup from before"
        )
    change = f", will be brought to {known}" if version < known else ""
    return f"{path} has schema {version}{change}"


# workflows


def _workflows(settings: Settings, found: list[Workflow]) -> Iterator[Finding]:
    """Say what is wrong with the workflows, and add those that are well to ``found``."""
    given = settings.workflows
    found += shipped() if given.shipped else ()
    said = f"{len(found)} shipped"
    if given.directory is not None:
        try:
            own = load_directory(given.directory)
        except (LongshoreError, OSError) as exc:
            yield _tried("workflows", exc)
            return
        found += own
        said += f", {len(own)} in {given.directory}"
    homeless = [
        f"{one.id}: there is no backend {one.backend!r}"
        f"{did_you_mean(one.backend, settings.backends)}"
        for one in found
        if one.backend is not None and one.backend not in settings.backends
    ]
    yield Finding(FAILED if homeless else OK, "workflows", "\n".join(homeless) or said)


# plug-ins


@contextlib.contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """Return a directory for what plug-ins keep: not theirs, which a running service may use."""
    inside = home if home.is_dir() and os.access(home, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix=".check-", dir=inside) as made:
        yield Path(made)


@contextlib.asynccontextmanager
async def _opened(
    plugin: Any,
    given: PluginSettings,
    where: str,
    scratch: Path,
    *,
    origins: tuple[str, ...] = (),
) -> AsyncIterator[Any]:
    settings = build(plugin.settings, given.table, where)
    context = PluginContext(
        state=scratch / where,
        instance=f"check{secrets.token_hex(6)}",
        clock=SystemClock(),
        name=where.rpartition(".")[2],
        blobs=BlobUrls(secret=Secret(secrets.token_bytes(32)), public="http://localhost"),
        origins=origins,
    )
    async with plugin.open(settings, context) as opened:
        yield opened


async def _within(what: str, step: Callable[[], Any]) -> Finding:
    """Return what a plug-in's own work comes to: it may fail in any way, or not at all."""
    said = f"no answer in {_PATIENCE:g} s"
    with anyio.move_on_after(_PATIENCE):
        try:
            return Finding(OK, what, await step())
        except Exception as exc:  # noqa: BLE001 - a plug-in of somebody's
            return _tried(what, exc)
    return Finding(FAILED, what, said)


async def _storage(settings: Settings, plugins: Plugins, scratch: Path) -> Finding:
    given, origins = settings.storage, settings.service.origins

    async def round_trip() -> str:
        plugin = plugins.storage_backend(given.plugin)
        async with _opened(plugin, given, "storage", scratch, origins=origins) as storage:
            prefix = f"check-{secrets.token_hex(6)}/"
            try:
                await storage.write(f"{prefix}probe", _one(_CONTENT))
                read = b"".join([chunk async for chunk in storage.read(f"{prefix}probe")])
            finally:
                await storage.delete(prefix)
        if read != _CONTENT:
            raise OSError(errno.EIO, "what was written is not what is read")
        return f"{given.plugin}: written, read and deleted"

    return await _within("storage", round_trip)


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _backend(
    settings: Settings,
    plugins: Plugins,
    name: str,
    scratch: Path,
    offered: Sequence[Workflow],
) -> list[Finding]:
    given = settings.backends[name]
    default = next(iter(settings.backends))
    cannot: list[str] = []

    async def probe() -> str:
        plugin = plugins.workflow_backend(given.plugin)
        async with _opened(plugin, given, f"backends.{name}", scratch) as backend:
            for workflow in offered:
                if (workflow.backend or default) == name and isinstance(backend, SupportsCheck):
                    cannot.extend(await _cannot(backend, workflow))
            if not isinstance(backend, SupportsProbe):
                return f"{given.plugin}: opens"
            await backend.probe()
        return f"{given.plugin}: works"

    found = [await _within(f"backend {name}", probe)]
    if cannot:
        found.append(Finding(FAILED, f"commands of {name}", "\n".join(cannot)))
    return found


async def _cannot(backend: SupportsCheck, workflow: Workflow) -> list[str]:
    try:
        await backend.check(workflow)
    except LongshoreError as exc:
        return [f"{workflow.id}: {exc}"]
    return []


__all__: Sequence[str] = ["FAILED", "NOTE", "OK", "Finding", "check", "examine"]
