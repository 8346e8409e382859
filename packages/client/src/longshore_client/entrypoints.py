"""Find what other packages offer to the command, without importing them.

`importlib.metadata` takes 40 ms to import, more than all the rest of `longshore --help` and of a
press of TAB, so the few lines that are needed of it are here.
"""

import ast
import importlib
import sys
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

SESSIONS = "longshore.sessions"
COMMANDS = "longshore.commands"


@cache
def find(group: str) -> dict[str, str]:
    """Return name and value (``module:attribute``) of every entry point of ``group``.

    Of two with one name the first on the path counts, as for modules.
    """
    found: dict[str, str] = {}
    for directory in dict.fromkeys(sys.path):
        for listing in sorted(Path(directory).glob("*.dist-info/entry_points.txt")):
            for name, value in _section(listing, group):
                found.setdefault(name, value)
    return dict(sorted(found.items()))


def _section(listing: Path, group: str) -> list[tuple[str, str]]:
    try:
        lines = [line.strip() for line in listing.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []  # a distribution that is being replaced just now
    if f"[{group}]" not in lines:
        return []
    entries = []
    for line in lines[lines.index(f"[{group}]") + 1 :]:
        if line.startswith("["):
            break
        name, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";")):
            entries.append((name.strip(), value.strip()))
    return entries


def load(value: str) -> Any:
    """Import and return what ``module:attribute`` names.

    Raises:
        ImportError: the package cannot be imported.
        AttributeError: it has no such attribute.
    """
    module, _, attribute = value.partition(":")
    return getattr(importlib.import_module(module), attribute)


def summary(value: str) -> str:
    """Return the first line of the docstring of a function, read from its source; else nothing.

    Help must neither be slowed nor broken by what another package does when it is imported.
    """
    module, _, attribute = value.partition(":")
    package, *rest = module.split(".")
    spec = PathFinder.find_spec(package)
    if spec is None or spec.origin is None:
        return ""
    base = Path(spec.origin).parent.joinpath(*rest)
    places = (base.with_suffix(".py"), base / "__init__.py") if rest else (Path(spec.origin),)
    try:
        source = next(place for place in places if place.is_file()).read_bytes()
        body = ast.parse(source).body
    except (OSError, StopIteration, SyntaxError, ValueError):
        return ""
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == attribute:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""
