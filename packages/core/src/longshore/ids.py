"""Identifiers: 26 lower-case characters that sort by the time they were made.

The format is ULID (48 bits of milliseconds, 80 random bits, Crockford base32), in lower case so
that an id is also a legal DNS label and file name. The 80 random bits make it unguessable; access
is checked all the same.
"""

import re
import secrets
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 26
_ID = re.compile(rf"[{_ALPHABET}]{{{ID_LENGTH}}}\Z")

_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)


def new_id(now: datetime, randbits: Callable[[int], int] = secrets.randbits) -> str:
    """Return a new identifier for the time ``now``."""
    return _time(int(now.timestamp() * 1000)) + _written(randbits(80), 70)


def _written(value: int, highest: int) -> str:
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(highest, -1, -10)])


@lru_cache(16)
def _time(milliseconds: int) -> str:
    return _written(milliseconds, 40)


def is_id(text: str) -> bool:
    """Say whether ``text`` has the form of an identifier."""
    return _ID.match(text) is not None
