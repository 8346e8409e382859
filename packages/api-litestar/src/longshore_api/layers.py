"""The layers of a service, put one around the other."""

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from longshore.blobs import PATH
from longshore.host import Host
from longshore.settings import build
from longshore.storages.abc import ServesBlobs
from longshore_api.admin_token import show_first_token
from longshore_api.app import make_app
from longshore_api.blobs import Blobs
from longshore_api.cors import allow_origins
from longshore_api.express import Express
from longshore_api.gate import App, Gate, Receive, Scope, Send
from longshore_api.logging_setup import is_console
from longshore_api.provider import Provider
from longshore_api.readiness import OK
from longshore_api.urls import PublicUrl

_log = logging.getLogger("longshore.api")


def make_provider(host: Host, url: PublicUrl, supervises: Callable[[], bool]) -> Provider:
    """Return what the handlers need of ``host``."""
    return Provider(host, url, supervises)


def make_service(provider: Provider) -> App:
    """Return the gate with everything behind it, and before it what browsers need."""
    app: App = make_app()  # type: ignore[assignment]  # Litestar is an ASGI application
    storage = provider.host.storage
    if isinstance(storage, ServesBlobs):
        app = _beside(Blobs(storage), app)
    return allow_origins(Gate(Express(app), provider), provider.host.settings.service.origins)


def _beside(blobs: App, app: App) -> App:
    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(PATH):
            scope["path_template"] = PATH
            await blobs(scope, receive, send)
        else:
            await app(scope, receive, send)

    return choose


async def announce(provider: Provider, home: Path, address: str) -> None:
    """Say on standard output what is served and how to get on.

    The first administrator's token is shown on standard error, once in the life of a store.
    """
    await show_first_token(provider.access)
    url = provider.url
    known = f" as {url.base}" if url.base != f"http://{address}" else ""
    parts = (await provider.readiness.look()).parts
    backends = [
        _backend(provider, name, parts[f"backend:{name}"])
        for name in provider.host.settings.backends
    ]
    with suppress(OSError):  # nobody reads it
        sys.stdout.write(
            f"Longshore listens on http://{address}{known} and explains itself at {url('/docs')}\n"
            f"state: {home}; {'; '.join(backends)}; stop with Ctrl-C, jobs go on\n"
        )
        sys.stdout.flush()
    if is_console(provider.host.settings.service.log) and sys.stdout.isatty():
        return  # whoever reads the log has just read it
    details = {"address": address, "url": url.base, "state": str(home), "backends": backends}
    _log.info("serving", extra=details)


def _backend(provider: Provider, name: str, found: str) -> str:
    given = provider.host.settings.backends[name]
    plugin = provider.host.plugins.workflow_backend(given.plugin)
    isolation = getattr(build(plugin.settings, given.table, name), "isolation", None)
    said = f"backend {name}{f' with isolation {isolation}' if isolation else ''}"
    return f"{said} works" if found == OK else f"{said} does not work (the log says why)"
