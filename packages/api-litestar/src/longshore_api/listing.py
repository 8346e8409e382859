"""A page of jobs as JSON, written from the store's rows: the text that ``job_to_wire`` gives."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from longshore.codec import from_json
from longshore.models import Outcome, Progress, Reason, StopRequest
from longshore.stores.listing import JobRow
from longshore.wire import reason_to_wire, to_wire

_NULL = "null"
_FLAGS = ("false", "true")


def encode_page(rows: Sequence[JobRow], limit: int) -> bytes:
    """Return the page; ``next`` is the cursor of the following one where this one is full."""
    following = rows[-1].id if len(rows) == limit else None
    items = [_job(row) for row in rows]
    return b"".join(
        (
            b'{"items":[',
            ",".join(items).encode(),
            b'],"next":',
            msgspec.json.encode(following),
            b"}",
        )
    )


def _job(row: JobRow) -> str:
    # unpacked, as a page looks a thousand times at every field
    (
        job_id, workflow, version, state, attempt, reason, outcome, stop, progress, created_at,
        started_at, finished_at, next_what, next_by, unconfirmed, enforced, purged,
    ) = row  # fmt: skip
    before, after = _shared(
        *(workflow, version, state, attempt, reason, outcome, stop, progress),
        *(unconfirmed, enforced, purged),
    )
    started = _NULL if started_at is None else _time(started_at)
    finished = _NULL if finished_at is None else _time(finished_at)
    due = _NULL if next_what is None else _next(next_what, next_by)
    return (
        f'{{"id":"{job_id}",{before},"createdAt":{_time(created_at)},'
        f'"startedAt":{started},"finishedAt":{finished},"next":{due},{after}}}'
    )


@lru_cache(4096)
def _shared(
    workflow: str,
    version: str,
    state: str,
    attempt: int,
    reason: str | None,
    outcome: str | None,
    stop: str | None,
    progress: str | None,
    unconfirmed: int,
    enforced: str,
    purged: int,
) -> tuple[str, str]:
    """Return what many jobs have in common, before their times and after them."""
    before = (
        f'"workflow":{_encoded(workflow)},"version":{_encoded(version)},'
        f'"state":"{state}","reason":{_reason(reason)},"exitCode":{_exit(outcome)},'
        f'"attempt":{attempt},"stopRequested":{_stop(stop)},"progress":{_progress(progress)}'
    )
    after = (
        f'"position":null,"unconfirmed":{_FLAGS[unconfirmed]},'
        f'"enforced":{enforced},"purged":{_FLAGS[purged]}'
    )
    return before, after


def _time(micros: int) -> str:
    digits = str(micros)  # quicker than to divide
    return f'"{_second(digits[:-6])}.{digits[-6:]}Z"'


@lru_cache(4096)
def _second(digits: str) -> str:
    return f"{datetime.fromtimestamp(int(digits), UTC):%Y-%m-%dT%H:%M:%S}"


def _next(what: str, by: int | None) -> str:
    return f'{{"what":{_what(what)},"by":{_NULL if by is None else _time(by)}}}'


@lru_cache
def _what(what: str) -> str:
    return _encoded(what)


def _reason(text: str | None) -> str:
    return _NULL if text is None else _encoded(reason_to_wire(from_json(Reason, text)))


def _exit(text: str | None) -> str:
    return _NULL if text is None else _encoded(from_json(Outcome, text).exit_code)


def _stop(text: str | None) -> str:
    return _NULL if text is None else _encoded(to_wire(from_json(StopRequest, text)))


def _progress(text: str | None) -> str:
    return _NULL if text is None else _encoded(to_wire(from_json(Progress, text)))


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()
