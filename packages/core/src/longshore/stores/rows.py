"""Jobs, events and transfers as rows: a column per field, JSON where a field is a tree."""

import json
import sqlite3
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import attrs

from longshore.codec import converter, dumps
from longshore.jobs import NOTES
from longshore.models import Job, JobEvent, JobState
from longshore.models.job import Outcome, Product, Progress, Reason, StopRequest
from longshore.models.workflow import Resources

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_loads = json.JSONDecoder().decode

Codec = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def encode_time(at: datetime) -> int:
    """Return microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def decode_time(number: int) -> datetime:
    """Return the time, aware, in UTC."""
    return _EPOCH + timedelta(microseconds=number)


def _tree(kind: Any) -> Codec:
    return (
        lambda value: dumps(converter.unstructure(value)),
        lambda text: converter.structure(_loads(text), kind),
    )


def _shared(codec: Codec) -> Codec:
    """Return a codec whose values, which nobody can change, are shared where texts are equal."""
    return codec[0], lru_cache(1024)(codec[1])


_JSON: Codec = (dumps, _loads)
_TIME: Codec = (encode_time, decode_time)
_FLAG: Codec = (int, bool)
_NAMES = _shared((lambda value: dumps(list(value)), lambda text: tuple(_loads(text))))

#: how the fields of a job that are not plain scalars are stored
_CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "state": (str, JobState),
        "created_at": _TIME,
        "updated_at": _TIME,
        "started_at": _TIME,
        "finished_at": _TIME,
        "next_by": _TIME,
        "parameters": _JSON,
        "enforced": _JSON,
        "resources": _shared(_tree(Resources)),
        "inputs": _NAMES,
        "stop": _tree(StopRequest),
        "outcome": _tree(Outcome),
        "reason": _tree(Reason),
        "products": _shared(_tree(tuple[Product, ...])),
        "progress": _tree(Progress),
        "dispatched": _FLAG,
        "unconfirmed": _FLAG,
        "purged": _FLAG,
        # of agreements and tokens, in their events
        "valid_from": _TIME,
        "valid_until": _TIME,
        "expires_at": _TIME,
        "workflows": _NAMES,
        "scopes": _NAMES,
    }
)

COLUMNS = tuple(field.name for field in attrs.fields(Job))
_values = attrgetter(*COLUMNS)
_ENCODERS = {name: encode for name, (encode, _) in _CODECS.items()}
_DECODERS = {name: decode for name, (_, decode) in _CODECS.items()} | dict.fromkeys(
    ("tenant", "workflow", "version", "backend"), sys.intern
)  # many jobs in memory share them


def encode_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that hold ``changes`` to fields of a job; so they lie in events, too."""
    encoded = dict(changes)
    for name, value in changes.items():
        if value is not None and name in _ENCODERS:
            encoded[name] = _ENCODERS[name](value)
    return encoded


_NO_JOB = Job(id="", tenant="", workflow="", version="", backend="", created_at=_EPOCH)
_PLAIN_ROW = encode_changes(dict(zip(COLUMNS, _values(_NO_JOB), strict=True)))


def encode_new_job(job: Job, datas: Iterable[Mapping[str, Any]]) -> tuple[Any, ...]:
    """Return the row of a new job, in the order of ``COLUMNS``.

    ``datas`` are the encoded changes of its events, which hold all of it: nothing is encoded twice.
    """
    row = _PLAIN_ROW.copy()
    for data in datas:
        row.update(data)
    for note in NOTES:
        row.pop(note, None)
    row["id"] = job.id
    row["seq"] = job.seq
    row["updated_at"] = encode_time(job.updated_at or job.created_at)
    return tuple(row.values())


def decode_job(row: Sequence[Any]) -> Job:
    """Return the job of a row in the order of ``COLUMNS``."""
    return Job(**_decoded(dict(zip(COLUMNS, row, strict=True))))


def _decoded(fields: dict[str, Any]) -> dict[str, Any]:
    for name, value in fields.items():
        if value is not None and name in _DECODERS:
            fields[name] = _DECODERS[name](value)
    return fields


def insert_events(
    cursor: sqlite3.Cursor, events: Sequence[JobEvent], datas: Iterable[Mapping[str, Any]]
) -> None:
    """Insert the rows of events; ``datas`` are their changes, encoded."""
    values: list[Any] = []
    for event, data in zip(events, datas, strict=True):
        values += (event.job_id, event.seq, event.type, encode_time(event.at), dumps(data))
    if events:
        cursor.execute(_insert_events(len(events)), values)


@lru_cache(8)
def _insert_events(count: int) -> str:
    rows = ", ".join(["(?, ?, ?, ?, ?)"] * count)
    return f"INSERT INTO events (job_id, seq, type, at, data) VALUES {rows}"  # noqa: S608 - our own words


def decode_data(text: str) -> dict[str, Any]:
    """Return the data of an event."""
    return _decoded(_loads(text))


#: the columns of an event, in the order of ``decode_event``
EVENT_COLUMNS = ("position", "job_id", "seq", "type", "at", "data")


def decode_event(row: Sequence[Any]) -> JobEvent:
    """Return the event of a row in the order of ``EVENT_COLUMNS``."""
    position, job_id, seq, kind, at, data = row
    return JobEvent(
        position=position,
        job_id=job_id,
        seq=seq,
        type=kind,
        at=decode_time(at),
        data=decode_data(data),
    )
