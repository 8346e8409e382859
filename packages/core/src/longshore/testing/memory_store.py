"""The store of tests and of throw-away services: everything in dictionaries, nothing durable."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import attrs

from longshore.errors import Conflict, Stale
from longshore.lifecycle import ACTIVE, JobState
from longshore.models import (
    SERVICE,
    Agreement,
    Job,
    JobEvent,
    Token,
    Workflow,
)
from longshore.stores.abc import JobQuery, Store, check_open
from longshore.stores.listing import JobRow
from longshore.stores.rows import encode_changes
from longshore.transfer import Transfer

_LISTED = JobRow._fields


class MemoryStore(Store):
    """A store that ends with its process."""

    def __init__(self, instance: str = "memory") -> None:
        self._instance = instance
        self._jobs: dict[str, Job] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._log: list[JobEvent] = []
        self._events: dict[str, list[JobEvent]] = {}
        self._transfers: dict[tuple[str, int, str, str], Transfer] = {}
        self._workflows: dict[tuple[str, str], tuple[Workflow, str]] = {}
        self._offered: dict[str, str] = {}
        self._agreements: dict[str, Agreement] = {}
        self._tokens: dict[str, Token] = {}

    @property
    def instance(self) -> str:
        """The id given at construction."""
        return self._instance

    async def add(
        self, job: Job, events: Sequence[JobEvent], transfers: Sequence[Transfer] = ()
    ) -> Job:
        """Keep the job unless its key is taken, or its agreement is over."""
        if job.agreement is not None:
            agreement = self._agreements.get(job.agreement)
            check_open(agreement.state if agreement else None)
        if job.key is not None and (job.tenant, job.key) in self._keys:
            return self._jobs[self._keys[job.tenant, job.key]]
        if job.id in self._jobs:
            raise Conflict(f"there is a job {job.id} already")
        if job.key is not None:
            self._keys[job.tenant, job.key] = job.id
        self._keep(job, events, transfers)
        return job

    async def save(
        self,
        job: Job,
        events: Sequence[JobEvent],
        *,
        expected: int,
        transfers: Sequence[Transfer] = (),
    ) -> None:
        """Replace by compare-and-swap."""
        if job.id not in self._jobs or self._jobs[job.id].seq != expected:
            raise Stale(f"job {job.id} is no longer at seq {expected}")
        self._keep(job, events, transfers)

    def _keep(self, job: Job, events: Sequence[JobEvent], transfers: Sequence[Transfer]) -> None:
        self._jobs[job.id] = job
        self._record(events)
        self._put(transfers)

    def _record(self, events: Sequence[JobEvent]) -> None:
        for event in events:
            numbered = attrs.evolve(event, position=len(self._log) + 1)
            self._log.append(numbered)
            self._events.setdefault(event.job_id, []).append(numbered)

    def _put(self, transfers: Sequence[Transfer]) -> None:
        for transfer in transfers:
            key = (transfer.job_id, transfer.attempt, str(transfer.kind), transfer.name)
            self._transfers[key] = transfer

    async def put_transfers(self, transfers: Sequence[Transfer]) -> None:
        """Add or replace."""
        self._put(transfers)

    async def transfers(self, job_id: str, attempt: int | None = None) -> tuple[Transfer, ...]:
        """Filter by job, and attempt where given."""
        return tuple(
            transfer
            for key, transfer in sorted(self._transfers.items(), key=lambda item: item[0])
            if key[0] == job_id and attempt in (None, key[1])
        )

    async def job(self, job_id: str) -> Job | None:
        """Look up."""
        return self._jobs.get(job_id)

    async def job_by_key(self, tenant: str, key: str) -> Job | None:
        """Look up."""
        return self._jobs.get(self._keys.get((tenant, key), ""))

    async def jobs(self, query: JobQuery) -> tuple[Job, ...]:
        """Filter, newest first."""
        found = self._where(
            lambda job: (
                query.tenant in (None, job.tenant)
                and query.workflow in (None, job.workflow)
                and query.agreement in (None, job.agreement)
                and query.purged in (None, job.purged)
                and (not query.states or job.state in query.states)
                and (query.before is None or job.id < query.before)
            )
        )
        return tuple(sorted(found, key=lambda job: job.id, reverse=True)[: query.limit])

    async def listing(self, query: JobQuery) -> list[JobRow]:
        """Encode what ``jobs`` returns."""
        found = await self.jobs(query)
        encoded = [encode_changes({name: getattr(job, name) for name in _LISTED}) for job in found]
        return [JobRow._make(one.values()) for one in encoded]

    async def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        """Slice the job's events: seq n is at place n - 1."""
        return self._events.get(job_id, [])[after : after + limit]

    async def log(self, *, after: int, limit: int = 1000) -> list[JobEvent]:
        """Slice the log: position n is at place n - 1."""
        return self._log[after : after + limit]

    async def counts(self) -> dict[JobState, int]:
        """Count."""
        return dict(Counter(job.state for job in self._jobs.values()))

    async def position(self) -> int:
        """Count."""
        return len(self._log)

    def _where(self, holds: Callable[[Job], bool]) -> Iterator[Job]:
        return filter(holds, [self._jobs[key] for key in sorted(self._jobs)])

    async def waiting(self, backend: str, *, limit: int) -> tuple[Job, ...]:
        """Filter, oldest first."""
        found = self._where(lambda job: job.backend == backend and _is_waiting(job))
        return tuple(found)[:limit]

    async def stopping(self, backend: str, *, limit: int) -> tuple[Job, ...]:
        """Filter, oldest first."""
        found = self._where(
            lambda job: (
                job.backend == backend
                and job.stop is not None
                and job.dispatched
                and job.state in ACTIVE - {JobState.STAGING_OUT}
            )
        )
        return tuple(found)[:limit]

    async def waiting_ids(self, backend: str, *, limit: int) -> list[str]:
        """Filter, oldest first."""
        return [job.id for job in await self.waiting(backend, limit=limit)]

    async def unfinished(self, backend: str, *, after: str = "", limit: int = 1000) -> list[Job]:
        """Filter by id."""
        found = self._where(
            lambda job: job.backend == backend and job.state in ACTIVE and job.id > after
        )
        return list(found)[:limit]

    async def due(self, now: datetime, *, limit: int = 100) -> tuple[Job, ...]:
        """Filter by deadline."""
        found = self._where(lambda job: job.next_by is not None and job.next_by <= now)
        return tuple(sorted(found, key=lambda job: job.next_by or now)[:limit])

    async def next_due(self) -> datetime | None:
        """Find the earliest deadline."""
        return min((job.next_by for job in self._jobs.values() if job.next_by), default=None)

    async def put_workflow(self, workflow: Workflow, *, origin: str) -> None:
        """Keep and offer; a used version never changes."""
        key = (workflow.id, workflow.version)
        if key in self._workflows:
            kept = attrs.evolve(self._workflows[key][0], directory=None)
            used = any((job.workflow, job.version) == key for job in self._jobs.values())
            if used and kept != attrs.evolve(workflow, directory=None):
                raise Conflict(
                    f"workflow {workflow.id} version {workflow.version} was used by a job "
                    "and cannot be changed",
                    hint="give the changed definition another version",
                )
        self._workflows[key] = (workflow, origin)
        self._offered[workflow.id] = workflow.version

    async def retire_workflow(self, workflow_id: str) -> None:
        """Offer no version of it."""
        self._offered.pop(workflow_id, None)

    async def workflow(self, workflow_id: str, version: str | None = None) -> Workflow | None:
        """Look up a version, or the offered one."""
        found = self._workflows.get((workflow_id, version or self._offered.get(workflow_id, "")))
        return found[0] if found else None

    async def workflows(self, *, origin: str | None = None) -> tuple[Workflow, ...]:
        """List what is offered."""
        found = (self._workflows[item] for item in sorted(self._offered.items()))
        return tuple(workflow for workflow, source in found if origin in (None, source))

    async def put_agreement(
        self,
        agreement: Agreement,
        events: Sequence[JobEvent],
        *,
        expected: int,
        tokens: Sequence[Token] = (),
    ) -> None:
        """Replace by compare-and-swap."""
        kept = self._agreements.get(agreement.id)
        if (kept.seq if kept else 0) != expected:
            raise Stale(f"agreement {agreement.id} is no longer at seq {expected}")
        self._agreements[agreement.id] = agreement
        self._record(events)
        self._tokens |= {token.id: token for token in tokens}

    async def agreement(self, agreement_id: str) -> Agreement | None:
        """Look up."""
        return self._agreements.get(agreement_id)

    async def agreements(
        self, *, tenant: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[Agreement, ...]:
        """Filter, newest first."""
        found = (self._agreements[key] for key in sorted(self._agreements, reverse=True))
        return tuple(
            one
            for one in found
            if tenant in (None, one.tenant)
            and one.id != SERVICE
            and (before is None or one.id < before)
        )[:limit]

    async def agreements_due(self, until: datetime) -> tuple[Agreement, ...]:
        """Filter, oldest first."""
        due = [one for one in self._agreements.values() if one.due_at and one.due_at <= until]
        return tuple(sorted(due, key=lambda one: one.due_at or until))

    async def token(self, token_id: str) -> Token | None:
        """Look up."""
        return self._tokens.get(token_id)

    async def tokens(
        self, agreement: str | None, *, before: str | None = None, limit: int = 50
    ) -> tuple[Token, ...]:
        """Filter, newest first."""
        found = (self._tokens[key] for key in sorted(self._tokens, reverse=True))
        return tuple(
            one
            for one in found
            if one.agreement == agreement and (before is None or one.id < before)
        )[:limit]

    async def credentials(self, digest: str) -> tuple[Token, Agreement | None] | None:
        """Search."""
        for token in self._tokens.values():
            if token.digest == digest:
                return token, self._agreements.get(token.agreement or "")
        return None


def _is_waiting(job: Job) -> bool:
    return job.state is JobState.QUEUED and not job.dispatched
