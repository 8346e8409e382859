"""What a consumer can do with jobs: submit, feed, start, watch, stop, read and purge.

All writes of job state go through its ledger, here and from the supervisor.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from datetime import datetime
from functools import partial
from urllib.parse import unquote

import attrs

from longshore import decisions
from longshore.clock import Clock
from longshore.codec import is_text
from longshore.errors import Conflict, Denied, IdempotencyConflict, NotFound, RequestInvalid
from longshore.eventlog import EventLog
from longshore.ids import new_id
from longshore.inputs import CONSUMER_URL_LIFE, Inputs, InputState
from longshore.jobs import Step
from longshore.keys import attempt_key, output_key
from longshore.ledger import Ledger
from longshore.models import (
    SERVICE,
    Agreement,
    InlineInput,
    Job,
    JobEvent,
    JobRequest,
    JobState,
    Workflow,
)
from longshore.policy import Deny, covers, decide, standing
from longshore.preconditions import unchanged
from longshore.queueing import QueuePlaces
from longshore.storages.abc import StorageBackend
from longshore.stores.abc import JobQuery, Store
from longshore.stores.listing import JobRow
from longshore.submissions import Submission, fingerprint, is_awaited, refusal
from longshore.suggestions import did_you_mean
from longshore.transfer import (
    Audience,
    SignedRequest,
    SignedUpload,
    Transfer,
    TransferState,
    UploadReceipt,
)
from longshore.uploads import abort_uploads, drop_bytes

PURGED = "BytesPurged"
_BESIDE = (("log", "log"), ("manifest", "manifest.json"))
#: the largest number that stores have
_LAST = 2**63 - 1


class JobService:
    """The consumer's side of a store, a storage and a ledger. It knows no engine.

    ``tenant`` is whose jobs are meant: what belongs to another tenant does not exist; None, where
    a method takes it, is the provider, who sees all. ``by`` is who asks, a token's id, and is kept
    in the event. ``agreement`` is what the tenant acts under; None (embedded, or the provider)
    allows everything. ``expected`` is the ``seq`` of the job that the caller has seen: of a job
    that is at another one nothing is changed, and ``PreconditionFailed`` is raised.
    """

    def __init__(
        self,
        store: Store,
        storage: StorageBackend,
        ledger: Ledger,
        log: EventLog,
        clock: Clock,
        *,
        default_backend: str = "local",
        make_id: Callable[[datetime], str] = new_id,
    ) -> None:
        self._store = store
        self._storage = storage
        self._ledger = ledger
        self._log = log
        self._clock = clock
        self._default_backend = default_backend
        self._make_id = make_id
        self.inputs = Inputs(store, storage, ledger)
        self.queue = QueuePlaces(store, clock)

    async def workflows(self, agreement: Agreement | None = None) -> tuple[Workflow, ...]:
        """Return the workflows that are offered and that the agreement covers, by id."""
        return tuple(one for one in await self._store.workflows() if covers(agreement, one.id))

    async def workflow(self, workflow_id: str, agreement: Agreement | None = None) -> Workflow:
        """Return the version of a workflow that is offered.

        Raises:
            NotFound: there is none that the agreement covers; the message has the nearest name.
        """
        is_known = is_text(workflow_id) and covers(agreement, workflow_id)
        found = await self._store.workflow(workflow_id) if is_known else None
        if found is None:
            guess = did_you_mean(workflow_id, [it.id for it in await self.workflows(agreement)])
            raise NotFound(f"there is no workflow {workflow_id!r}{guess}", hint="list workflows")
        return found

    async def submit(
        self,
        tenant: str,
        request: JobRequest,
        *,
        key: str | None = None,
        agreement: Agreement | None = None,
        by: str | None = None,
    ) -> Submission:
        """Keep a job for ``request``; when this returns it is durable and is never lost.

        It starts at once when nothing is left to be uploaded and the request says ``start``. The
        same ``key`` with the same request returns the same job, however often and from wherever.

        Raises:
            NotFound: no such workflow, or the agreement does not cover it.
            Denied: the agreement has not begun, has ended or was revoked: ``reason``.
            RequestInvalid: mistakes in the request, all of them.
            TooLarge: an input is larger than the workflow allows.
            IdempotencyConflict: the key was used with another request.
        """
        if key is not None and not is_text(key):
            raise RequestInvalid("the idempotency key holds half a character (a lone surrogate)")
        if key is not None and (earlier := await self._store.job_by_key(tenant, key)):
            # before anything else: its workflow may have been changed or retired since
            return await self._resume(earlier, request, by)
        workflow = await self.workflow(request.workflow, agreement)
        job = self._draft(tenant, request, workflow, key, agreement)
        uploads = await self.inputs.announce(job, workflow, request)
        waits = any(isinstance(given, InlineInput) for given in request.inputs.values()) or any(
            is_awaited(one, workflow) for one in uploads
        )
        try:
            queue = request.start and not waits
            kept = await self._ledger.open(job, uploads, queue=queue, by=by)
        except Denied:  # the agreement ended in between
            await self._drop(uploads)
            raise
        if kept.id != job.id:  # another submission with this key was faster
            await self._drop(uploads)
            return await self._resume(kept, request, by)
        if kept.state is JobState.CREATED:
            kept = await self._feed(kept, request, workflow, by)
        return Submission(kept, await self._open_uploads(kept, is_new=True), is_new=True)

    async def _drop(self, uploads: Sequence[Transfer]) -> None:
        for one in uploads:
            await self._storage.abort(one.ticket)

    async def _resume(self, job: Job, request: JobRequest, by: str | None) -> Submission:
        """Return a job by its key, and finish its submission where that was cut off."""
        if job.fingerprint != fingerprint(request):
            raise IdempotencyConflict(
                f"the key {job.key!r} belongs to job {job.id}, which was another request",
                hint="use a new key for a new request",
            )
        if job.state is JobState.CREATED:
            await self._check_agreement(job)
            job = await self._feed(job, request, await self.workflow_of(job), by)
        return Submission(job, await self._open_uploads(job, is_new=False), is_new=False)

    async def _check_agreement(self, job: Job) -> None:
        """Let a job that was made before be started only while its agreement holds."""
        if job.agreement is not None:
            agreement = await self._store.agreement(job.agreement)
            if (why := standing(agreement, self._clock.now())) is not None:
                raise refusal(why, job.workflow)

    def _draft(
        self,
        tenant: str,
        request: JobRequest,
        workflow: Workflow,
        key: str | None,
        agreement: Agreement | None,
    ) -> Job:
        now = self._clock.now()
        decision = decide(request, workflow, agreement=agreement, now=now)
        if isinstance(decision, Deny):
            raise refusal(decision, workflow.id)
        return Job(
            id=self._make_id(now),
            tenant=tenant,
            workflow=workflow.id,
            version=workflow.version,
            backend=workflow.backend or self._default_backend,
            created_at=now,
            parameters=decision.parameters,
            resources=decision.resources,
            key=key,
            fingerprint=None if key is None else fingerprint(request),
            agreement=None if agreement is None else agreement.id,
        )

    async def _feed(self, job: Job, request: JobRequest, workflow: Workflow, by: str | None) -> Job:
        """Finish a submission, or one that was cut off: what came inline, then the start."""
        for name, given in request.inputs.items():
            if isinstance(given, InlineInput):
                job = await self.inputs.put(job, workflow, name, _whole(given.content), by=by)
        transfers = await self._store.transfers(job.id, 0)
        if request.start and not any(
            is_awaited(one, workflow) and one.name not in job.inputs for one in transfers
        ):
            job = await self._ledger.change(job.id, lambda now: decisions.on_start(now, by))
        return job

    async def _open_uploads(self, job: Job, *, is_new: bool) -> dict[str, SignedUpload]:
        if job.state is not JobState.CREATED:
            return {}
        return {
            one.name: await self.inputs.sign(job, one.name)
            for one in await self._store.transfers(job.id, 0)
            if one.state is TransferState.OPEN
            and (is_new or await self._storage.stat(one.ticket.key) is None)  # see Inputs.state
        }

    async def upload(self, tenant: str, job_id: str, name: str) -> SignedUpload:
        """Return fresh requests for an input that has not come yet.

        Raises:
            NotFound: no such job, or it waits for no such input.
            Conflict: the input is there already.
        """
        return await self.inputs.sign(await self.job(tenant, job_id), name)

    async def input_state(self, tenant: str, job_id: str, name: str) -> InputState:
        """Return where an input is; see ``Inputs.state``."""
        return await self.inputs.state(await self.job(tenant, job_id), name)

    async def complete_input(
        self,
        tenant: str,
        job_id: str,
        name: str,
        receipt: UploadReceipt,
        *,
        by: str | None = None,
    ) -> Job:
        """Commit an input that was uploaded; see ``Inputs.complete``."""
        job = await self.job(tenant, job_id)
        return await self.inputs.complete(job, await self.workflow_of(job), name, receipt, by=by)

    async def put_input(
        self,
        tenant: str,
        job_id: str,
        name: str,
        data: AsyncIterable[bytes],
        *,
        by: str | None = None,
    ) -> Job:
        """Keep an input that comes through this process; see ``Inputs.put``."""
        job = await self.job(tenant, job_id)
        return await self.inputs.put(job, await self.workflow_of(job), name, data, by=by)

    async def start(
        self, tenant: str, job_id: str, *, by: str | None = None, expected: int | None = None
    ) -> Job:
        """Queue a job whose inputs are there; repeatable.

        Raises:
            Denied: the agreement under which it was made holds no longer.
            InputsMissing: they are not; ``missing`` names them.
        """
        job = unchanged(await self.job(tenant, job_id), expected)
        if job.state is not JobState.CREATED:
            return job
        await self._check_agreement(job)
        fed = await self.inputs.complete_all(job, await self.workflow_of(job), by=by)
        if expected is not None and fed.state is JobState.CREATED:
            expected = fed.seq  # what has come since is of this start, or of another's same step
        return await self._ledger.change(
            job_id, lambda now: decisions.on_start(unchanged(now, expected), by)
        )

    async def cancel(
        self, tenant: str | None, job_id: str, *, by: str | None = None, expected: int | None = None
    ) -> Job:
        """Ask that a job end; durable when it returns, and repeatable.

        A job that no engine has is CANCELED at once; otherwise its end follows within the grace
        and the margin of ``Limits``. A job that ended is returned as it is.
        """
        await self.job(tenant, job_id)
        at, who = self._clock.now(), by or tenant or SERVICE
        stop = partial(decisions.on_stop, by=who, why="cancel", at=at)
        job = await self._ledger.change(job_id, lambda now: stop(unchanged(now, expected)))
        if job.is_final:
            await abort_uploads(self._store, self._storage, job)
        return job

    async def job(self, tenant: str | None, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFound: the tenant has no such job.
        """
        job = await self._store.job(job_id) if is_text(job_id) else None
        if job is None or tenant not in {None, job.tenant}:
            raise NotFound(f"there is no job {job_id!r}", hint="list the jobs")
        return job

    async def jobs(self, tenant: str | None, query: JobQuery) -> tuple[Job, ...]:
        """Return a page of the tenant's jobs, newest first."""
        return await self._store.jobs(attrs.evolve(query, tenant=tenant))

    async def listing(self, tenant: str | None, query: JobQuery) -> list[JobRow]:
        """Return a page of the tenant's jobs, newest first, as rows for a list."""
        return await self._store.listing(attrs.evolve(query, tenant=tenant))

    async def workflow_of(self, job: Job) -> Workflow:
        """Return the version of the workflow that the job was made with."""
        workflow = await self._store.workflow(job.workflow, job.version)
        if workflow is None:
            raise NotFound(f"workflow {job.workflow!r} version {job.version} is gone")
        return workflow

    async def events(
        self, tenant: str | None, job_id: str, *, after: int = 0, limit: int = 1000
    ) -> list[JobEvent]:
        """Return a page of a job's events, in order."""
        await self.job(tenant, job_id)
        return await self._store.events(job_id, after=min(after, _LAST), limit=limit)

    async def follow(self, tenant: str, job_id: str, *, after: int = 0) -> AsyncIterator[JobEvent]:
        """Yield a job's events as they come, to its final state."""
        await self.job(tenant, job_id)
        async for event in self._log.follow(job_id, after=after):
            yield event

    async def read_output(self, tenant: str, job_id: str, name: str) -> AsyncIterator[bytes]:
        """Yield the bytes of an output through this process.

        Raises:
            NotFound: no such output, or it is not committed and released.
        """
        async for chunk in self._storage.read(await self._output_key(tenant, job_id, name)):
            yield chunk

    async def output(self, tenant: str, job_id: str, name: str) -> SignedRequest:
        """Return a request that reads an output.

        Raises:
            NotFound: no such output, or it is not committed and released.
        """
        return await self._storage.sign_read(
            await self._output_key(tenant, job_id, name),
            audience=Audience.CONSUMER,
            expires=CONSUMER_URL_LIFE,
        )

    async def places(self, tenant: str, job_id: str) -> dict[str, str]:
        """Return where the bytes of a final job lie, for people: URLs without what is signed."""
        job = await self.job(tenant, job_id)
        instance = self._store.instance
        keys = {one.name: output_key(instance, job, one.name) for one in job.products}
        keys |= {name: attempt_key(instance, job, file) for name, file in _BESIDE}
        found: dict[str, str] = {}
        for name, key in keys.items():
            if await self._storage.stat(key) is not None:
                request = await self._storage.sign_read(
                    key, audience=Audience.SERVICE, expires=CONSUMER_URL_LIFE
                )
                url = request.url.partition("?")[0]
                path = url.removeprefix("file://")
                found[name] = url if path == url else unquote(path)
        return found

    async def _output_key(self, tenant: str, job_id: str, name: str) -> str:
        job = await self.job(tenant, job_id)
        if job.purged or name not in {product.name for product in job.products}:
            raise NotFound(f"job {job_id} has no output {name!r}", hint="look at its outputs")
        return output_key(self._store.instance, job, name)

    async def purge(
        self, tenant: str | None, job_id: str, *, by: str | None = None, expected: int | None = None
    ) -> Job:
        """Delete a final job's bytes; the record and its history stay. Repeatable.

        Raises:
            Conflict: the job is not final.
        """
        job = unchanged(await self.job(tenant, job_id), expected)
        if not job.is_final:
            raise Conflict(f"job {job_id} is {job.state}", hint="cancel it first")
        mark = Step(None, {"purged": True}, PURGED, by)
        await drop_bytes(self._store, self._storage, job)
        job = await self._ledger.change(
            job_id, lambda now: None if unchanged(now, expected).purged else mark
        )
        await drop_bytes(self._store, self._storage, job)  # what came before the mark was seen
        return job


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
