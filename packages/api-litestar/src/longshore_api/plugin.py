"""Longshore inside a Litestar application, beside its own routes."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar, asgi
from litestar.config.app import AppConfig
from litestar.plugins import InitPlugin

from longshore.blobs import PATH
from longshore.embedded import open_embedded
from longshore.settings import load_table, parse_settings
from longshore.storages.abc import ServesBlobs
from longshore_api.admin_token import show_first_token
from longshore_api.app import make_router
from longshore_api.blobs import Blobs
from longshore_api.gate import App, Gate, Receive, Scope, Send
from longshore_api.provider import Provider
from longshore_api.sparing import SPARING
from longshore_api.urls import PublicUrl


class LongshorePlugin(InitPlugin):
    """Adds the routes of version 1 below ``path``, and runs the service while the application runs.

    ```python
    from litestar import Litestar
    from longshore_api import LongshorePlugin

    app = Litestar(plugins=[LongshorePlugin("https://example.org/compute", path="/compute")])
    ```

    Tokens, limits and problem documents are Longshore's; the routes of the application around it
    are not touched.

    Args:
        public_url: the address of ``path`` as consumers reach it.
        path: below which the routes lie.
        state: the state directory; ``longshore.embedded.default_home()`` when not given.
        config: a TOML file of settings; the environment overrides it.
        settings: settings as a mapping, instead of file and environment.

    Raises:
        SettingsInvalid: mistakes in the settings, all of them.
    """

    def __init__(
        self,
        public_url: str,
        *,
        path: str = "/",
        state: Path | None = None,
        config: Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.url = PublicUrl.parse(public_url, "public_url")
        self._path = path
        self._state = state
        self._table = load_table(config, os.environ) if settings is None else settings
        parse_settings(self._table)
        self._provider: Provider | None = None

    @property
    def provider(self) -> Provider:
        """The service, while the application runs.

        Raises:
            RuntimeError: it does not run.
        """
        if self._provider is None:
            raise RuntimeError("the application's lifespan has not begun, or is over")
        return self._provider

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add routes and lifespan."""
        # functions, no methods: the framework copies handlers, with the object of a method

        def gate(app: App) -> App:
            async def admit(scope: Scope, receive: Receive, send: Send) -> None:
                await Gate(app, self.provider)(scope, receive, send)

            return admit

        async def serve_blobs(scope: Any, receive: Any, send: Any) -> None:
            storage = self.provider.host.storage
            assert isinstance(storage, ServesBlobs)  # noqa: S101 - no other storage signs for us
            scope["path"] = PATH + scope["path"].strip("/")  # a mount gets what lies below it
            await Gate(Blobs(storage), self.provider)(scope, receive, send)

        place = f"{self._path.rstrip('/')}{PATH.rstrip('/')}"
        app_config.route_handlers += [
            make_router(self._path, middleware=[gate]),
            asgi(place, is_mount=True, copy_scope=True)(serve_blobs),
        ]
        app_config.lifespan.append(self._run)
        return app_config

    @asynccontextmanager
    async def _run(self, _: Litestar) -> AsyncIterator[None]:
        opened = open_embedded(
            self._state, table=self._table, detach=False, public_url=self.url.base
        )
        with SPARING.installed():
            async with opened as embedded:
                embedded.engage()
                self._provider = Provider(embedded.host, self.url, lambda: embedded.is_holder)
                await show_first_token(self._provider.access)
                try:
                    yield
                finally:
                    self._provider.stopping.set()
                    self._provider = None


def create_app(
    settings: Mapping[str, Any] | None = None,
    *,
    state: Path | None = None,
    config: Path | None = None,
) -> Litestar:
    """Return an application with nothing but Longshore, for any ASGI server.

    ``longshore serve`` answers the routes that are asked for most a shorter way.

    Raises:
        SettingsInvalid: mistakes in the settings, all of them.
    """
    table = load_table(config, os.environ) if settings is None else settings
    url = PublicUrl.of(parse_settings(table).service)
    plugin = LongshorePlugin(url.base, state=state, settings=table)
    return Litestar(plugins=[plugin], openapi_config=None, logging_config=None)
