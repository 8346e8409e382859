"""The HTTP server of ``longshore serve``: uvicorn around the doorway, and the service behind it."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import uvicorn

from longshore.background import background
from longshore.collector import collect_rarely
from longshore.embedded import open_embedded
from longshore.errors import SettingsInvalid
from longshore.settings import LimitsSettings, LogForm, ServiceSettings, Settings
from longshore_api.connection import Connection, Patience, look_at_all, most_connections
from longshore_api.cors import check_origins
from longshore_api.doorway import Doorway
from longshore_api.logging_setup import set_up
from longshore_api.sparing import SPARING
from longshore_api.urls import PublicUrl

if TYPE_CHECKING:
    from longshore_api.provider import Provider

_BACKLOG = 2048
PATIENCE = Patience()
#: that take connections from one queue: in a round of its loop uvloop accepts one with each, and
#: behind a busy round a storm would wait for thousands of them
LISTENERS = 4
#: ticks of uvicorn, ten a second, between two looks at the connections
LOOKS = 10


class Server(uvicorn.Server):
    """A server whose streams end before it waits for the requests on their way."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket) -> None:
        super().__init__(config)
        self.provider: Provider | None = None
        self.ended = anyio.Event()
        self._listening = listening

    async def run_to_end(self) -> None:
        """Serve until a signal, or until ``should_exit``."""
        try:
            with ExitStack() as more:
                again = [more.enter_context(self._listening.dup()) for _ in range(LISTENERS - 1)]
                await self.serve([self._listening, *again])
        finally:
            self.ended.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to ``heed_signals``: uvicorn would raise them again before we are done."""
        yield

    async def heed_signals(self) -> None:
        """End gracefully at the first SIGTERM or SIGINT, at once at the second."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                self.force_exit = self.should_exit
                self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """End the connections whose clients are too slow; say what the log has left out."""
        if counter % LOOKS == 0:
            SPARING.tell()
            look_at_all(self.server_state.connections, time.monotonic(), PATIENCE)
        return await super().on_tick(counter)

    @property
    def address(self) -> str:
        """Where it listens, as an address has it."""
        host, port, *_ = self._listening.getsockname()
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then the connections."""
        if self.provider is not None:
            self.provider.stopping.set()
        await super().shutdown(sockets)


def listen(service: ServiceSettings) -> socket.socket:
    """Return a socket that listens where the settings say.

    Raises:
        SettingsInvalid: nobody can listen there, or somebody else does.
    """
    family = socket.AF_INET6 if ":" in service.host else socket.AF_INET
    try:
        return socket.create_server((service.host, service.port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as exc:
        number = exc.errno if isinstance(exc, OSError) else None
        why = os.strerror(number) if number and number > 0 else exc  # below 0: no such host
        raise SettingsInvalid(
            f"cannot listen on {service.host} port {service.port}: {why}",
            hint="end what listens there, or choose another [service] host and port",
        ) from exc


def make_server(
    service: ServiceSettings,
    doorway: Doorway,
    listening: socket.socket,
    *,
    connections: int = LimitsSettings().connections,
) -> Server:
    """Return a server, not yet started."""
    most = most_connections(connections)
    config = uvicorn.Config(
        doorway,
        http=partial(Connection, most=most),  # type: ignore[arg-type]  # makes one, as a class does
        loop="none",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=max(1, int(service.stop_timeout.total_seconds())),
    )
    return Server(config, listening)


async def run_server(settings: Settings, home: Path) -> None:
    """Listen, open the service of ``home``, and serve it until a signal comes.

    Raises:
        LongshoreError: the service cannot be opened; nothing is served any more.
    """
    check_origins(settings.service.origins)
    with listen(settings.service) as listening:
        url = PublicUrl.of(settings.service, port=listening.getsockname()[1])
        doorway = Doorway(url)
        server = make_server(
            settings.service, doorway, listening, connections=settings.limits.connections
        )
        async with background() as tasks:
            tasks.start_soon(server.heed_signals)
            tasks.start_soon(server.run_to_end)
            try:
                await _serve(server, doorway, url, settings, home)
            finally:
                server.should_exit = True
                with anyio.CancelScope(shield=True):
                    await server.ended.wait()


async def _serve(
    server: Server, doorway: Doorway, url: PublicUrl, settings: Settings, home: Path
) -> None:
    layers = await anyio.to_thread.run_sync(_load, settings.service.log)
    opened = open_embedded(home, settings=settings, detach=False, public_url=url.base)
    async with opened as embedded:
        embedded.engage()
        provider = layers.make_provider(embedded.host, url, lambda: embedded.is_holder)
        server.provider = provider
        doorway.open(await anyio.to_thread.run_sync(layers.make_service, provider))
        await layers.announce(provider, home, server.address)
        collect_rarely()  # now that everything is there that stays
        await server.ended.wait()


def _load(log: LogForm) -> Any:
    """Import the application: it takes longer than everything else, and nobody must wait for it."""
    set_up(log)
    from longshore_api import layers  # noqa: PLC0415 - in a thread, while the doorway answers

    return layers
