"""Jobs and transfers for the tests of stores, and the two ways to write them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import attrs

from longshore.ids import new_id
from longshore.jobs import Step, create, take
from longshore.models import (
    Agreement,
    Job,
    JobEvent,
    StopRequest,
    Token,
)
from longshore.stores.abc import Store
from longshore.transfer import (
    Transfer,
    TransferKind,
    UploadTicket,
)

T0 = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
STOP = StopRequest(by="acme", why="cancel", at=T0)


def make_job(number: int = 0, /, **fields: object) -> Job:
    """Return a job that was created ``number`` seconds after the first; its id sorts so, too."""
    at = T0 + number * SECOND
    job = Job(
        id=new_id(at, lambda _: number),
        tenant="acme",
        workflow="wordcount",
        version="1",
        backend="local",
        created_at=at,
    )
    return attrs.evolve(job, **fields)  # type: ignore[arg-type]  # the caller names fields of Job


def make_transfer(job: Job, name: str = "text", attempt: int = 0, **fields: object) -> Transfer:
    """Return an open upload of ``job``."""
    ticket = UploadTicket(
        id=f"{job.id}-{attempt}-{name}", key=name, upload_id="u", max_size=10, part_size=5
    )
    transfer = Transfer(
        job_id=job.id, attempt=attempt, kind=TransferKind.INPUT, name=name, ticket=ticket
    )
    return attrs.evolve(transfer, **fields)  # type: ignore[arg-type]  # the caller names fields of Transfer


def make_agreement(number: int = 0, /, **fields: object) -> Agreement:
    """Return an agreement that was created ``number`` seconds after the first."""
    at = T0 + number * SECOND
    agreement = Agreement(
        id=new_id(at, lambda _: number | 1 << 40),  # no job has it
        tenant="acme",
        workflows=("wordcount",),
        created_at=at,
    )
    return attrs.evolve(agreement, **fields)  # type: ignore[arg-type]  # the caller names fields of Agreement


def make_token(number: int = 0, /, **fields: object) -> Token:
    """Return a token that was issued ``number`` seconds after the first; its digest is made up."""
    at = T0 + number * SECOND
    token = Token(
        id=new_id(at, lambda _: number),
        digest=f"{number:064x}",
        tenant="acme",
        created_at=at,
    )
    return attrs.evolve(token, **fields)  # type: ignore[arg-type]  # the caller names fields of Token


async def agree(
    store: Store, agreement: Agreement, *tokens: Token, kind: str = "Changed"
) -> Agreement:
    """Put ``agreement`` with one event and ``tokens`` on top of what there is; return it."""
    changed = attrs.evolve(agreement, seq=agreement.seq + 1)
    event = JobEvent(
        job_id=agreement.id, seq=changed.seq, type=kind, at=agreement.created_at, data={"by": "me"}
    )
    await store.put_agreement(changed, [event], expected=agreement.seq, tokens=tokens)
    return changed


async def add(store: Store, job: Job, transfers: Sequence[Transfer] = ()) -> Job:
    """Add ``job`` with the event that makes it, and return what the store returned."""
    born, events = create(job)
    return await store.add(born, events, transfers)


async def move(store: Store, job: Job, step: Step, at: datetime | None = None) -> Job:
    """Save ``step`` on top of ``job``, and return the job after it."""
    changed, events = take(job, step, at or job.created_at)
    await store.save(changed, events, expected=job.seq)
    return changed
