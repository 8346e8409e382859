"""Takes secrets out of what is said: out of the log, and out of messages about settings."""

import math
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
#: longer texts are cut: nobody reads them, and whoever sends them pays for them elsewhere
LONGEST = 10_000
_DEEPEST = 6
_WORDS = (
    r"token|secret|passw(?:or)?d|passphrase|authorization|signature|credential"
    r"|cookie|api_?key|access_?key|private_?key"
)
_SECRET_NAME = re.compile(_WORDS, re.IGNORECASE)
#: in the order in which they are looked for
_PATTERNS = (
    (re.compile(r"\bls_[A-Za-z0-9_-]{16,}"), f"ls_{HIDDEN}"),
    # the query of an address is what signs a request
    (re.compile(r"((?:\b[a-z][a-z0-9+.-]{0,20}://|/v1/blobs/)[^\s\"'<>?]{0,2000})\?[^\s\"'<>]*"),
     rf"\1?{HIDDEN}"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://)[^\s\"'<>/@]{1,500}@"), rf"\1{HIDDEN}@"),
    (re.compile(r"\b(bearer|basic) +[A-Za-z0-9._~+/=-]+", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(rf"((?:{_WORDS})[\w-]{{0,50}}[\"']?\s?[:=]\s?)"
                r"(?!\*\*\*)(?:b?\"[^\"]*\"|b?'[^']*'|[^\s,;&)}\]]+)", re.IGNORECASE),
     rf"\1{HIDDEN}"),
)  # fmt: skip


def is_secret(name: str) -> bool:
    """Say whether what is called so is a secret."""
    return _SECRET_NAME.search(name) is not None


def redact_text(text: str) -> str:
    """Return ``text`` without what looks like a secret."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ... ({len(text)} characters)"
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def redact(value: Any, name: str = "", *, depth: int = _DEEPEST) -> Any:
    """Return ``value``, which is called ``name``, as plain JSON without secrets."""
    if value is None or isinstance(value, bool | int):
        return HIDDEN if is_secret(name) and value is not None else value
    if is_secret(name):
        return HIDDEN
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping) and depth:
        return {
            redact_text(str(key)): redact(inner, str(key), depth=depth - 1)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [redact(inner, depth=depth - 1) for inner in value]
    return redact_text(value if isinstance(value, str) else repr(value))
