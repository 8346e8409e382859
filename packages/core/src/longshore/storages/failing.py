"""What the operating system says of a storage's directory, as errors of ours."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import anyio.to_thread

from longshore.errors import StorageUnavailable

T = TypeVar("T")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say ``what`` could not be done, and why, where the block raises OSError."""
    try:
        yield
    except OSError as exc:
        full = exc.errno in _FULL
        raise StorageUnavailable(
            f"cannot {what}: {'no space left in the storage' if full else exc.strerror or exc}",
            hint="free space in the storage's directory" if full else "",
        ) from exc


async def run(what: str, function: Callable[..., T], *arguments: object) -> T:
    """Return what the blocking ``function`` returns."""
    return await anyio.to_thread.run_sync(partial(_call, what, function, *arguments))


def _call(what: str, function: Callable[..., T], *arguments: object) -> T:
    with told(what):
        return function(*arguments)
