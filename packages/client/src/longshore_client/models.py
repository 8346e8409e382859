"""What the server says of workflows, jobs, events and access; ``raw`` holds all that it said.

Members that a newer server adds are in ``raw`` only, and one that an older server leaves out has
its default.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from longshore_client.session import FINAL_STATES, Json


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a job failed. ``fault`` is app, input, platform, policy or consumer."""

    code: str
    fault: str = ""
    message: str = ""
    hint: str = ""
    retryable: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it was when the server was asked. Times are aware, in UTC."""

    id: str
    workflow: str
    state: str
    reason: Reason | None = None
    exit_code: int | None = None
    attempt: int = 1
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Json) -> "Job":
        """Return the job of the server's JSON."""
        why = raw.get("reason")
        known = ("code", "fault", "message", "hint", "retryable")
        return cls(
            id=raw["id"],
            workflow=raw["workflow"],
            state=raw["state"],
            reason=why and Reason(**{name: why[name] for name in known if name in why}),
            exit_code=raw.get("exitCode"),
            attempt=raw.get("attempt") or 1,
            created_at=_time(raw.get("createdAt")),
            started_at=_time(raw.get("startedAt")),
            finished_at=_time(raw.get("finishedAt")),
            raw=raw,
        )

    @property
    def is_final(self) -> bool:
        """Whether it ended: SUCCEEDED, FAILED or CANCELED."""
        return self.state in FINAL_STATES

    def _repr_html_(self) -> str:
        from longshore_client.notebook import job_html  # noqa: PLC0415 - in notebooks only

        return job_html(self)


@dataclass(frozen=True)
class Jobs(Sequence[Job]):
    """A page of jobs, newest first. ``next`` is the cursor of the next page, None for the last."""

    items: tuple[Job, ...]
    next: str | None = None

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.items)

    def _repr_html_(self) -> str:
        from longshore_client.notebook import jobs_html  # noqa: PLC0415 - in notebooks only

        return jobs_html(self)


@dataclass(frozen=True, kw_only=True)
class Event:
    """A fact of a job. ``seq`` counts from 1; ``state`` is set where the event changed it."""

    seq: int
    type: str
    at: datetime | None = None
    state: str | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Json) -> "Event":
        """Return the event of the server's JSON."""
        return cls(
            seq=raw["seq"],
            type=raw["type"],
            at=_time(raw.get("at")),
            state=raw.get("state"),
            raw=raw,
        )


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """What a provider offers: ``parameters`` is a JSON Schema, inputs and outputs are by name."""

    id: str
    title: str = ""
    version: str = ""
    description: str = ""
    parameters: Json = field(default_factory=dict)
    inputs: Mapping[str, Json] = field(default_factory=dict)
    outputs: Mapping[str, Json] = field(default_factory=dict)
    resources: Json = field(default_factory=dict)
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Json) -> "Workflow":
        """Return the workflow of the server's JSON."""
        return cls(
            id=raw["id"],
            title=raw.get("title") or "",
            version=raw.get("version") or "",
            description=raw.get("description") or "",
            parameters=raw.get("parameters") or {},
            inputs=raw.get("inputs") or {},
            outputs=raw.get("outputs") or {},
            resources=raw.get("resources") or {},
            raw=raw,
        )

    def _repr_html_(self) -> str:
        from longshore_client.notebook import workflow_html  # noqa: PLC0415 - in notebooks only

        return workflow_html(self)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whom the server takes the holder of the token for; ``workflows`` None means all."""

    tenant: str
    role: str
    agreement: str | None = None
    workflows: tuple[str, ...] | None = None
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Json) -> "Caller":
        """Return the caller of the server's JSON."""
        workflows = raw.get("workflows")
        return cls(
            tenant=raw["tenant"],
            role=raw["role"],
            agreement=raw.get("agreement"),
            workflows=None if workflows is None else tuple(workflows),
            scopes=tuple(raw.get("scopes") or ()),
            expires_at=_time(raw.get("expiresAt")),
            raw=raw,
        )


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What a tenant may do, and until when. ``at_end``: running jobs stop, or drain.

    ``warnings`` are there when it was made: what may not have been meant.
    """

    id: str
    tenant: str
    workflows: tuple[str, ...]
    state: str = "active"
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    at_end: str = "stop"
    warnings: tuple[str, ...] = ()
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Json) -> "Agreement":
        """Return the agreement of the server's JSON."""
        return cls(
            id=raw["id"],
            tenant=raw["tenant"],
            workflows=tuple(raw["workflows"]),
            state=raw.get("state", "active"),
            valid_from=_time(raw.get("validFrom")),
            valid_until=_time(raw.get("validUntil")),
            at_end=raw.get("atEnd", "stop"),
            warnings=tuple(one["detail"] for one in raw.get("warnings") or ()),
            raw=raw,
        )


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token of an agreement. ``secret`` is there once, when it was issued."""

    id: str
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    secret: str | None = field(default=None, repr=False)

    @classmethod
    def from_wire(cls, raw: Json) -> "Token":
        """Return the token of the server's JSON."""
        return cls(
            id=raw["id"],
            scopes=tuple(raw.get("scopes") or ()),
            expires_at=_time(raw.get("expiresAt")),
            revoked_at=_time(raw.get("revokedAt")),
            secret=raw.get("token"),
        )
