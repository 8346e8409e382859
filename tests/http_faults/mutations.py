"""The service with one protecting rule taken out, or with one of its numbers made small.

Used by the program that ``mutated`` returns: to show that a test would see what is lost, and to
have happen in a second what takes minutes. No product code knows of any of it.
"""

import os
import signal
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
from tests.kill import service as killed

from longshore.errors import StoreUnavailable
from longshore.models import Job, JobEvent
from longshore.storages.local import LocalStorage
from longshore.stores import groupcommit, sqlite
from longshore.stores.sqlite import SQLiteStore
from longshore.supervisor import supervisor as supervising
from longshore.transfer import StoredObject, Transfer, UploadReceipt, UploadTicket
from longshore_api import connection, readiness, server
from longshore_api.gate import Gate
from longshore_api.serve import serve

ROOT = Path(__file__).parents[2]
#: bytes of a part of an upload
PART = 64 * 1024
#: jobs that are announced and not kept
_BEHIND = 4
PATIENCE = connection.Patience(head=0.6, body=0.8, unread=1.0, end=0.6)

_add = SQLiteStore.add
_commit = LocalStorage.commit
_later: list[tuple[Any, ...]] = []


async def answer_first(
    self: SQLiteStore,
    job: Job,
    events: Sequence[JobEvent],
    transfers: Sequence[Transfer] = (),
) -> Job:
    """Say that a job is kept, and keep it when some more have come."""
    _later.append((job, events, transfers))
    if len(_later) > _BEHIND:
        await _add(self, *_later.pop(0))
    return job


async def keep_or_not(
    self: SQLiteStore,
    job: Job,
    events: Sequence[JobEvent],
    transfers: Sequence[Transfer] = (),
) -> Job:
    """Say that a job is kept whether or not it could be."""
    try:
        return await _add(self, job, events, transfers)
    except StoreUnavailable:
        return job


def small_parts() -> None:
    """Send uploads in parts that a test can afford."""
    LocalStorage.__init__.__kwdefaults__["part_size"] = PART  # type: ignore[index]  # it has one


def short_patience() -> None:
    """Look at the connections often, and give their clients little time."""
    server.PATIENCE = PATIENCE
    server.LOOKS = 1


def no_patience() -> None:
    """Let clients take as long as they like, as uvicorn does."""
    server.PATIENCE = connection.Patience(head=1e9, body=1e9, unread=1e9, end=1e9)


async def last_words(
    self: LocalStorage, ticket: UploadTicket, receipt: UploadReceipt
) -> StoredObject:
    """Commit, and be killed before the store hears of it."""
    await _commit(self, ticket, receipt)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("this process is dead")


async def blind(_: LocalStorage, __: str) -> None:
    """See no object."""


_admit = Gate._admit


async def leaky(self: Gate, state: Any, authorization: bytes | None, answer: Any) -> None:
    """Look into the bucket, wait as a store of its own would let one wait, and then take."""
    limiter = self._provider.limiter
    assert limiter is not None
    before = dict(limiter._full_at)
    await anyio.sleep(0.001)
    limiter._full_at = before
    await _admit(self, state, authorization, answer)


def short_busy() -> None:
    """Wait a twentieth of the time for another process that has the state locked."""
    sqlite._BUSY_SECONDS = 0.5
    groupcommit._HELD_UP = 0.1
    readiness.PATIENCE = 0.2
    readiness.FRESH = 0.05


def second_look() -> None:
    """Give an attempt up after two looks: a test has no time for ten seconds between them."""
    supervising.SECOND_LOOK = timedelta(seconds=0.2)


MUTATIONS: dict[str, Callable[[], None]] = {
    "slow-engine": killed.MUTATIONS["slow-engine"],
    "key-later": killed.MUTATIONS["key-later"],
    "answer-first": lambda: setattr(SQLiteStore, "add", answer_first),
    "keep-or-not": lambda: setattr(SQLiteStore, "add", keep_or_not),
    "last-words": lambda: setattr(LocalStorage, "commit", last_words),
    "blind": lambda: setattr(LocalStorage, "stat", blind),
    "leaky-limiter": lambda: setattr(Gate, "_admit", leaky),
    "short-busy": short_busy,
    "small-parts": small_parts,
    "short-patience": short_patience,
    "no-patience": no_patience,
    "second-look": second_look,
}


def mutated(*names: str) -> str:
    """Return a program for ``tests.serving.serving``."""
    return (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        "from tests.http_faults.mutations import main; "
        f"sys.exit(main({names!r}, sys.argv[1:]))"
    )


def main(names: Sequence[str], argv: Sequence[str]) -> int:
    """Apply the mutations, and serve."""
    for name in names:
        MUTATIONS[name]()
    return serve(argv)
