"""Several pieces of one work at once."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def each(
    items: Iterable[T],
    work: Callable[[T], Awaitable[None]],
    limit: int,
    *,
    is_fatal: Callable[[Exception], bool] = lambda _: True,
) -> None:
    """Do ``work`` for every item, for at most ``limit`` at once.

    After an error no further item is begun. What is going on is cancelled where the error
    ``is_fatal``, else it comes to its end.

    Raises:
        Exception: the first that ``work`` raises, as it is; a fatal one before others.
    """
    waiting = iter(items)
    failed: list[Exception] = []

    async def worker() -> None:
        for item in waiting:
            try:
                await work(item)
            except Exception as error:  # noqa: BLE001 - raised below, out of the group
                if is_fatal(error):
                    failed.insert(0, error)
                    tasks.cancel_scope.cancel()
                failed.append(error)
            if failed:
                return

    async with anyio.create_task_group() as tasks:
        for _ in range(limit):
            tasks.start_soon(worker)
    if failed:
        raise failed[0]
