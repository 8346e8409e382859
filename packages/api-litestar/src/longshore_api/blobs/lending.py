"""The socket of a request, lent to it: bytes go between it and a file without a detour.

An HTTP server passes a body through the event loop in pieces of 64 KiB, each a copy or more. What
is large goes instead from the socket to the disk in a thread, or to the socket by the kernel
alone (sendfile). A thread is held only while bytes flow: who waits for a client is the event loop.
"""

import os
import select
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread

from longshore.errors import Conflict
from longshore.storages.abc import Arrival
from longshore_api.bodies import Disconnected
from longshore_api.errors import Malformed

#: the key in ``scope["extensions"]``
LENDING = "longshore.lending"
_CHUNK = 1024**2
#: seconds for which one client may hold a thread, and for which a thread waits for a fast one
_SLICE = 0.1
_PAUSE_MS = 5
#: bytes between two pauses that make a client a fast one
_FAST = 256 * 1024

T = TypeVar("T")


class Connection(Protocol):
    """What a server must be able to do so that its sockets can be lent."""

    def take_over(self) -> tuple[bytes, bool, int]:
        """Stop reading; return what has come of the body, if that is all, and the descriptor."""
        ...

    def give_back(self) -> None:
        """Go on with the next request: the body has been read to its end."""
        ...

    def leave(self, taken: int) -> None:
        """Read and forget the rest of a body of which so many bytes were taken."""
        ...

    async def flush(self) -> int:
        """Return the socket's descriptor once all is written that was to be written."""
        ...

    def count_sent(self, count: int) -> None:
        """Know that so many bytes of the answer's body have been sent."""
        ...

    def cut(self) -> None:
        """Close now; nothing will be answered any more."""
        ...


class Lending:
    """The socket of one request. One use at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def receive(
        self, length: int, arrival: Arrival, threads: anyio.CapacityLimiter, stall: float
    ) -> None:
        """Give all ``length`` bytes of the request's body to ``arrival``.

        What it raises is raised; then the server reads the rest, and the client can be answered.

        Raises:
            Malformed: there are fewer bytes.
            Conflict: the client sent nothing for ``stall`` seconds.
            Disconnected: it left.
        """
        begun, is_all, descriptor = self._connection.take_over()
        if is_all and len(begun) < length:
            raise Malformed("the body ends before its announced length")
        taken = _Taken(len(begun))
        try:
            with socket.socket(fileno=os.dup(descriptor)) as lent:
                if begun:
                    await _run(keep, arrival, begun, limiter=threads)
                while taken.count < length:
                    await _something(lent, stall)
                    await self._slice(_receive, lent, length, taken, arrival, limiter=threads)
        except BaseException:
            self._connection.leave(taken.count - len(begun))
            raise
        self._connection.give_back()

    async def send_file(
        self, file: int, start: int, count: int, threads: anyio.CapacityLimiter, stall: float
    ) -> None:
        """Send ``count`` bytes of the open ``file`` as the answer's body; its head is written.

        Raises:
            Disconnected: the client left, or took nothing for ``stall`` seconds.
        """
        descriptor = await self._connection.flush()
        with socket.socket(fileno=os.dup(descriptor)) as lent:
            end = start + count
            while start < end:
                start += await self._slice(_send, lent, file, start, end, limiter=threads)
                if start < end and not await _comes(anyio.wait_writable, lent, stall):
                    self._connection.cut()
                    raise Disconnected
        self._connection.count_sent(count)

    async def _slice(
        self, function: Callable[..., T], *arguments: object, limiter: anyio.CapacityLimiter
    ) -> T:
        try:
            return await _run(function, *arguments, limiter=limiter)
        except (ConnectionError, Disconnected) as exc:
            self._connection.cut()
            raise Disconnected from exc


async def _something(lent: socket.socket, stall: float) -> None:
    if not await _comes(anyio.wait_readable, lent, stall):
        raise hangs(stall)


def hangs(stall: float) -> Conflict:
    """Return what is said to a client that sends nothing."""
    return Conflict(f"nothing came for {stall:g} seconds", hint="send the part again")


async def _comes(
    ready: Callable[[socket.socket], Awaitable[None]], lent: socket.socket, stall: float
) -> bool:
    with anyio.move_on_after(stall) as patience:
        await ready(lent)
    return not patience.cancelled_caught


async def _run(function: Callable[..., T], *arguments: object, limiter: anyio.CapacityLimiter) -> T:
    return await anyio.to_thread.run_sync(function, *arguments, limiter=limiter)


class _Buffers(threading.local):
    """Two buffers for each thread, however many clients there are."""

    def __init__(self) -> None:
        self.two = [memoryview(bytearray(_CHUNK)) for _ in range(2)]


_buffers = _Buffers()
_hashers = ThreadPoolExecutor(os.cpu_count(), "longshore-hash")


def keep(arrival: Arrival, data: bytes) -> None:
    """Write and hash bytes that are not many."""
    arrival.write(data)
    arrival.hash(data)


class _Taken:
    """How many bytes of a body have been read, also when keeping them fails."""

    def __init__(self, count: int) -> None:
        self.count = count


def _receive(lent: socket.socket, length: int, taken: _Taken, arrival: Arrival) -> None:
    """Read what comes, for a while.

    What has been read is hashed while it is written and while the next is read.
    """
    pace, buffers = _Pace(lent, select.POLLIN), cycle(_buffers.two)
    hashing: Future[None] | None = None
    try:
        while taken.count < length and not pace.is_over():
            buffer = next(buffers)
            got = _fill(lent, buffer[: length - taken.count], pace)
            if not got:
                break
            taken.count += got
            if hashing is not None:
                hashing.result()
            hashing = _hashers.submit(arrival.hash, buffer[:got])
            arrival.write(buffer[:got])
    finally:
        if hashing is not None:  # this thread's buffers are another client's next
            hashing.result()


def _fill(lent: socket.socket, buffer: memoryview, pace: "_Pace") -> int:
    """Read into ``buffer`` until it is full, or nothing comes at once; return how many bytes."""
    filled = 0
    while filled < len(buffer):
        try:
            got = lent.recv_into(buffer[filled:])
        except BlockingIOError:
            if not pace.is_worth_waiting():
                break
            continue
        if not got:
            raise Disconnected
        filled += got
        pace.count(got)
    return filled


def _send(lent: socket.socket, file: int, start: int, end: int) -> int:
    """Send what is taken, for a while; return how many bytes."""
    at, pace = start, _Pace(lent, select.POLLOUT)
    while at < end and not pace.is_over():
        try:
            sent = os.sendfile(lent.fileno(), file, at, end - at)
        except BlockingIOError:
            if not pace.is_worth_waiting():
                break
            continue
        if not sent:  # an object never shrinks: somebody has changed the storage's files
            raise Disconnected
        at += sent
        pace.count(sent)
    return at - start


class _Pace:
    """Whether a thread stays with a client: as long as it is fast, and not for too long."""

    def __init__(self, lent: socket.socket, event: int) -> None:
        self._poll = select.poll()
        self._poll.register(lent, event)
        self._until = time.monotonic() + _SLICE
        self._since_pause = 0

    def count(self, count: int) -> None:
        self._since_pause += count

    def is_over(self) -> bool:
        return time.monotonic() > self._until

    def is_worth_waiting(self) -> bool:
        is_fast, self._since_pause = self._since_pause >= _FAST, 0
        return is_fast and bool(self._poll.poll(_PAUSE_MS))
