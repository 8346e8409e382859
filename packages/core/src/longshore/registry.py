"""Finds plug-ins. This module and ``hookspecs`` alone touch pluggy; all others see records."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import attrs
import pluggy

from longshore import hookspecs
from longshore.errors import DuplicatePlugin, PluginError
from longshore.hookspecs import GROUP, StorageBackendPlugin, WorkflowBackendPlugin

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}\Z")
_log = logging.getLogger("longshore.plugins")

Record = WorkflowBackendPlugin | StorageBackendPlugin
R = TypeVar("R", WorkflowBackendPlugin, StorageBackendPlugin)


@attrs.frozen
class Broken:
    """A plug-in that could not be loaded: its distribution and what went wrong."""

    distribution: str
    error: Exception


@attrs.frozen
class Plugins:
    """What is installed, by name; ``broken`` are those that failed to import."""

    workflow_backends: Mapping[str, WorkflowBackendPlugin]
    storage_backends: Mapping[str, StorageBackendPlugin]
    broken: tuple[Broken, ...] = ()

    def workflow_backend(self, name: str) -> WorkflowBackendPlugin:
        """Return the workflow backend plug-in ``name``.

        Raises:
            PluginError: there is none; the message names those that are there and the broken ones.
        """
        return self._pick("workflow backend", self.workflow_backends, name)

    def storage_backend(self, name: str) -> StorageBackendPlugin:
        """Return the storage backend plug-in ``name``.

        Raises:
            PluginError: there is none; the message names those that are there and the broken ones.
        """
        return self._pick("storage backend", self.storage_backends, name)

    def _pick(self, kind: str, there: Mapping[str, R], name: str) -> R:
        if name in there:
            return there[name]
        broken = "".join(f"; {one.distribution} is broken: {one.error}" for one in self.broken)
        raise PluginError(
            f"there is no {kind} plug-in {name!r}: there are {', '.join(sorted(there))}{broken}",
            hint="install the distribution that has it, or correct its name in the settings",
        )


def load_plugins(
    *, installed: bool = True, extra: Iterable[object] = (), builtins: bool = True
) -> Plugins:
    """Find and check all plug-ins.

    A plug-in that fails to import, or whose hook raises, is reported in the log and in ``broken``:
    it does not take the host down, unless the settings ask for it by name.

    Args:
        installed: look for installed distributions.
        extra: modules or objects with hooks, registered as they are (for tests and hosts).
        builtins: the core's own plug-ins.

    Raises:
        PluginError: a hook that does not exist or has other arguments, or a record that is none.
        DuplicatePlugin: two distributions use one name.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    owners: dict[int, str] = {}
    broken: list[Broken] = []
    if builtins:
        from longshore import builtin_plugins as own  # noqa: PLC0415 - loads the local backend

        _register(manager, owners, own, "longshore")
    for plugin in extra:
        _register(manager, owners, plugin, getattr(plugin, "__name__", type(plugin).__name__))
    for name, load in _entry_points() if installed else ():
        try:
            _register(manager, owners, load(), name)
        except PluginError:
            raise
        except Exception as exc:  # noqa: BLE001 - a stranger's import may raise anything
            broken.append(_report(name, exc))
    _check(manager.check_pending)
    return Plugins(
        _collect(manager, owners, broken, "longshore_workflow_backends", WorkflowBackendPlugin),
        _collect(manager, owners, broken, "longshore_storage_backends", StorageBackendPlugin),
        tuple(broken),
    )


def _entry_points() -> Iterable[tuple[str, Callable[[], object]]]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - as long to import as our models

    for point in entry_points(group=GROUP):
        owner = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        yield owner, point.load


def _register(
    manager: pluggy.PluginManager, owners: dict[int, str], plugin: object, owner: str
) -> None:
    owners[id(plugin)] = owner
    _check(lambda: manager.register(plugin))


def _report(owner: str, error: Exception) -> Broken:
    _log.warning("plug-in %s cannot be loaded: %s: %s", owner, type(error).__name__, error)
    return Broken(owner, error)


def _check(step: Callable[[], object]) -> None:
    try:
        step()
    except pluggy.PluginValidationError as exc:
        raise PluginError(f"a plug-in does not fit: {exc}", hint="tell its author") from exc


def _collect(
    manager: pluggy.PluginManager,
    owners: Mapping[int, str],
    broken: list[Broken],
    hook: str,
    kind: type[R],
) -> dict[str, R]:
    found: dict[str, tuple[R, str]] = {}
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        owner = owners[id(implementation.plugin)]
        try:
            records = list(implementation.function())
        except Exception as exc:  # noqa: BLE001 - as may its hooks
            broken.append(_report(owner, exc))
            continue
        for record in records:
            _check_record(record, kind, owner)
            if record.name in found:
                raise DuplicatePlugin(
                    f"both {found[record.name][1]} and {owner} have a plug-in {record.name!r}",
                    hint="uninstall one of them",
                )
            found[record.name] = (record, owner)
    return {name: record for name, (record, _) in found.items()}


def _check_record(record: Any, kind: type[Record], owner: str) -> None:
    if not isinstance(record, kind):
        raise PluginError(f"{owner} returns {record!r}, which is no {kind.__name__}")
    if not _NAME.match(str(record.name)):
        raise PluginError(f"{owner} names a plug-in {record.name!r}: use [a-z][a-z0-9-]*")
    if not attrs.has(record.settings):
        raise PluginError(f"{owner}: settings of {record.name!r} must be an attrs class")
