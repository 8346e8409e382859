"""The methods of a route beside its own: HEAD where there is GET, and OPTIONS everywhere."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from litestar import Response
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

_NO_CONTENT = 204


def get(path: str, **more: Any) -> HTTPRouteHandler:
    """Mark what reads: a handler of GET, and of HEAD, as RFC 9110 (section 9.3.2) wants it."""
    return HTTPRouteHandler(path, http_method=[HttpMethod.GET, HttpMethod.HEAD], **more)


def options_of(handlers: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Return handlers that tell the methods of each path.

    They come before ``handlers`` in a router: the framework's own name only those methods of a
    path that were registered first.
    """
    methods = defaultdict[str, set[str]](lambda: {"OPTIONS"})
    for handler in handlers:
        for path in handler.paths:
            methods[path] |= {HttpMethod(one).value for one in handler.http_methods}
    return [_options(path, allow_of(found)) for path, found in methods.items()]


def allow_of(methods: Iterable[str]) -> str:
    """Return methods as ``Allow`` lists them."""
    return ", ".join(sorted(methods))


def _options(path: str, allow: str) -> HTTPRouteHandler:
    async def tell_methods() -> Response[None]:
        return Response(content=None, status_code=_NO_CONTENT, headers={"allow": allow})

    kind = HTTPRouteHandler(path, http_method=HttpMethod.OPTIONS, include_in_schema=False)
    return kind(tell_methods)
