"""Places: what a command may name and only a backend knows. Pure.

Each placeholder is replaced by one whole string inside its argv element, in one pass and never
through a shell: a place that looks like a placeholder stays as it is.
"""

import re
from collections.abc import Iterable, Mapping

_PLACEHOLDER = re.compile(
    r"\{(?:(?:inputs|outputs|datasets)\.[A-Za-z0-9._-]+|parameters_file|python)\}"
)


def place(command: Iterable[str], places: Mapping[str, str]) -> tuple[str, ...]:
    """Return the argv of ``command``; other text in braces, and a place that is not there, stay.

    Args:
        command: elements that may hold ``{inputs.NAME}``, ``{outputs.NAME}``,
            ``{datasets.NAME}``, ``{parameters_file}`` and ``{python}``.
        places: what to put there, by the placeholder without its braces.
    """

    def known(match: re.Match[str]) -> str:
        return places.get(match[0][1:-1], match[0])

    return tuple(_PLACEHOLDER.sub(known, element) for element in command)


def variable(prefix: str, name: str) -> str:
    """Return the environment variable of a declared name: ``LS_INPUT_MY_TEXT`` of ``my-text``."""
    return f"{prefix}_{name.upper().replace('-', '_').replace('.', '_')}"
