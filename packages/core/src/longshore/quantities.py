"""Sizes and durations as people write them: ``1 GiB``, ``90s``, ``1h30m``."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

_SIZE = re.compile(r"\s*([0-9]{1,19})(?:\.([0-9]{1,19}))?\s*([kKMGTP]i?B?|B)?\s*\Z")
_DURATION = re.compile(
    r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+(?:\.[0-9]+)?)s)?\Z"
    r"|([0-9]+(?:\.[0-9]+)?)\Z"
)
#: most bytes (a signed 64-bit number holds them), longest duration, most CPUs or GPUs
_LARGEST = 2**63 - 1
_LONGEST = timedelta(days=3650)
_MOST = 100_000


def parse_size(value: object) -> int:
    """Return bytes for ``"1 GiB"``, ``"500 MB"`` or a whole number.

    ``KiB``, ``MiB``, ... (and the bare letters) are powers of 1024; ``kB``, ``MB``, ... are powers
    of 1000.

    Raises:
        ValueError: not a size.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST:
        return value
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a size such as '1 GiB' or a number of bytes")
    whole, fraction, unit = match[1], match[2] or "0", match[3] or "B"
    power = "BKMGTP".index(unit[0].upper())
    factor: int = (1000 if power and unit.endswith("B") and "i" not in unit else 1024) ** power
    size: int = int(whole) * factor + int(fraction) * factor // 10 ** len(fraction)
    if size > _LARGEST:
        raise ValueError(f"{value!r} is more than {_LARGEST} bytes")
    return size


def parse_duration(value: object) -> timedelta:
    """Return a duration for ``"1h"``, ``"90s"``, ``"1h30m"`` or a number of seconds.

    The number may be a text, as every value of the environment is.

    Raises:
        ValueError: not a duration.
    """
    seconds = _seconds(value)
    if seconds is None or not 0 <= seconds <= _LONGEST.total_seconds():
        raise ValueError(f"{value!r} is not a duration such as '1h30m' or a number of seconds")
    return timedelta(seconds=seconds)


def _seconds(value: object) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    match = _DURATION.match(value.strip()) if isinstance(value, str) and value.strip() else None
    if match is None:
        return None
    days, hours, minutes, seconds, alone = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds + alone


def format_size(size: int) -> str:
    """Return ``size`` bytes as people read them."""
    number = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":  # noqa: PLR2004 - the base of the units
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def parse_cpus(value: object) -> float:
    """Return a number of CPUs, which may be a fraction.

    Raises:
        ValueError: not a positive number.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _MOST:
        return float(value)
    raise ValueError(f"{value!r} is not a number of CPUs such as 2 or 0.5")


def parse_count(value: object) -> int:
    """Return a whole number of things.

    Raises:
        ValueError: not one.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return value
    raise ValueError(f"{value!r} is not a whole number such as 0 or 1")


def _positive_size(value: object) -> int:
    size = parse_size(value)
    if not size:
        raise ValueError("must be more than nothing")
    return size


def _positive_duration(value: object) -> timedelta:
    duration = parse_duration(value)
    if not duration:
        raise ValueError("must be more than nothing")
    return duration


#: how each resource of a job is written
RESOURCES: Mapping[str, Callable[[object], Any]] = MappingProxyType(
    {
        "cpu": parse_cpus,
        "memory": _positive_size,
        "gpu": parse_count,
        "disk": parse_size,
        "walltime": _positive_duration,
    }
)
