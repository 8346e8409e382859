"""How single values of a workflow definition are written: each function parses one or says why not.

Every function raises ``ValueError`` with a sentence for the author of the definition.
"""

import posixpath
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from longshore.dotenv import is_steering, is_variable
from longshore.quantities import parse_size

Parser = Callable[[object], Any]
E = TypeVar("E", bound=StrEnum)

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,62}\Z")
_TENANT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}\Z")  # a segment of storage keys
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}\Z")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w.+-]{0,80}/[A-Za-z0-9][\w.+-]{0,80}\Z", re.ASCII)
_IMAGE = re.compile(r"[a-z0-9][\w./:-]{0,400}@sha256:[0-9a-f]{64}\Z", re.ASCII)
_PATH = re.compile(r"(?:/[A-Za-z0-9_@+=~.-]{1,255})+\Z")
_SYSTEM = re.compile(r"/(?:usr|etc|bin|sbin|lib\w*|proc|sys|dev|run|boot|var|workflow)(?:/|\Z)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
MAX_ARGUMENTS = 1000
MAX_ARGUMENT = 64 * 1024
MAX_VARIABLE = 128


def text(value: object) -> str:
    """Parse a text for people."""
    if isinstance(value, str) and len(value) <= MAX_ARGUMENT and not _CONTROL.search(value):
        return value
    raise ValueError(
        f"must be a text of at most {MAX_ARGUMENT} characters without control characters, "
        f"not {_short(value)}"
    )


def word(value: object) -> str:
    """Parse a text that is not empty and has one line."""
    if not (found := text(value)).strip() or "\n" in found:
        raise ValueError("must be one line and not empty")
    return found


def flag(value: object) -> bool:
    """Parse true or false."""
    if isinstance(value, bool):
        return value
    raise ValueError(f"must be true or false, not {_short(value)}")


def member(kind: type[E]) -> Callable[[object], E]:
    """Return a parser of the values of an enumeration."""

    def parse(value: object) -> E:
        if isinstance(value, str) and value in list(kind):
            return kind(value)
        raise ValueError(f"{_short(value)} is not one of {', '.join(kind)}")

    return parse


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if isinstance(value, str) and pattern.match(value):
            return value
        raise ValueError(f"{_short(value)} is not {what}")

    return parse


workflow_id = _matching(
    _ID, "an id: up to 63 lower-case letters, digits and '-', a letter or digit first"
)
name = _matching(_NAME, "a name: up to 63 letters, digits, '.', '_' and '-', a letter first")
tenant = _matching(
    _TENANT, "a tenant: 1 to 63 letters, digits, '.', '_' and '-', the first one not a '.'"
)
version = _matching(_VERSION, 'a version such as "1" or "2.0.1", as a text')
media_type = _matching(_MEDIA_TYPE, "a media type such as text/csv")


def image(value: object) -> str:
    """Parse an image by digest: a tag can be made to name another image at any time."""
    if isinstance(value, str) and _IMAGE.match(value):
        return value
    raise ValueError(
        f"{_short(value)} does not name an image by digest; write it as name@sha256:<64 digits>, "
        "which 'docker image inspect' and 'skopeo inspect' show"
    )


def command(value: object) -> tuple[str, ...]:
    """Parse the list of the program and its arguments."""
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MAX_ARGUMENTS:
        raise ValueError(
            f"must be a list of 1 to {MAX_ARGUMENTS} texts; no shell splits a line into words"
        )
    words = tuple(text(one) for one in value)
    if not words[0]:
        raise ValueError("the first text must name a program")
    return words


def size(value: object) -> int:
    """Parse a number of bytes above zero."""
    found = parse_size(value)
    if not found:
        raise ValueError("must be more than 0 bytes")
    return found


def place(value: object) -> str:
    """Parse the absolute path at which a worker sees something."""
    if not isinstance(value, str) or not _PATH.match(value) or posixpath.normpath(value) != value:
        raise ValueError(
            f"{_short(value)} is not an absolute path without '.', '..', '//', blanks or a '/' "
            "at the end"
        )
    if _SYSTEM.match(value):
        raise ValueError(f"{value} is in a directory of the system; choose another, such as /data")
    return value


def variables(value: object) -> tuple[str, ...]:
    """Parse the names of variables that a consumer may set."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list of names of variables")
    for one in value:
        if not isinstance(one, str) or not is_variable(one) or len(one) > MAX_VARIABLE:
            raise ValueError(f"{_short(one)} is no name of a variable")
        if is_steering(one):
            raise ValueError(f"{one} steers how programs are started and cannot be an env input")
    if len(set(value)) != len(value):
        raise ValueError("names a variable twice")
    return tuple(value)


def _short(value: object) -> str:
    shown = repr(value) if isinstance(value, str | int | float) else _kind(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."  # noqa: PLR2004 - one line


def _kind(value: object) -> str:
    """Return what an author would call the type of ``value``."""
    kinds = {bool: "a truth value", int: "a number", float: "a number", str: "a text"}
    kinds |= {list: "a list", tuple: "a list", dict: "a table", type(None): "null"}
    return kinds.get(type(value), f"a {type(value).__name__}")
