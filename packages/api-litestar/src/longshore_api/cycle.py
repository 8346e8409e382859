"""One request and its answer, as uvicorn has them; and a shorter way for an answer that is whole.

The messages of ASGI pass an answer on in pieces, each of which is looked at anew. An application
that has all of it may send the one message ``WHOLE`` instead, where the scope's extensions have
that name: ``status``, ``headers`` and ``body``. It knows its headers, so no length is checked.
"""

import asyncio  # noqa: TID251 - uvicorn's own
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

#: the type of the message, and the name of the extension
WHOLE = "longshore.http.response.whole"
EXTENSIONS = {WHOLE: dict[str, Any]()}
_NOT_MODIFIED = 304

Headers = list[tuple[bytes, bytes]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def send_whole(
    scope: Mapping[str, Any], send: Send, status: int, headers: Headers, body: bytes
) -> None:
    """Send an answer, less its ``content-length``, as one message where there is that message."""
    if status == _NOT_MODIFIED:  # has no body, and the length would be another answer's
        body = b""
    elif WHOLE in scope.get("extensions", ()):
        await send({"type": WHOLE, "status": status, "headers": headers, "body": body})
        return
    else:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Cycle(RequestResponseCycle):
    """What uvicorn knows of a request that is being answered."""

    @classmethod
    def of(
        cls, protocol: HttpToolsProtocol, *, transport: asyncio.Transport, keep_alive: bool
    ) -> "Cycle":
        """Return the cycle of the request whose head ``protocol`` has just read."""
        return cls(
            scope=protocol.scope,
            transport=transport,
            flow=protocol.flow,
            logger=protocol.logger,
            access_logger=protocol.access_logger,
            access_log=protocol.access_log,
            default_headers=protocol.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=protocol.expect_100_continue,
            keep_alive=keep_alive,
            on_response=protocol.on_response_complete,
        )

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]  # one type more
        """Send an answer, or a piece of one."""
        if message["type"] != WHOLE:
            await super().send(message)  # type: ignore[arg-type]  # as above
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.response_started:
            raise RuntimeError("an answer has begun already")
        if not self.disconnected:
            self._answer(message["status"], message["headers"], message["body"])

    def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        lines = [STATUS_LINE[status]]
        for name, value in (
            *self.default_headers,
            *headers,
            (b"content-length", b"%d" % len(body)),
        ):
            if b"\r" in value or b"\n" in value:
                raise RuntimeError(f"the header {name!r} of an answer holds a line break")
            lines += (name, b": ", value, b"\r\n")
        lines += (b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n", body)
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(b"".join(lines))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
