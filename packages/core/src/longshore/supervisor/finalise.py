"""The end of an attempt: its manifest is read, its uploads are committed, and the job is final."""

from collections.abc import Mapping, Sequence

import attrs

from longshore.deadlines import verdict
from longshore.errors import DataRefused, NotFound
from longshore.jobs import Step
from longshore.ledger import Ledger
from longshore.lifecycle import JobState
from longshore.models import Job, Output, OutputKind, Product, Reason, Workflow
from longshore.reasons import reason
from longshore.staging.manifest import Manifest, ManifestEntry, decode_manifest
from longshore.storages.abc import StorageBackend
from longshore.stores.abc import Store
from longshore.transfer import StoredObject, Transfer, TransferKind, TransferState, UploadReceipt

_MEDIA_TYPES = {
    OutputKind.FILE: "application/octet-stream",
    OutputKind.ARCHIVE: "application/gzip",
}


class Finaliser:
    """Makes jobs that are STAGING_OUT final. Everything it does may be done again."""

    def __init__(self, store: Store, storage: StorageBackend, ledger: Ledger) -> None:
        self._store = store
        self._storage = storage
        self._ledger = ledger

    async def finalise(self, job: Job, workflow: Workflow, lack: str = "") -> Job:
        """Commit what the attempt's manifest says, and return the final job.

        Call it when the engine is done with the attempt: what is not sent by then never comes.
        SUCCEEDED guarantees that the worker ended with 0 before anyone asked it to stop, and that
        every required output is committed, whole and with its checksum. ``lack`` is what the engine
        knows of results that never came.

        Raises:
            StorageUnavailable: nothing is decided; call it again.
        """
        transfers = await self._store.transfers(job.id, job.attempt)
        manifest = await self._manifest(transfers)
        done: Sequence[Transfer] = transfers
        products: Sequence[Product] = ()
        problems: Mapping[str, Reason] = {}
        if manifest is not None:
            done, products, problems = await self._commit(manifest, transfers, workflow)
        target, why = verdict(job)
        if target is JobState.SUCCEEDED:
            why = _shortcoming(manifest, workflow, products, problems, lack)
            target = JobState.SUCCEEDED if why is None else JobState.FAILED
        step = Step(target, {"products": tuple(products), "reason": why})
        return await self._ledger.change(
            job.id, lambda now: None if now.is_final else step, transfers=done
        )

    async def _manifest(self, transfers: Sequence[Transfer]) -> Manifest | None:
        for one in transfers:
            if one.kind is TransferKind.MANIFEST:
                try:
                    await self._storage.commit(one.ticket, UploadReceipt())
                    read = self._storage.read(one.ticket.key)
                    return decode_manifest(b"".join([chunk async for chunk in read]))
                except (NotFound, DataRefused):
                    return None
        return None

    async def _commit(
        self, manifest: Manifest, transfers: Sequence[Transfer], workflow: Workflow
    ) -> tuple[list[Transfer], list[Product], dict[str, Reason]]:
        sent = {(TransferKind.OUTPUT, entry.name): entry for entry in manifest.outputs}
        if manifest.log is not None:
            sent[TransferKind.LOG, "log"] = manifest.log
        problems = {
            one.name: reason(one.code, f"{one.name}: {one.message}") for one in manifest.problems
        }
        done: list[Transfer] = []
        products: list[Product] = []
        for one in transfers:
            entry = sent.get((one.kind, one.name))
            state = TransferState.COMMITTED
            if entry is not None:
                try:
                    stored = await self._storage.commit(one.ticket, _receipt(entry))
                except (NotFound, DataRefused) as exc:
                    problems[one.name] = reason("output-unavailable", f"{one.name}: {exc.message}")
                    entry = None
                else:
                    if one.kind is TransferKind.OUTPUT:
                        products.append(_product(stored, entry, workflow.outputs[one.name]))
            if entry is None and one.kind is not TransferKind.MANIFEST:
                await self._storage.abort(one.ticket)
                state = TransferState.ABORTED
            done.append(attrs.evolve(one, state=state))
        return done, products, problems


def _receipt(entry: ManifestEntry) -> UploadReceipt:
    return UploadReceipt(size=entry.size, sha256=entry.sha256, parts=entry.parts)


def _product(stored: StoredObject, entry: ManifestEntry, declared: Output) -> Product:
    return Product(
        name=declared.name,
        size=stored.size,
        sha256=stored.sha256 or entry.sha256,
        media_type=declared.media_type or _MEDIA_TYPES[declared.kind],
    )


def _shortcoming(
    manifest: Manifest | None,
    workflow: Workflow,
    products: Sequence[Product],
    problems: Mapping[str, Reason],
    lack: str,
) -> Reason | None:
    """Return why a worker that ended with 0 did not succeed; None where it did."""
    if manifest is None:
        return reason("manifest-missing", lack)
    there = {product.name for product in products}
    for output in workflow.outputs.values():
        if output.required and output.name not in there:
            return problems.get(output.name, reason("output-missing", output.name))
    return None
