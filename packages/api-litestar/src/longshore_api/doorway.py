"""What answers from the first moment, while the service behind it is still being opened.

It also leads whoever comes to the service's bare address to its documentation.
"""

from collections.abc import MutableMapping
from typing import Any

import anyio

from longshore_api.gate import App, Receive, Scope, Send
from longshore_api.urls import PublicUrl

Headers = list[tuple[bytes, bytes]]

_ALIVE = b'{"status":"ok"}'
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(_ALIVE)),
    (b"cache-control", b"no-store"),
]
#: the methods of the bare address
METHODS = ("GET", "HEAD", "OPTIONS")


class Doorway:
    """Says that the process lives; every other request waits until ``open`` was called."""

    def __init__(self, url: PublicUrl) -> None:
        self._live = frozenset({"/livez", f"{url.path}/livez"})
        self._bare = frozenset({"/", url.path, f"{url.path}/"})
        to_docs = 307, [(b"location", f"{url.path}/docs".encode()), (b"content-length", b"0")]
        methods = 204, [(b"allow", ", ".join(METHODS).encode())]
        self._at_bare = dict(zip(METHODS, (to_docs, to_docs, methods), strict=True))
        self._app: App | None = None
        self._opened = anyio.Event()

    def open(self, app: App) -> None:
        """Let requests through to ``app``, also those that wait."""
        self._app = app
        self._opened.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"] in self._live and scope["method"] == "GET":
            await _answer(send, 200, _HEADERS, _ALIVE)
            return
        if scope.get("path") in self._bare and scope["method"] in self._at_bare:
            await _answer(send, *self._at_bare[scope["method"]])
            return
        if self._app is None:
            await self._opened.wait()
        assert self._app is not None  # noqa: S101 - set before the event
        await self._app(scope, receive, send)


async def _answer(send: Send, status: int, headers: Headers, body: bytes = b"") -> None:
    start: MutableMapping[str, Any] = {
        "type": "http.response.start",
        "status": status,
        "headers": headers,
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
