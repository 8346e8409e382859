"""What a press of TAB offers besides commands and options: names that a server knows.

A server that does not answer at once offers nothing, and so does this machine's own service:
starting it is too much for a press of TAB.
"""

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

#: seconds
_LIMIT = 1.0


def workflows(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the workflows that begin with ``incomplete``."""
    return _offer(ctx, "workflows", incomplete, lambda it: it.get("title") or "")


def jobs(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the newest jobs that begin with ``incomplete``."""
    return _offer(ctx, "jobs", incomplete, lambda it: f"{it['workflow']} {it['state']}")


def _offer(
    ctx: click.Context, noun: str, incomplete: str, about: Callable[[Any], str]
) -> list[CompletionItem]:
    options = ctx.find_root().params
    try:
        items = _listed(noun, options.get("server"), options.get("state"))
        return [
            CompletionItem(it["id"], help=about(it).replace("\n", " "))
            for it in items
            if it["id"].startswith(incomplete)
        ]
    except Exception:  # noqa: BLE001 - a traceback in the middle of a command line helps nobody
        return []


def _listed(noun: str, server: str | None, state: str | None) -> list[Any]:
    from longshore_client.configfile import NO_SERVER, chosen_server  # noqa: PLC0415 - at TAB only

    if (state and not server) or server == NO_SERVER or not chosen_server(server):
        return []
    import anyio  # noqa: PLC0415 - same

    from longshore_client.configfile import known_server  # noqa: PLC0415 - same
    from longshore_client.transport import Transport, path  # noqa: PLC0415 - same

    async def ask() -> Any:
        known = known_server(server)
        transport = Transport(known.url, known.token)
        try:
            with anyio.fail_after(_LIMIT):
                return await transport.json("GET", path(noun))
        finally:
            await transport.close()

    return list(anyio.run(ask)["items"])
