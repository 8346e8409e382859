"""What schemathesis cannot know of the document."""

from typing import Any

import schemathesis


def _written_plainly(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _written_plainly(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_written_plainly(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.hook
def map_body(_: schemathesis.HookContext, body: Any) -> Any:
    """Write 137.0 as 137: JSON Schema calls both an integer, and the service wants the latter."""
    return _written_plainly(body)
