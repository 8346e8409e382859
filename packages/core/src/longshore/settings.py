"""The provider's settings: attrs classes from one mapping, every mistake named at once.

A mapping comes from a TOML file and from the environment: ``LONGSHORE_BACKENDS__LOCAL__SLOTS=4``
sets ``slots`` in ``[backends.local]``. A missing section keeps its embedded default.
"""

import enum
import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NewType, TypeVar

import attrs

from longshore.deadlines import Limits
from longshore.errors import Problem, SettingsInvalid
from longshore.quantities import parse_duration, parse_size
from longshore.suggestions import did_you_mean

T = TypeVar("T")
#: bytes, in settings also as "1 MiB"
Size = NewType("Size", int)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")
#: requests a second, where they are limited
_SLOWEST = 0.001
#: names of settings whose values are never shown
_SECRET = re.compile(r"secret|token|passw|credential|key")
ENVIRONMENT_PREFIX = "LONGSHORE_"
#: variables with the prefix that are no settings
NOT_SETTINGS = frozenset(
    {
        *("LONGSHORE_CONFIG", "LONGSHORE_STATE", "LONGSHORE_DEBUG"),
        *("LONGSHORE_SERVER", "LONGSHORE_TOKEN"),  # the client's
    }
)


class LogForm(enum.StrEnum):
    """How a server says what happens; ``auto`` is for people on a terminal, and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


@attrs.frozen(kw_only=True)
class ServiceSettings:
    """``[service]``: where the state is, and where a server of it is reached.

    A relative path in ``state`` is below the state directory. ``public_url`` is how consumers
    reach the server, where that is not its own address; its path is honoured in routes and links.
    ``job_url`` is where jobs reach it for their bytes, when the storage does not serve them itself.
    Pages of ``origins`` may use the server from a browser. ``stop_timeout`` is how long a server
    that ends waits for requests on their way. ``log`` is the form of what it says on standard
    error.
    """

    state: str = "sqlite:state.db"
    host: str = "127.0.0.1"
    port: int = attrs.field(
        default=8080, validator=(attrs.validators.ge(0), attrs.validators.le(65535))
    )
    public_url: str | None = None
    job_url: str | None = None
    origins: tuple[str, ...] = ()
    stop_timeout: timedelta = timedelta(seconds=10)
    log: LogForm = LogForm.AUTO


def _is_rate(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    if value != 0 and value < _SLOWEST:  # slower, and the time until it flows is no number
        raise ValueError(f"'{field.name}' must be 0 or at least {_SLOWEST}: {value}")


@attrs.frozen(kw_only=True)
class LimitsSettings:
    """``[limits]``: what one token, and all together, may ask of a server.

    ``requests_per_second`` of a token are answered, and ``burst`` at once (0: no limit).
    ``streams`` are the logs and events that one token may follow at a time, ``all_streams`` those
    of all. ``body`` is the size of a JSON request. ``requests_at_once`` are worked on at a time,
    and as many large bodies may be on their way, half of them one token's; more are asked to come
    again. Of more than ``connections`` those that wait longest for their clients are closed.
    """

    requests_per_second: float = attrs.field(default=200.0, validator=_is_rate)
    burst: int = attrs.field(
        default=1000, validator=(attrs.validators.ge(1), attrs.validators.le(1_000_000))
    )
    streams: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    all_streams: int = attrs.field(default=2000, validator=attrs.validators.ge(1))
    requests_at_once: int = attrs.field(default=256, validator=attrs.validators.ge(1))
    connections: int = attrs.field(default=10_000, validator=attrs.validators.ge(1))
    body: Size = Size(1024**2)


@attrs.frozen(kw_only=True)
class WorkflowsSettings:
    """``[workflows]``: a directory of definitions, besides those that are shipped."""

    directory: Path | None = None
    shipped: bool = True


@attrs.frozen(kw_only=True)
class PluginSettings:
    """``[backends.NAME]`` or ``[storage]``: which plug-in, and the table that it gets."""

    plugin: str
    table: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that a provider may set. The first backend is the default of workflows."""

    service: ServiceSettings = ServiceSettings()
    limits: LimitsSettings = LimitsSettings()
    workflows: WorkflowsSettings = WorkflowsSettings()
    deadlines: Limits = attrs.field(factory=Limits)
    backends: Mapping[str, PluginSettings] = attrs.field(
        factory=lambda: {"local": PluginSettings(plugin="local")}
    )
    storage: PluginSettings = PluginSettings(plugin="local")


_PLAIN: Mapping[str, type[Any]] = {
    "service": ServiceSettings,
    "limits": LimitsSettings,
    "workflows": WorkflowsSettings,
    "deadlines": Limits,
}


def load_table(path: Path | None, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the table of a TOML file, overridden by the environment.

    Without ``path`` the file is the one that ``$LONGSHORE_CONFIG`` names, if any.

    Raises:
        SettingsInvalid: the file cannot be read.
    """
    table: dict[str, Any] = {}
    if path is None and environment.get("LONGSHORE_CONFIG"):
        path = Path(os.path.expanduser(environment["LONGSHORE_CONFIG"]))  # noqa: PTH111 - Path raises for ~nobody
    if path is not None:
        try:
            table = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as exc:
            raise SettingsInvalid(f"{path} cannot be read: {exc}") from exc
        section = table.get("workflows")
        folder = section.get("directory") if isinstance(section, dict) else None
        if isinstance(folder, str) and not folder.startswith("~"):
            table["workflows"]["directory"] = str(path.absolute().parent / folder)
    for name, value in environment.items():
        if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS:
            _put(table, name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), value)
    return table


def _put(table: dict[str, Any], keys: list[str], value: str) -> None:
    for key in keys[:-1]:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        table = inner
    table[keys[-1]] = value


def parse_settings(table: Mapping[str, Any], *, source: str = "settings") -> Settings:
    """Return the settings that ``table`` holds.

    Raises:
        SettingsInvalid: with every mistake and its key.
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    known = [field.name for field in attrs.fields(Settings)]
    for section, inner in table.items():
        if section not in known:
            problems.append(Problem(section, f"is no section{did_you_mean(section, known)}"))
        elif not isinstance(inner, Mapping):
            problems.append(Problem(section, "must be a table"))
        elif section in _PLAIN:
            values[section] = _collect(_PLAIN[section], inner, section, problems)
        elif section == "storage":
            values[section] = _plugin(inner, "local")
        elif inner:
            values[section] = {
                name: _plugin(settings, name)
                for name, settings in inner.items()
                if _is_table(settings, f"{section}.{name}", problems)
                and _is_name(name, f"{section}.{name}", problems)
            }
    if problems:
        raise SettingsInvalid(f"the settings have mistakes ({source})", problems)
    return Settings(**values)


def _is_table(value: object, where: str, problems: list[Problem]) -> bool:
    if not isinstance(value, Mapping):
        problems.append(Problem(where, "must be a table"))
    return isinstance(value, Mapping)


def _is_name(name: str, where: str, problems: list[Problem]) -> bool:
    """Say whether a name, which is that of a directory too, has no more than a name needs."""
    if not _NAME.match(name):
        problems.append(Problem(where, "use letters, digits, '_' and '-' for a name"))
        return False
    return True


def _plugin(table: Mapping[str, Any], default: str) -> PluginSettings:
    rest = {key: value for key, value in table.items() if key != "plugin"}
    return PluginSettings(plugin=str(table.get("plugin", default)), table=rest)


def build(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Return ``kind``, an attrs class of settings, from a table; ``where`` names it in mistakes.

    Raises:
        SettingsInvalid: with every mistake and its key.
    """
    problems: list[Problem] = []
    built = _collect(kind, table, where, problems)
    if problems:
        raise SettingsInvalid(f"the settings of {where} have mistakes", problems)
    return built


def _collect(kind: type[T], table: Mapping[str, Any], where: str, problems: list[Problem]) -> T:
    fields = attrs.fields_dict(kind)  # type: ignore[arg-type]  # every caller gives an attrs class
    types = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    found = len(problems)
    for key, value in table.items():
        place = f"{where}.{key}"
        if key not in fields:
            problems.append(Problem(place, f"is no setting{did_you_mean(key, fields)}"))
            continue
        try:
            values[key] = _convert(value, types[key])
        except (ValueError, TypeError) as exc:
            said = "is not as it must be" if _SECRET.search(key) else str(exc)
            problems.append(Problem(place, said))
    for name, field in fields.items():
        if field.default is attrs.NOTHING and name not in table:
            problems.append(Problem(f"{where}.{name}", "is missing"))
    if len(problems) > found:
        return kind.__new__(kind)  # an empty shell: the caller raises before anybody sees it
    try:
        return kind(**values)
    except (ValueError, TypeError) as exc:
        problems += list(_refused(kind, values, where)) or [Problem(where, str(exc))]
        return kind.__new__(kind)


def _refused(kind: type[T], values: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """Yield what a class refuses of each value alone."""
    for name, value in values.items():
        try:
            kind(**{name: value})
        except ValueError as exc:
            said = "is not as it must be" if _SECRET.search(name) else str(exc)
            yield Problem(f"{where}.{name}", said)
        except TypeError:  # it cannot be made of this alone
            return


def _convert(value: object, kind: Any) -> Any:
    """Return ``value``, which may be text of the environment, as the declared type."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in _UNIONS:
        if value is None and types.NoneType in inner:
            return None
        return _convert(value, next(one for one in inner if one is not types.NoneType))
    if origin is tuple:
        return tuple(_convert(one, inner[0]) for one in _to_list(value))
    if kind in _CONVERSIONS:
        return _CONVERSIONS[kind](value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _to_member(kind, value)
    return value


def _to_list(value: object) -> Sequence[object]:
    if isinstance(value, str):  # of the environment
        return [one.strip() for one in value.split(",") if one.strip()]
    if isinstance(value, list | tuple):
        return value
    raise TypeError(f"{value!r} is no list")


def _to_member(kind: type[enum.Enum], value: object) -> enum.Enum:
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(str(one.value) for one in kind)
        raise ValueError(f"{value!r} is none of {allowed}") from None


def _to_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    raise ValueError(f"{value!r} is neither true nor false")


def _to_number(kind: type[int] | type[float]) -> Callable[[object], int | float]:
    def convert(value: object) -> int | float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise TypeError(f"{value!r} is no number")
        wrong = ValueError(f"{value!r} is no {'whole ' if kind is int else ''}number")
        try:
            number = kind(value)
            is_finite = math.isfinite(number)
        except (ValueError, OverflowError):
            raise wrong from None
        if not is_finite or (number != value and not isinstance(value, str)):
            raise wrong
        return number

    return convert


def _to_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _to_path(value: object) -> Path:
    try:
        return Path(value if isinstance(value, Path) else _to_text(value)).expanduser()
    except RuntimeError:
        raise ValueError(f"{value} is below the home of nobody known here") from None


_UNIONS = (typing.Union, types.UnionType)
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_CONVERSIONS: Mapping[Any, Callable[[object], Any]] = {
    bool: _to_bool,
    int: _to_number(int),
    float: _to_number(float),
    timedelta: parse_duration,
    Size: parse_size,
    Path: _to_path,
    str: _to_text,
}
