"""How things are written that an API server would refuse otherwise: checks of settings. Pure."""

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import attrs

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_PART = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
_KEY = re.compile(rf"({_PREFIX}/)?{_PART}\Z")
_RESOURCE = re.compile(rf"{_PREFIX}/{_PART}\Z")
_VALUE = re.compile(rf"({_PART})?\Z")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,500}\Z")
_TARGET = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})\Z")
_LAST_PORT = 65535

Field = attrs.Attribute  # of any type: these check values that came as texts and tables


def mapped(value: Any) -> Mapping[str, Any]:
    """Return a table that nobody changes.

    Raises:
        ValueError: not a table.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} must be a table")  # noqa: TRY004 - mistakes of settings are ValueErrors
    return MappingProxyType(dict(value))


def is_name(_: object, field: "Field[Any]", value: str) -> None:
    """Check the name of an object."""
    if not _NAME.match(value):
        raise ValueError(
            f"'{field.name}' {value!r} must be a name: 1 to 63 lower-case letters, digits and '-'"
        )


def is_label(_: object, field: "Field[Any]", value: str) -> None:
    """Check the key of a label or of a taint; it may be absent."""
    if value and not _KEY.match(value):
        raise ValueError(f"'{field.name}' {value!r} is no key of a label")


def is_value(_: object, field: "Field[Any]", value: str) -> None:
    """Check the value of a label or of a taint."""
    if not _VALUE.match(value):
        raise ValueError(f"'{field.name}' {value!r} is no value of a label")


def is_labels(_: object, field: "Field[Any]", value: Mapping[str, Any]) -> None:
    """Check labels, and tell all that is wrong with them."""
    wrong = [
        f"{key} = {one!r}"
        for key, one in value.items()
        if not _KEY.match(key) or not isinstance(one, str) or not _VALUE.match(one)
    ]
    if wrong:
        raise ValueError(f"'{field.name}' has what cannot be a label: {', '.join(wrong)}")


def is_resource(_: object, field: "Field[Any]", value: str) -> None:
    """Check the name of an extended resource."""
    if not _RESOURCE.match(value):
        raise ValueError(f"'{field.name}' {value!r} is no resource such as 'nvidia.com/gpu'")


def is_image(_: object, field: "Field[Any]", value: str) -> None:
    """Check the name of an image, by tag or by digest."""
    if not _IMAGE.match(value):
        raise ValueError(f"'{field.name}' {value!r} is no image such as 'registry.example/name:1'")


def is_address_range(_: object, field: "Field[Any]", value: tuple[str, ...]) -> None:
    """Check ranges of addresses."""
    for one in value:
        try:
            ipaddress.ip_network(one)
        except ValueError:
            raise ValueError(
                f"'{field.name}' {one!r} is no range such as '198.51.100.0/24'"
            ) from None


def is_host_and_port(_: object, field: "Field[Any]", value: tuple[str, ...]) -> None:
    """Check ``HOST:PORT``."""
    for one in value:
        match = _TARGET.match(one)
        if match is None or not 0 < int(match[2]) <= _LAST_PORT:
            raise ValueError(f"'{field.name}' {one!r} must be HOST:PORT")


def whole_seconds(_: object, field: "Field[Any]", value: timedelta) -> None:
    """Check a duration: an API server knows whole seconds only."""
    if value < timedelta(seconds=1) or value % timedelta(seconds=1):
        raise ValueError(f"'{field.name}' must be one or more whole seconds")
