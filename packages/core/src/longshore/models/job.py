"""One execution of a workflow, what a consumer asks for, and what is known of how it ended."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs

from longshore.lifecycle import FINAL, JobState
from longshore.models.workflow import Resources


class Fault(StrEnum):
    """Whose doing a failure is; metering, retries and support need to know."""

    APP = "app"
    INPUT = "input"
    PLATFORM = "platform"
    POLICY = "policy"
    CONSUMER = "consumer"


@attrs.frozen
class Reason:
    """Why a job failed: a stable code, whose doing, a sentence, and what to do."""

    code: str
    fault: Fault
    message: str
    hint: str = ""
    retryable: bool = False


class OutcomeKind(StrEnum):
    """How a worker ended."""

    EXITED = "exited"
    STOPPED = "stopped"
    LOST = "lost"


@attrs.frozen(kw_only=True)
class Outcome:
    """How the worker ended, recorded once when the job leaves RUNNING.

    ``exit_code`` follows the shell: 128 + n for signal n. ``by`` and ``why`` name who stopped it.
    ``reason`` is the engine's better knowledge (``oom``, ``disk``, ...) as a reason code.
    """

    kind: OutcomeKind
    exit_code: int | None = None
    by: str | None = None
    why: str | None = None
    reason: str | None = None


@attrs.frozen(kw_only=True)
class StopRequest:
    """The intent to stop: by whom, why (``cancel``, ``walltime``, ``agreement``), when."""

    by: str
    why: str
    at: datetime


@attrs.frozen(kw_only=True)
class Progress:
    """What the worker said last: ``::progress 30/100 text``."""

    done: float
    total: float
    text: str = ""


@attrs.frozen(kw_only=True)
class InlineInput:
    """An input whose bytes came with the request."""

    content: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class AnnouncedInput:
    """An input to be uploaded; ``size`` in bytes and ``sha256`` in hex are checked where given."""

    size: int | None = None
    sha256: str | None = None


@attrs.frozen(kw_only=True)
class JobRequest:
    """What a consumer sends: never anything of an engine's object.

    ``resources`` overrides single values of the workflow's, within its bounds, by name.
    """

    workflow: str
    parameters: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    inputs: Mapping[str, InlineInput | AnnouncedInput] = attrs.field(
        factory=dict[str, InlineInput | AnnouncedInput]
    )
    resources: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    start: bool = True


@attrs.frozen(kw_only=True)
class Product:
    """A committed output of a job: ``size`` in bytes, ``sha256`` in hex."""

    name: str
    size: int
    sha256: str
    media_type: str = "application/octet-stream"


@attrs.frozen(kw_only=True)
class Job:
    """A job as its events made it: ``replay(events)`` gives the same value.

    ``seq`` is the number of its last event. ``parameters`` and ``resources`` are the request's as
    the policy resolved them; ``inputs`` are the names that are there. ``enforced`` says how each
    limit is held by the backend. ``next_what`` happens by ``next_by``. ``unconfirmed`` says that
    the engine never answered for the worker's end. ``key`` is the submission's idempotency key and
    ``fingerprint`` the hash of the request that came with it. ``agreement`` is the one under which
    it was made; None where there is none (embedded, or by the provider).
    """

    id: str
    tenant: str
    workflow: str
    version: str
    backend: str
    created_at: datetime
    state: JobState = JobState.CREATED
    seq: int = 0
    attempt: int = 1
    parameters: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    resources: Resources = Resources()
    inputs: tuple[str, ...] = ()
    dispatched: bool = False
    stop: StopRequest | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    products: tuple[Product, ...] = ()
    progress: Progress | None = None
    enforced: Mapping[str, str] = attrs.field(factory=dict[str, str])
    unconfirmed: bool = False
    purged: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime | None = None
    next_what: str | None = None
    next_by: datetime | None = None
    key: str | None = None
    fingerprint: str | None = None
    agreement: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing can change any more but its bytes being purged."""
        return self.state in FINAL

    @property
    def exit_code(self) -> int | None:
        """The worker's exit code, where it ended by itself or by a signal."""
        return self.outcome.exit_code if self.outcome else None


@attrs.frozen(kw_only=True)
class JobEvent:
    """A fact of ours, past tense, numbered within its job, never changed.

    ``data`` holds the fields of the job that it changed, plus what readers want to know: ``by``
    (a token's id) and ``inferred``. Agreements have events as well: their id is in ``job_id``.
    ``position`` is the place in the one log of all jobs, set by the store (0 before).
    """

    job_id: str
    seq: int
    type: str
    at: datetime
    data: Mapping[str, Any]
    position: int = 0
