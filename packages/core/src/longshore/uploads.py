"""Dropping uploads that nobody will commit."""

import attrs

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
