"""Answers that go on: events as they come, a log as it grows."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager, aclosing
from typing import Any

import anyio
from litestar import Response

from longshore.access import Access
from longshore.background import background
from longshore.errors import RetryError, Unauthenticated
from longshore.models import Caller
from longshore_api.stopping import Stopping

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]

#: seconds until what goes on for long looks again whether its token is good
LOOK_AT_TOKEN = 2.0
#: told to proxies: hand on what comes, as it comes
_LIVE: Headers = [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]


class StreamAnswer(Response[Any]):
    """Sends what ``chunks`` yields, until it ends, the client leaves, or ``stopping`` is set.

    Also until the client's token is no longer good: whoever comes back then is told why.
    ``hold`` counts the stream while it runs. ``ping`` is sent when nothing else was for
    ``ping_after`` seconds, so that proxies and clients see that it lives.
    """

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        *,
        media_type: str,
        stopping: Stopping,
        hold: AbstractContextManager[None],
        headers: Headers | None = None,
        ping: bytes = b"",
        ping_after: float = 0.0,
        status: int = 200,
    ) -> None:
        super().__init__(content=None, status_code=status)
        self._media_type = media_type
        self._chunks = chunks
        self._stopping = stopping
        self._hold = hold
        self._extra = headers or []
        self._ping = ping
        self._ping_after = ping_after
        self._sent_at = 0.0

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """Return what sends the answer, an ASGI application."""
        return self._answer

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        with self._hold:
            async with aclosing(self._chunks) as chunks:  # type: ignore[type-var]  # a generator
                first = await anext(chunks, None)  # what is wrong shows before the answer begins
                await send(self._start())
                self._sent_at = anyio.current_time()
                if first is not None and scope["method"] != "HEAD":
                    with self._stopping.waiting():
                        await self._carry(first, chunks, scope["state"], receive, send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _start(self) -> MutableMapping[str, Any]:
        headers = [(b"content-type", self._media_type.encode()), *_LIVE, *self._extra]
        return {"type": "http.response.start", "status": self.status_code, "headers": headers}

    async def _carry(
        self,
        first: bytes,
        chunks: AsyncIterator[bytes],
        state: Mapping[str, Any],
        receive: Receive,
        send: Send,
    ) -> None:
        async with background() as tasks:
            tasks.start_soon(self._watch_client, receive, tasks.cancel_scope)
            access: Access = state["provider"].access
            tasks.start_soon(watch_token, access, state["caller"], tasks.cancel_scope)
            if self._ping:
                tasks.start_soon(self._keep_alive, send)
            await self._send(first, send)
            async for chunk in chunks:
                await self._send(chunk, send)

    async def _send(self, chunk: bytes, send: Send) -> None:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._sent_at = anyio.current_time()

    async def _watch_client(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _keep_alive(self, send: Send) -> None:
        while True:
            quiet = anyio.current_time() - self._sent_at
            if quiet >= self._ping_after:
                await self._send(self._ping, send)
                quiet = 0.0
            await anyio.sleep(self._ping_after - quiet)


async def watch_token(access: Access, caller: Caller, scope: anyio.CancelScope) -> None:
    """Cancel ``scope`` soon after the caller's token is no longer good."""
    while True:
        await anyio.sleep(LOOK_AT_TOKEN)
        try:
            await access.confirm(caller)
        except Unauthenticated:
            scope.cancel()
        except RetryError:
            continue  # who asked in good times goes on in bad ones
