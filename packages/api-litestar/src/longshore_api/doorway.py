"""What answers from the first moment, while the service behind it is still being opened."""

from collections.abc import MutableMapping
from typing import Any

import anyio

from longshore_api.gate import App, Receive, Scope, Send
from longshore_api.urls import PublicUrl

_ALIVE = b'{"status":"ok"}'
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(_ALIVE)),
    (b"cache-control", b"no-store"),
]


class Doorway:
    """Says that the process lives; every other request waits until ``open`` was called."""

    def __init__(self, url: PublicUrl) -> None:
        self._live = frozenset({"/livez", f"{url.path}/livez"})
        self._app: App | None = None
        self._opened = anyio.Event()

    def open(self, app: App) -> None:
        """Let requests through to ``app``, also those that wait."""
        self._app = app
        self._opened.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"] in self._live and scope["method"] == "GET":
            await send(_start())
            await send({"type": "http.response.body", "body": _ALIVE})
            return
        if self._app is None:
            await self._opened.wait()
        assert self._app is not None  # noqa: S101 - set before the event
        await self._app(scope, receive, send)


def _start() -> MutableMapping[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": _HEADERS}
