"""Longshore over HTTP.

``longshore serve`` is the service; ``LongshorePlugin`` mounts it into a Litestar application, and
``create_app`` is an application with nothing else. The names load when they are used: the command
finds ``serve`` here without waiting for a web framework.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longshore_api.plugin import LongshorePlugin, create_app

__all__ = ["LongshorePlugin", "create_app"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from longshore_api import plugin  # noqa: PLC0415 - when it is used

    return getattr(plugin, name)
