"""Child processes of this machine.

A *keeper* process forks a few *runners*; each runner carries out one attempt after the other and
is the parent of its worker. Neither ends with the service. Everything that must be known of an
attempt lies as files in a directory of its own (``attempts``); what the processes send each other
are hints to look there.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from longshore.backends.local.settings import BackendContext, Isolation, LocalSettings

if TYPE_CHECKING:
    from longshore.backends.local.backend import LocalBackend

__all__ = ["Isolation", "LocalSettings", "open_local"]


@contextlib.asynccontextmanager
async def open_local(
    settings: LocalSettings, context: BackendContext
) -> AsyncIterator["LocalBackend"]:
    """Open the backend on ``context.state`` and take care of every attempt found there.

    Leaving it touches no running job.

    Raises:
        BackendUnavailable: the state directory or the keeper cannot be made.
    """
    # the keeper imports this package too, and needs nothing of the service's side
    from longshore.backends.local.backend import LocalBackend  # noqa: PLC0415 - as said above

    async with LocalBackend(settings, context) as backend:
        yield backend
