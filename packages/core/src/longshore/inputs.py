"""What a job waits for: uploads that are opened, received and checked before it starts."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import timedelta

import attrs

from longshore.dotenv import parse_dotenv
from longshore.errors import (
    Conflict,
    DataRefused,
    InputsMissing,
    NotFound,
    RequestInvalid,
    TooLarge,
)
from longshore.jobs import Step
from longshore.keys import input_key
from longshore.ledger import Ledger
from longshore.models import (
    AnnouncedInput,
    InlineInput,
    Input,
    InputKind,
    Job,
    JobRequest,
    JobState,
    Workflow,
)
from longshore.quantities import format_size
from longshore.storages.abc import StorageBackend
from longshore.stores.abc import Store
from longshore.transfer import (
    Audience,
    SentPart,
    SignedUpload,
    Transfer,
    TransferKind,
    TransferState,
    UploadReceipt,
    is_whole,
)

RECEIVED = "InputReceived"
#: consumers' URLs live this long and are signed anew on request
CONSUMER_URL_LIFE = timedelta(minutes=15)
#: the attempt under which a job's inputs are kept
INPUTS = 0


@attrs.frozen
class InputState:
    """``received``, ``uploaded`` (all is there, and not checked) or ``missing``.

    ``sent`` has arrived; ``upload`` sends the rest.
    """

    state: str
    sent: tuple[SentPart, ...] = ()
    upload: SignedUpload | None = None


class Inputs:
    """The inputs of jobs that have not started."""

    def __init__(self, store: Store, storage: StorageBackend, ledger: Ledger) -> None:
        self._store = store
        self._storage = storage
        self._ledger = ledger

    async def announce(
        self, job: Job, workflow: Workflow, request: JobRequest
    ) -> tuple[Transfer, ...]:
        """Return an upload for every declared input that did not come with the request."""
        return tuple(
            [
                await self._open(job, declared, request.inputs.get(declared.name))
                for declared in workflow.inputs.values()
                if not isinstance(request.inputs.get(declared.name), InlineInput)
            ]
        )

    async def _open(
        self, job: Job, declared: Input, announced: InlineInput | AnnouncedInput | None
    ) -> Transfer:
        key = input_key(self._store.instance, job, declared.name)
        receipt = UploadReceipt()
        if isinstance(announced, AnnouncedInput):
            receipt = UploadReceipt(size=announced.size, sha256=announced.sha256)
        max_size = declared.max_size if receipt.size is None else receipt.size
        ticket = await self._storage.prepare_upload(key, max_size=max_size)
        return Transfer(
            job_id=job.id,
            attempt=INPUTS,
            kind=TransferKind.INPUT,
            name=declared.name,
            ticket=ticket,
            receipt=receipt,
            announced=isinstance(announced, AnnouncedInput),
        )

    async def sign(self, job: Job, name: str) -> SignedUpload:
        """Return fresh requests for an input that has not come yet.

        Raises:
            NotFound: the job waits for no such input.
            Conflict: it is there already, or the job has started.
        """
        transfer = await self._expected(job, name)
        if name in job.inputs:
            raise Conflict(f"input {name!r} is there already")
        _check_waiting(job)
        return await self._storage.sign_upload(
            transfer.ticket,
            audience=Audience.CONSUMER,
            expires=CONSUMER_URL_LIFE,
            sha256=transfer.receipt.sha256,
        )

    async def state(self, job: Job, name: str) -> InputState:
        """Return where an input is, with fresh requests where something is missing.

        Raises:
            NotFound: the job waits for no such input.
        """
        if name in job.inputs:
            return InputState("received")
        ticket = (await self._expected(job, name)).ticket
        if job.state is not JobState.CREATED:
            return InputState("missing")
        sent = await self._storage.sent(ticket)
        # a commit that was cut off: the storage has it, and its upload takes nothing any more
        if is_whole(ticket, sent) or (not sent and await self._storage.stat(ticket.key)):
            return InputState("uploaded", sent)
        return InputState("missing", sent, await self.sign(job, name))

    async def _expected(self, job: Job, name: str) -> Transfer:
        for transfer in await self._store.transfers(job.id, INPUTS):
            if transfer.name == name:
                return transfer
        raise NotFound(f"job {job.id} waits for no input {name!r}")

    async def put(
        self,
        job: Job,
        workflow: Workflow,
        name: str,
        data: AsyncIterable[bytes],
        *,
        by: str | None = None,
    ) -> Job:
        """Keep an input that comes through this process; return the job that has it.

        Raises:
            NotFound: the workflow has no such input.
            Conflict: the job has started without it.
            TooLarge: more bytes than the workflow allows; nothing is kept.
            RequestInvalid: an env input with lines or names that are not allowed.
        """
        declared = workflow.inputs.get(name)
        if declared is None:
            raise NotFound(f"workflow {workflow.id!r} has no input {name!r}")
        if name in job.inputs:
            return job
        _check_waiting(job)
        key = input_key(self._store.instance, job, name)
        await self._storage.write(key, _bounded(data, declared))
        if declared.kind is InputKind.ENV:
            try:
                await self.environment(job, declared)
            except RequestInvalid:
                await self._storage.delete(key)
                raise
        opened = [one for one in await self._store.transfers(job.id, INPUTS) if one.name == name]
        for one in opened:
            await self._storage.abort(one.ticket)
        done = [attrs.evolve(one, state=TransferState.COMMITTED) for one in opened]
        return await self._received(job, name, done, by)

    async def complete(
        self,
        job: Job,
        workflow: Workflow,
        name: str,
        receipt: UploadReceipt,
        *,
        by: str | None = None,
    ) -> Job:
        """Commit an uploaded input, and check it; return the job that has it.

        Raises:
            NotFound: the job waits for no such input.
            InputsMissing: nothing was uploaded, or not all.
            Conflict: the job has started without it.
            DataRefused: it is not what was announced, or larger than the workflow allows.
            RequestInvalid: an env input with lines or names that are not allowed.
        """
        if name in job.inputs:
            return job
        _check_waiting(job)
        transfer = await self._expected(job, name)
        said = attrs.evolve(
            transfer.receipt,
            size=transfer.receipt.size if receipt.size is None else receipt.size,
            sha256=transfer.receipt.sha256 or receipt.sha256,
            parts=receipt.parts,
        )
        if transfer.receipt.size not in (None, said.size):
            raise DataRefused(f"input {name!r} was announced with {transfer.receipt.size} bytes")
        try:
            await self._storage.commit(transfer.ticket, said)
        except NotFound as exc:
            raise InputsMissing([name]) from exc
        if workflow.inputs[name].kind is InputKind.ENV:
            await self._check_env(job, workflow.inputs[name], transfer)
        done = attrs.evolve(transfer, state=TransferState.COMMITTED)
        return await self._received(job, name, (done,), by)

    async def _check_env(self, job: Job, declared: Input, transfer: Transfer) -> None:
        try:
            await self.environment(job, declared)
        except RequestInvalid:
            await self._storage.delete(transfer.ticket.key)
            announced = AnnouncedInput() if transfer.announced else None
            await self._store.put_transfers([await self._open(job, declared, announced)])
            raise

    async def environment(self, job: Job, declared: Input) -> dict[str, str]:
        """Return the variables of an env input that is there.

        Raises:
            RequestInvalid: lines or names that are not allowed.
        """
        key = input_key(self._store.instance, job, declared.name)
        content = b"".join([chunk async for chunk in self._storage.read(key)])
        return parse_dotenv(content, declared.names)

    async def _received(
        self, job: Job, name: str, transfers: Sequence[Transfer], by: str | None
    ) -> Job:
        def receive(now: Job) -> Step | None:
            if name in now.inputs or now.is_final:
                return None
            _check_waiting(now)
            return Step(None, {"inputs": (*now.inputs, name)}, RECEIVED, by)

        job = await self._ledger.change(job.id, receive, transfers=transfers)
        if job.purged:  # while these bytes came: nobody else will look for them
            await self._storage.delete(input_key(self._store.instance, job, name))
        return job

    async def complete_all(self, job: Job, workflow: Workflow, *, by: str | None = None) -> Job:
        """Commit what was uploaded and is evidently whole, before a start.

        Raises:
            InputsMissing: an input that is required or was announced is not there.
            DataRefused: one is not what was announced; the others are kept.
        """
        missing: list[str] = []
        for transfer in await self._store.transfers(job.id, INPUTS):
            if job.state is not JobState.CREATED:  # somebody else was faster
                return job
            declared = workflow.inputs[transfer.name]
            sent = await self._storage.sent(transfer.ticket)
            if sent and not is_whole(transfer.ticket, sent):  # its sender says when it is
                missing.append(transfer.name)
                continue
            try:
                job = await self.complete(job, workflow, transfer.name, UploadReceipt(), by=by)
            except InputsMissing:
                if declared.required or transfer.announced:
                    missing.append(transfer.name)
        if missing:
            raise InputsMissing(missing)
        return job


def _check_waiting(job: Job) -> None:
    if job.state is not JobState.CREATED:
        raise Conflict(f"job {job.id} is {job.state}: it takes no inputs any more")


async def _bounded(data: AsyncIterable[bytes], declared: Input) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in data:
        size += len(chunk)
        if size > declared.max_size:
            raise TooLarge(
                f"input {declared.name!r} has more than {format_size(declared.max_size)}",
                hint="send less",
            )
        yield chunk
