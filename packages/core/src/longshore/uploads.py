"""Dropping bytes: uploads that nobody will commit, and all that a job had."""

import attrs

from longshore.keys import job_prefix
from longshore.models import Job
from longshore.storages.abc import StorageBackend
from longshore.stores.abc import Store
from longshore.transfer import TransferState


async def abort_uploads(
    store: Store, storage: StorageBackend, job: Job, *, before: int | None = None
) -> None:
    """Abort the job's open uploads: of attempts ``before`` one, or all with its inputs.

    Repeatable; the rows say ABORTED only after the storage dropped the bytes.
    """
    dropped = [
        one
        for one in await store.transfers(job.id)
        if one.state is TransferState.OPEN and (before is None or 0 < one.attempt < before)
    ]
    for one in dropped:
        await storage.abort(one.ticket)
    if dropped:
        await store.put_transfers(
            [attrs.evolve(one, state=TransferState.ABORTED) for one in dropped]
        )


async def drop_bytes(store: Store, storage: StorageBackend, job: Job) -> None:
    """Delete all bytes of a final job, also those that were sent and never committed."""
    await abort_uploads(store, storage, job)
    await storage.delete(job_prefix(store.instance, job))
