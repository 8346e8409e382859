"""Takes and gives bytes for signed URLs: a plain ASGI application.

What a URL allows is all that counts: no token is looked at, and no type of content. Errors are
raised before an answer has begun; the gate in front makes them problems.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from io import FileIO
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import attrs

from longshore.blobs import PATH, Grant
from longshore.errors import Conflict, TooLarge
from longshore.storages.abc import Arrival, ServesBlobs
from longshore.transfer import SentPart, StoredObject
from longshore_api.blobs.lending import LENDING, Lending, hangs
from longshore_api.bodies import Disconnected
from longshore_api.errors import Malformed, RangeNotSatisfiable
from longshore_api.ranges import parse_range

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: how long a client may do nothing
STALL = timedelta(minutes=5)
#: threads that read and write; clients that wait for the network hold none
_THREADS = 16
#: fewer bytes are not worth the socket
_DIRECT_FROM = 256 * 1024
_CHUNK = 256 * 1024
#: what stands in every answer with bytes: nobody's browser may take them for a page
_SAFE = (
    (b"content-type", b"application/octet-stream"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"cache-control", b"private, no-store"),
    (b"accept-ranges", b"bytes"),
)


@attrs.frozen(eq=False)
class _Sender:
    """Whoever sends the bytes of one place now."""

    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    gone: anyio.Event = attrs.field(factory=anyio.Event)


class Blobs:
    """Serves what ``storage`` signed. ``stall`` is how long a client may do nothing."""

    def __init__(self, storage: ServesBlobs, *, stall: timedelta = STALL) -> None:
        self._storage = storage
        self._stall = stall.total_seconds()
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._senders: dict[tuple[str, int], _Sender] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request.

        Raises:
            LongshoreError: nothing was answered yet.
            Disconnected: the client left, or did nothing for too long.
        """
        key = scope["path"].partition(PATH)[2]
        query = scope["query_string"].decode("latin-1")
        grant = self._storage.allowed(scope["method"], key, query)
        headers = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
        if grant.method == "GET":
            await self._give(scope, headers, send, key)
        else:
            part = await self._take(scope, headers, receive, grant)
            await _answer(send, 200, [(b"etag", _etag(part.tag)), (b"cache-control", b"no-store")])

    async def _take(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, grant: Grant
    ) -> SentPart:
        if b"content-range" in headers:
            raise Malformed("a PUT of a part has no Content-Range", hint="send the part as it is")
        said = headers.get(b"content-length")
        length = int(said) if said is not None else None  # the parser let digits through only
        if length is not None and length > grant.size:
            raise TooLarge(f"{length} bytes; this URL takes {grant.size}", hint="send less")
        sender = await self._replace_sender(grant)
        try:
            with sender.scope:
                return await self._arrive(scope, receive, grant, length)
        finally:
            if self._senders.get((grant.upload, grant.at)) is sender:
                del self._senders[grant.upload, grant.at]
            sender.gone.set()
        raise Conflict("the same bytes are sent anew by another request")

    async def _replace_sender(self, grant: Grant) -> _Sender:
        """Return the sender that is now the only one: who begins last is not the one that hangs."""
        place = (grant.upload, grant.at)
        while (other := self._senders.get(place)) is not None:
            other.scope.cancel()
            await other.gone.wait()
        sender = self._senders[place] = _Sender()
        return sender

    async def _arrive(
        self, scope: Scope, receive: Receive, grant: Grant, length: int | None
    ) -> SentPart:
        arrival = await self._run(self._storage.arrive, grant)
        try:
            lending = _lending(scope)
            if lending is not None and length is not None and length >= _DIRECT_FROM:
                await lending.receive(length, arrival, self._threads, self._stall)
            else:
                await self._receive(receive, arrival, grant.size, length)
            return await self._run(arrival.finish)
        finally:
            with anyio.CancelScope(shield=True):
                await self._run(arrival.close)

    async def _receive(
        self, receive: Receive, arrival: Arrival, most: int, length: int | None
    ) -> None:
        pieces, waiting, total, more = list[bytes](), 0, 0, True
        while more:
            message: Message = {}
            with anyio.move_on_after(self._stall) as patience:
                message = await receive()
            if patience.cancelled_caught:
                raise hangs(self._stall)
            if message["type"] != "http.request":
                raise Disconnected
            more = message.get("more_body", False)
            pieces.append(message.get("body", b""))
            waiting += len(pieces[-1])
            total += len(pieces[-1])
            if waiting >= _CHUNK or waiting > most or not more:
                await self._run(_keep, arrival, b"".join(pieces))
                pieces, waiting = [], 0
        if length not in {None, total}:
            raise Malformed("the body ends before its announced length")

    async def _give(self, scope: Scope, headers: dict[bytes, bytes], send: Send, key: str) -> None:
        file, stored = await self._run(self._storage.open, key)
        with file:
            start, count, status, head = _head(headers, stored)
            if scope["method"] == "HEAD":
                await _answer(send, status, head, length=count)
                return
            await send({"type": "http.response.start", "status": status, "headers": head})
            lending = _lending(scope)
            if lending is not None and count >= _DIRECT_FROM:
                await lending.send_file(file.fileno(), start, count, self._threads, self._stall)
            else:
                await self._send(send, file, start, count)
            await send({"type": "http.response.body", "body": b""})

    async def _send(self, send: Send, file: FileIO, start: int, count: int) -> None:
        file.seek(start)
        while count:
            chunk = await self._run(file.read, min(count, _CHUNK))
            if not chunk:  # an object never shrinks: somebody has changed the storage's files
                raise Disconnected
            count -= len(chunk)
            with anyio.move_on_after(self._stall) as patience:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if patience.cancelled_caught:
                raise Disconnected

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._threads)


def _keep(arrival: Arrival, data: bytes) -> None:
    arrival.write(data)
    arrival.hash(data)


def _lending(scope: Scope) -> Lending | None:
    extensions = scope.get("extensions") or {}
    lending: Lending | None = extensions.get(LENDING)
    return lending


def _head(
    headers: dict[bytes, bytes], stored: StoredObject
) -> tuple[int, int, int, list[tuple[bytes, bytes]]]:
    """Return the first byte, how many, the status and the headers of an answer."""
    etag = _etag(stored.sha256 or "")
    condition = headers.get(b"if-range")
    asked = headers.get(b"range", b"").decode("latin-1")
    if condition is not None and (condition.strip() != etag or not stored.sha256):
        asked = ""  # the object is another one now: all of it
    part = parse_range(asked)
    found = (0, stored.size) if part is None else part.within(stored.size)
    if found is None:
        raise RangeNotSatisfiable(f"there are {stored.size} bytes", size=stored.size)
    start, count = found[0], found[1] - found[0]
    name = stored.key.rpartition("/")[2].encode()
    head = [
        *_SAFE,
        (b"content-length", b"%d" % count),
        (b"content-disposition", b'attachment; filename="%s"' % name),
    ]
    if stored.sha256:
        head.append((b"etag", etag))
    if part is None:
        return start, count, 200, head
    head.append((b"content-range", b"bytes %d-%d/%d" % (start, start + count - 1, stored.size)))
    return start, count, 206, head


def _etag(tag: str) -> bytes:
    return b'"%s"' % tag.encode()


async def _answer(
    send: Send, status: int, head: list[tuple[bytes, bytes]], *, length: int | None = None
) -> None:
    if length is None:
        head = [*head, (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": b""})
