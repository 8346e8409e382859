"""A page of jobs as JSON, written from the store's rows: the text that ``job_to_wire`` gives."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from longshore.codec import from_json
from longshore.models import Outcome, Progress, Reason, StopRequest
from longshore.stores.listing import JobRow
from longshore.wire import reason_to_wire, to_wire

_MICRO = 1_000_000
_NULL = "null"
_FLAGS = ("false", "true")


def encode_page(rows: Sequence[JobRow], limit: int) -> bytes:
    """Return the page; ``next`` is the cursor of the following one where this one is full."""
    following = rows[-1].id if len(rows) == limit else None
    items = ",".join([_job(row) for row in rows])
    return f'{{"items":[{items}],"next":{json.dumps(following)}}}'.encode()


def _job(row: JobRow) -> str:
    # unpacked, as a page looks a thousand times at every field
    (
        job_id, workflow, version, state, attempt, reason, outcome, stop, progress, created_at,
        started_at, finished_at, next_what, next_by, unconfirmed, enforced, purged,
    ) = row  # fmt: skip
    started = _NULL if started_at is None else _time(started_at)
    finished = _NULL if finished_at is None else _time(finished_at)
    due = _NULL if next_what is None else _next(next_what, next_by)
    return (
        f'{{"id":"{job_id}","workflow":{_text(workflow)},"version":{_text(version)},'
        f'"state":"{state}","reason":{_reason(reason)},"exitCode":{_exit(outcome)},'
        f'"attempt":{attempt},"stopRequested":{_stop(stop)},'
        f'"progress":{_progress(progress)},"createdAt":{_time(created_at)},'
        f'"startedAt":{started},"finishedAt":{finished},'
        f'"next":{due},"position":null,"unconfirmed":{_FLAGS[unconfirmed]},'
        f'"enforced":{enforced},"purged":{_FLAGS[purged]}}}'
    )


@lru_cache(4096)
def _text(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _time(micros: int) -> str:
    seconds, rest = divmod(micros, _MICRO)
    return f'"{_second(seconds)}.{rest:06d}Z"'


@lru_cache(4096)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def _next(what: str, by: int | None) -> str:
    return f'{{"what":{_text(what)},"by":{_NULL if by is None else _time(by)}}}'


@lru_cache(1024)
def _reason(text: str | None) -> str:
    return _NULL if text is None else _encoded(reason_to_wire(from_json(Reason, text)))


@lru_cache(1024)
def _exit(text: str | None) -> str:
    return _NULL if text is None else _encoded(from_json(Outcome, text).exit_code)


@lru_cache(1024)
def _stop(text: str | None) -> str:
    return _NULL if text is None else _encoded(to_wire(from_json(StopRequest, text)))


@lru_cache(1024)
def _progress(text: str | None) -> str:
    return _NULL if text is None else _encoded(to_wire(from_json(Progress, text)))


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()
