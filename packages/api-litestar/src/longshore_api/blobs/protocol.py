"""uvicorn's HTTP protocol, which lends its sockets to requests for bytes.

What is relied on of uvicorn's inside stands here and nowhere else; tests drive all of it.
"""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from longshore_api.blobs.lending import LENDING, Lending

_ZEROS = memoryview(bytes(256 * 1024))
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class LendingProtocol(HttpToolsProtocol):
    """Offers ``Lending`` in the scope of requests for bytes, where the connection is not TLS."""

    def lend(self) -> None:
        """Offer the socket to the request that begins."""
        if self.transport.get_extra_info("sslcontext") is None:
            lending = Lending(_Lent(self, self.cycle))
            self.scope["extensions"] = {LENDING: lending}  # type: ignore[dict-item]  # ours

    def renew_parser(self) -> None:
        """Forget a request whose body the parser will never see; the next one follows."""
        self.parser = httptools.HttpRequestParser(self)
        if hasattr(self.parser, "set_dangerous_leniencies"):
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does


class _Lent:
    """A connection of uvicorn's while one of its requests has the socket; see ``Connection``."""

    def __init__(self, protocol: LendingProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def take_over(self) -> tuple[bytes, bool, int]:
        protocol, cycle = self._protocol, self._cycle
        protocol.flow.pause_reading()
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            protocol.transport.write(_CONTINUE)
        begun, cycle.body = bytes(cycle.body), bytearray()
        return begun, not cycle.more_body, self._descriptor()

    def give_back(self) -> None:
        cycle = self._cycle
        if cycle.more_body:  # the parser waits for bytes that were read past it
            cycle.more_body = False
            self._protocol.renew_parser()

    def leave(self, taken: int) -> None:
        # the parser reads on as if it had seen what was read past it
        for at in range(0, taken, len(_ZEROS)):
            if self._protocol.parser is not None:
                self._protocol.parser.feed_data(_ZEROS[: taken - at])
                self._cycle.body.clear()

    async def flush(self) -> int:
        # paused by any byte that is not written yet, and then woken by the last
        transport = self._protocol.transport
        transport.set_write_buffer_limits(high=0)
        await self._protocol.flow.drain()
        transport.set_write_buffer_limits()
        return self._descriptor()

    def count_sent(self, count: int) -> None:
        self._cycle.expected_content_length -= count

    def cut(self) -> None:
        self._cycle.disconnected = True
        self._protocol.transport.abort()

    def _descriptor(self) -> int:
        descriptor: int = self._protocol.transport.get_extra_info("socket").fileno()
        return descriptor
