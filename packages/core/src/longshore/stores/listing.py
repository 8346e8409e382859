"""Jobs for lists: plain values, as a page of a thousand models would take ten times as long."""

from typing import NamedTuple


class JobRow(NamedTuple):
    """What a list shows of a job.

    Times are microseconds since 1970 in UTC, flags 0 or 1; ``reason``, ``outcome``, ``stop``,
    ``progress`` and ``enforced`` are JSON as ``longshore.codec`` writes it, or None.
    """

    id: str
    workflow: str
    version: str
    state: str
    attempt: int
    reason: str | None
    outcome: str | None
    stop: str | None
    progress: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    next_what: str | None
    next_by: int | None
    unconfirmed: int
    enforced: str
    purged: int
