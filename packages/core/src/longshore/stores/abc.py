"""The contract of a store: the durable truth of jobs, their events and their transfers."""

import abc
from collections.abc import Sequence
from datetime import datetime

import attrs

from longshore.errors import Denied
from longshore.lifecycle import JobState
from longshore.models import Agreement, AgreementState, Job, JobEvent, Token, Workflow
from longshore.stores.listing import JobRow
from longshore.transfer import Transfer


@attrs.frozen(kw_only=True)
class JobQuery:
    """Which jobs to list, newest first. ``before`` is the last id of the page before.

    ``purged`` is whether their bytes are gone; None asks for both.
    """

    tenant: str | None = None
    states: tuple[JobState, ...] = ()
    workflow: str | None = None
    agreement: str | None = None
    purged: bool | None = None
    before: str | None = None
    limit: int = 50


def check_open(state: str | None) -> None:
    """Return when an agreement in this state lets jobs be made; None is an unknown agreement's.

    Raises:
        Denied: it does not.
    """
    if state != AgreementState.ACTIVE:
        state = state or "unknown"
        raise Denied(
            f"the agreement of this token is {state}",
            reason=f"agreement-{state}",
            hint="ask the provider for a new agreement",
        )


class Store(abc.ABC):
    """Keeps what was decided. It decides nothing itself but who wins a race.

    A store is opened with ``async with``. What a method has returned is durable. Every method may
    raise ``StoreUnavailable``; then nothing was changed. The one position of all events is the
    order of their commits. ``longshore.testing.StoreContract`` is the test of this contract.
    """

    @property
    @abc.abstractmethod
    def instance(self) -> str:
        """The random id that was born with this store; it marks our objects in every engine."""

    @abc.abstractmethod
    async def add(
        self, job: Job, events: Sequence[JobEvent], transfers: Sequence[Transfer] = ()
    ) -> Job:
        """Keep a new job, its events and its transfers in one commit, and return it.

        When the tenant already used ``job.key``, nothing is written and the job that has the key
        is returned.

        Raises:
            Denied: the job's agreement is not active any more; nothing was written. So whoever
                looks for the jobs of an agreement after its end was stored finds all of them.
        """

    @abc.abstractmethod
    async def save(
        self,
        job: Job,
        events: Sequence[JobEvent],
        *,
        expected: int,
        transfers: Sequence[Transfer] = (),
    ) -> None:
        """Replace the job whose ``seq`` is ``expected``, in one commit with events and transfers.

        ``transfers`` are added, or replace those with the same job, attempt, kind and name.

        Raises:
            Stale: the job has another seq now; nothing was written.
        """

    @abc.abstractmethod
    async def put_transfers(self, transfers: Sequence[Transfer]) -> None:
        """Add transfers, or replace those with the same job, attempt, kind and name."""

    @abc.abstractmethod
    async def transfers(self, job_id: str, attempt: int | None = None) -> tuple[Transfer, ...]:
        """Return a job's transfers, of one attempt (0 for its inputs) or of all."""

    @abc.abstractmethod
    async def job(self, job_id: str) -> Job | None:
        """Return the job, or None."""

    @abc.abstractmethod
    async def job_by_key(self, tenant: str, key: str) -> Job | None:
        """Return the job that the tenant made with an idempotency key, or None."""

    @abc.abstractmethod
    async def jobs(self, query: JobQuery) -> tuple[Job, ...]:
        """Return at most ``query.limit`` jobs, newest first."""

    @abc.abstractmethod
    async def listing(self, query: JobQuery) -> list[JobRow]:
        """Return what ``jobs`` returns, as rows for a list."""

    @abc.abstractmethod
    async def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        """Return a job's events with a seq above ``after``, in order."""

    @abc.abstractmethod
    async def log(self, *, after: int, limit: int = 1000) -> list[JobEvent]:
        """Return events of all jobs with a position above ``after``, in order."""

    @abc.abstractmethod
    async def counts(self) -> dict[JobState, int]:
        """Return how many jobs are in each state that has any; it looks at all of them."""

    @abc.abstractmethod
    async def position(self) -> int:
        """Return the position of the last event; 0 when there is none."""

    async def check(self) -> None:
        """Return when the store can be read and written now.

        Raises:
            StoreUnavailable: it cannot.
        """
        await self.position()

    @abc.abstractmethod
    async def waiting(self, backend: str, *, limit: int) -> tuple[Job, ...]:
        """Return the oldest QUEUED jobs of a backend that were not dispatched."""

    @abc.abstractmethod
    async def stopping(self, backend: str, *, limit: int) -> tuple[Job, ...]:
        """Return dispatched jobs of a backend that are to stop and whose worker may still run."""

    @abc.abstractmethod
    async def waiting_ids(self, backend: str, *, limit: int) -> list[str]:
        """Return the ids of what ``waiting`` returns, in the same order."""

    @abc.abstractmethod
    async def unfinished(self, backend: str, *, after: str = "", limit: int = 1000) -> list[Job]:
        """Return jobs of a backend that are QUEUED ... STAGING_OUT, by id, above ``after``."""

    @abc.abstractmethod
    async def due(self, now: datetime, *, limit: int = 100) -> tuple[Job, ...]:
        """Return jobs whose ``next_by`` is not after ``now``, the oldest first."""

    @abc.abstractmethod
    async def next_due(self) -> datetime | None:
        """Return the earliest ``next_by``, or None."""

    @abc.abstractmethod
    async def put_workflow(self, workflow: Workflow, *, origin: str) -> None:
        """Keep a version of a workflow and offer it. ``origin`` is ``files``, ``code`` or ``api``.

        The folder of a host workflow may differ from one start to the next.

        Raises:
            Conflict: a job used this version, and the definition is another one now.
        """

    @abc.abstractmethod
    async def retire_workflow(self, workflow_id: str) -> None:
        """Offer the workflow no longer; jobs keep the version they were made with."""

    @abc.abstractmethod
    async def workflow(self, workflow_id: str, version: str | None = None) -> Workflow | None:
        """Return a version, offered or not, or the version that is offered now."""

    @abc.abstractmethod
    async def workflows(self, *, origin: str | None = None) -> tuple[Workflow, ...]:
        """Return the workflows that are offered, by id, of one origin or of all."""

    # access

    @abc.abstractmethod
    async def put_agreement(
        self,
        agreement: Agreement,
        events: Sequence[JobEvent],
        *,
        expected: int,
        tokens: Sequence[Token] = (),
    ) -> None:
        """Replace the agreement whose ``seq`` is ``expected``; one commit with events and tokens.

        With 0 expected it is a new one. ``tokens`` are added, or replace those with the same id.

        Raises:
            Stale: the agreement has another seq now, or exists already; nothing was written.
        """

    @abc.abstractmethod
    async def agreement(self, agreement_id: str) -> Agreement | None:
        """Return the agreement, or None."""

    @abc.abstractmethod
    async def agreements(
        self, *, tenant: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[Agreement, ...]:
        """Return a page of the agreements of a tenant or of all, newest first, without SERVICE."""

    @abc.abstractmethod
    async def agreements_due(self, until: datetime) -> tuple[Agreement, ...]:
        """Return the agreements whose ``due_at`` is not after ``until``, the oldest first."""

    @abc.abstractmethod
    async def token(self, token_id: str) -> Token | None:
        """Return the token with this id, or None."""

    @abc.abstractmethod
    async def tokens(
        self, agreement: str | None, *, before: str | None = None, limit: int = 50
    ) -> tuple[Token, ...]:
        """Return a page of the tokens of an agreement, or of none, newest first."""

    @abc.abstractmethod
    async def credentials(self, digest: str) -> tuple[Token, Agreement | None] | None:
        """Return the token with this digest and its agreement, or None."""
