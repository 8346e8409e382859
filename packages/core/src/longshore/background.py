"""Tasks that run beside a block of code, and end with it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def background() -> AsyncIterator[TaskGroup]:
    """Open a task group whose tasks are cancelled when the block ends.

    An exception of the block comes out as it is; a bare task group would wrap it in a group.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except Exception as exc:  # noqa: BLE001 - raised again below, without the group around it
            failure = exc
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
