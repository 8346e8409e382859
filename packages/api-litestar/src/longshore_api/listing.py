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
    return (
        f'{{"id":"{row.id}","workflow":{_text(row.workflow)},"version":{_text(row.version)},'
        f'"state":"{row.state}","reason":{_reason(row.reason)},"exitCode":{_exit(row.outcome)},'
        f'"attempt":{row.attempt},"stopRequested":{_stop(row.stop)},'
        f'"progress":{_progress(row.progress)},"createdAt":{_time(row.created_at)},'
        f'"startedAt":{_time(row.started_at)},"finishedAt":{_time(row.finished_at)},'
        f'"next":{_next(row)},"position":null,"unconfirmed":{_FLAGS[row.unconfirmed]},'
        f'"enforced":{row.enforced},"purged":{_FLAGS[row.purged]}}}'
    )


@lru_cache(4096)
def _text(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _time(micros: int | None) -> str:
    if micros is None:
        return _NULL
    seconds, rest = divmod(micros, _MICRO)
    return f'"{_second(seconds)}.{rest:06d}Z"'


@lru_cache(4096)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def _next(row: JobRow) -> str:
    if row.next_what is None:
        return _NULL
    return f'{{"what":{_text(row.next_what)},"by":{_time(row.next_by)}}}'


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
