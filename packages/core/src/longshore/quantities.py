"""Sizes and durations as people write them: ``1 GiB``, ``90s``, ``1h30m``."""

import re
from datetime import timedelta

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKMGTP]i?B?|B)?\s*\Z")
_UNITS = {unit: 1024 ** (power + 1) for power, unit in enumerate("KMGTP")}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?\Z")


def parse_size(value: object) -> int:
    """Return bytes for ``"1 GiB"``, ``"500 MB"`` or a whole number.

    ``KiB``, ``MiB``, ... (and the bare letters) are powers of 1024; ``kB``, ``MB``, ... are powers
    of 1000.

    Raises:
        ValueError: not a size.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a size such as '1 GiB' or a number of bytes")
    number, unit = float(match[1]), match[2] or "B"
    if unit == "B":
        return int(number)
    factor = _UNITS[unit[0].upper()]
    if unit.endswith("B") and "i" not in unit:
        factor = 1000 ** (list(_UNITS).index(unit[0].upper()) + 1)
    return int(number * factor)


def parse_duration(value: object) -> timedelta:
    """Return a duration for ``"1h"``, ``"90s"``, ``"1h30m"`` or a number of seconds.

    Raises:
        ValueError: not a duration.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return timedelta(seconds=value)
    match = _DURATION.match(value.strip()) if isinstance(value, str) and value.strip() else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration such as '1h30m' or a number of seconds")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def format_size(size: int) -> str:
    """Return ``size`` bytes as people read them."""
    number = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":  # noqa: PLR2004 - the base of the units
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
