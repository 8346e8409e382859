"""Plans: every byte that an attempt may move, as tickets that are stored and then signed."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from longshore.clock import Clock
from longshore.errors import NotFound, Problem, TooLarge
from longshore.inputs import INPUTS
from longshore.keys import attempt_key, input_key, output_key
from longshore.models import LOG_CAP, Input, InputKind, Job, Workflow
from longshore.storages.abc import NamesSigner, SizesParts, StorageBackend
from longshore.stores.abc import Store
from longshore.transfer import (
    Audience,
    PlannedInput,
    PlannedOutput,
    SignedUpload,
    Transfer,
    TransferKind,
    TransferPlan,
)
from longshore.uploads import abort_uploads

#: how long a plan is valid; it is signed anew at half of it
PLAN_LIFE = timedelta(hours=24)
_MANIFEST_MAX_SIZE = 4 * 1024**2
#: parts of all outputs of an attempt: a plan of so many is half of what a Secret may hold
MOST_PARTS = 8000
#: what sets their size: each output may have one more than its share, which is a short one
_WHOLE_PARTS = 7000


class Plans:
    """Makes and renews the transfers of attempts."""

    def __init__(self, store: Store, storage: StorageBackend, clock: Clock) -> None:
        self._store = store
        self._storage = storage
        self._clock = clock

    async def prepare(self, job: Job, workflow: Workflow) -> TransferPlan:
        """Return the plan of the job's present attempt; its tickets are stored.

        A repeated call uses the tickets that are there: an engine may have a plan made of them.

        Raises:
            NotFound: an input is not in the storage.
        """
        transfers = await self._store.transfers(job.id, job.attempt)
        if not transfers:
            if job.attempt > 1:
                await abort_uploads(self._store, self._storage, job, before=job.attempt)
            least = _least_part(workflow)
            rows = self._rows(job, workflow)
            transfers = tuple([await self._open(job, *row, least) for row in rows])
            await self._store.put_transfers(transfers)
        return await self.sign(job, workflow, transfers)

    def _rows(self, job: Job, workflow: Workflow) -> Iterator[tuple[TransferKind, str, str, int]]:
        instance = self._store.instance
        for output in workflow.outputs.values():
            key = output_key(instance, job, output.name)
            yield TransferKind.OUTPUT, output.name, key, output.max_size
        yield TransferKind.LOG, "log", attempt_key(instance, job, "log"), LOG_CAP
        manifest = attempt_key(instance, job, "manifest.json")
        yield TransferKind.MANIFEST, "manifest", manifest, _MANIFEST_MAX_SIZE

    async def _open(
        self, job: Job, kind: TransferKind, name: str, key: str, max_size: int, least: int
    ) -> Transfer:
        ticket = await self._storage.prepare_upload(key, max_size=max_size, least_part=least)
        return Transfer(job_id=job.id, attempt=job.attempt, kind=kind, name=name, ticket=ticket)

    async def sign(
        self, job: Job, workflow: Workflow, transfers: tuple[Transfer, ...]
    ) -> TransferPlan:
        """Return a plan of stored tickets, valid for ``PLAN_LIFE`` from now or what signing allows.

        Raises:
            NotFound: an input is not in the storage.
        """
        uploads: Mapping[tuple[TransferKind, str], SignedUpload] = {
            (one.kind, one.name): await self._storage.sign_upload(
                one.ticket, audience=Audience.JOB, expires=PLAN_LIFE
            )
            for one in transfers
        }
        inputs = tuple([await self._planned(job, one) for one in _carried(job, workflow)])
        ends = [part.expires_at for one in uploads.values() for part in one.parts[:1]]
        ends += [one.request.expires_at for one in inputs]
        return TransferPlan(
            job_id=job.id,
            attempt=job.attempt,
            inputs=inputs,
            outputs=tuple(
                PlannedOutput(name=name, upload=upload)
                for (kind, name), upload in uploads.items()
                if kind is TransferKind.OUTPUT
            ),
            log=uploads[TransferKind.LOG, "log"],
            manifest=uploads[TransferKind.MANIFEST, "manifest"],
            valid_until=min(ends),
        )

    def due(self, plan: TransferPlan) -> datetime:
        """Return when a plan is to be renewed: when half of its life is over."""
        now = self._clock.now()
        return now + (plan.valid_until - now) / 2

    async def signer(self) -> str | None:
        """Return what changes when plans that were signed before may no longer be good."""
        return await self._storage.signer() if isinstance(self._storage, NamesSigner) else None

    async def _planned(self, job: Job, declared: Input) -> PlannedInput:
        key = input_key(self._store.instance, job, declared.name)
        stored = await self._storage.stat(key)
        if stored is None:
            raise NotFound(f"input {declared.name!r} is not in the storage")
        request = await self._storage.sign_read(key, audience=Audience.JOB, expires=PLAN_LIFE)
        return PlannedInput(
            name=declared.name,
            request=request,
            size=stored.size,
            sha256=stored.sha256 or await self._said(job, declared),
        )

    async def _said(self, job: Job, declared: Input) -> str | None:
        """Return the sha256 that the consumer told: the mover verifies it."""
        for one in await self._store.transfers(job.id, INPUTS):
            if one.name == declared.name:
                return one.receipt.sha256
        return None


def too_large(workflow: Workflow, storage: StorageBackend) -> Iterator[Problem]:
    """Yield the outputs of which no plan could be made, by where they are declared."""
    if not isinstance(storage, SizesParts):
        return
    parts, least = 0, _least_part(workflow)
    for output in workflow.outputs.values():
        try:
            size = storage.part_size(output.max_size, least_part=least)
        except TooLarge as exc:
            where = f"{workflow.id}: outputs.{output.name}.max_size"
            yield Problem(where, f"{exc.message}; declare less")
        else:
            parts += max(1, -(-output.max_size // size))
    if parts > MOST_PARTS:
        message = f"need {parts} parts together, and a plan has {MOST_PARTS}: declare less max_size"
        yield Problem(f"{workflow.id}: outputs", message)


def _least_part(workflow: Workflow) -> int:
    """Return the size that parts must have for all outputs together to have few enough."""
    return -(-sum(one.max_size for one in workflow.outputs.values()) // _WHOLE_PARTS) or 1


def _carried(job: Job, workflow: Workflow) -> list[Input]:
    """Return the inputs that a mover carries: those that came, less the variables."""
    return [
        declared
        for declared in workflow.inputs.values()
        if declared.name in job.inputs and declared.kind is not InputKind.ENV
    ]
