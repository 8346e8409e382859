"""Several pieces of one work at once."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def each(items: Iterable[T], work: Callable[[T], Awaitable[None]], limit: int) -> None:
    """Do ``work`` for every item, for at most ``limit`` at once.

    Raises:
        Exception: the first that ``work`` raises, as it is; what else is going on is cancelled.
    """
    waiting = iter(items)
    failed: list[Exception] = []

    async def worker() -> None:
        for item in waiting:
            try:
                await work(item)
            except Exception as error:  # noqa: BLE001 - raised below, out of the group
                failed.append(error)
                tasks.cancel_scope.cancel()
                return

    async with anyio.create_task_group() as tasks:
        for _ in range(limit):
            tasks.start_soon(worker)
    if failed:
        raise failed[0]
