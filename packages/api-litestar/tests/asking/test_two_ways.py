"""The express way and the framework's: whatever is asked, both answer the same.

A query that nobody looks at sends a request the framework's way.
"""

import json
import re
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from tests.asking import Header, Raw
from tests.blobserving import Answer

from longshore_api import express

_PROPERTY = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: what a header may hold
_VALUES = st.binary(max_size=120).map(
    lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127).strip()
)
_PREFERENCES = st.sampled_from(
    [
        b"wait",
        b"wait=",
        b"wait=x",
        b"wait=-1",
        b"wait=1.5",
        b"wait=0",
        b"respond-async, wait=0",
        b"WAIT = 0",
        b"wait=\xb2",
        b"wait=" + b"9" * 200,
        b"return=minimal",
        b"x" * 101,
    ]
)
_TAGS = st.sampled_from([b"*", b'"2"', b'W/"2"', b"2", b'"1", "2"', b'""', b"x" * 1001, b'"3"'])


def _headers(*named: tuple[bytes, st.SearchStrategy[bytes]]) -> st.SearchStrategy[list[Header]]:
    """Return headers, some of them there twice."""
    each = [st.tuples(st.just(name), values) for name, values in named]
    return st.lists(st.one_of(each), max_size=4)


def _told(answer: Answer) -> tuple[int, list[tuple[str, str]], str]:
    """Return an answer without what differs from one request to the next."""
    headers = [
        (name, value)
        for name, value in sorted(answer.headers.items())
        if name not in {"date", "x-request-id", "location", "content-length"}
    ]
    headers += [("length", "none")] if "content-length" not in answer.headers else []
    body = re.sub(r'"requestId":"[^"]*"', "", answer.body.decode())
    if "uploads" not in body:
        return answer.status, headers, body
    job = json.loads(body)  # another job, or one that an earlier example made: its members count
    return 201, headers, json.dumps({name: type(value).__name__ for name, value in job.items()})


_GET_HEADERS = _headers(
    (b"prefer", _PREFERENCES | _VALUES),
    (b"if-none-match", _TAGS | _VALUES),
    (b"accept", st.sampled_from([b"text/event-stream", b"application/json", b""])),
)
_IDS = st.sampled_from(["", "waiting", "canceled", "0" * 26, "0" * 64, "0" * 65])


@_PROPERTY
@given(which=_IDS | st.binary(min_size=1, max_size=70), headers=_GET_HEADERS)
@example(which="waiting", headers=[(b"prefer", b"x" * 101)])
@example(which="waiting", headers=[(b"if-none-match", b"")])
@example(which="waiting", headers=[(b"if-none-match", b'"1"')])
@example(which=b"%", headers=[])
@example(which=b"\xff\xfe", headers=[])
@example(which=b"\x00", headers=[])
def test_a_job_is_the_same_both_ways(
    raw: Raw, waiting: str, canceled: str, which: str | bytes, headers: list[Header]
) -> None:
    known = {"waiting": waiting, "canceled": canceled}
    job_id = quote_from_bytes(which) if isinstance(which, bytes) else known.get(which, which)
    target = f"/v1/jobs/{job_id}".encode()

    express_way = raw.ask(b"GET", target, headers)
    other_way = raw.ask(b"GET", target + b"?unknown=1", headers)

    assert _told(express_way) == _told(other_way)
    assert express_way.status < 500


_NEW_JOB = b'{"workflow":"copy","inputs":{"text":{"upload":{"size":3}}}}'
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def _dump(body: object) -> bytes:
    return json.dumps(body).encode()


_MEMBERS = st.sampled_from(
    ["workflow", "parameters", "inputs", "resources", "start", "text", "upload", "size", "copy"]
)
_BODIES = st.one_of(
    st.just(_NEW_JOB),
    st.binary(max_size=60),
    st.dictionaries(_MEMBERS, _JSON | _MEMBERS, max_size=4).map(_dump),
    st.sampled_from(
        [
            b"",
            b"null",
            b"[]",
            _NEW_JOB[:-1],
            _NEW_JOB + b"x",
            b"\xef\xbb\xbf" + _NEW_JOB,
            _NEW_JOB[:-1] + b',"workflow":"copy"}',
            _NEW_JOB[:-1] + b',"what":1}',
            b'{"workflow":"nothing"}',
            b'{"workflow":"copy","parameters":{"a":1e999}}',
            b'{"workflow":"copy","parameters":{"a":"\\ud800"}}',
            b'{"workflow":' + b"[" * 5000,
            b'{"workflow":"copy","parameters":{"a":' + b"1" * 5000 + b"}}",
        ]
    ),
)
_POST_HEADERS = _headers(
    (b"idempotency-key", _VALUES | st.sampled_from([b"", b"k" * 255, b"k" * 256, b"\xe9"])),
)
_MEDIA_TYPES = st.sampled_from(
    [b"application/json", b"Application/JSON; charset=utf-8", b"text/plain", b"", b"x" * 1100]
)


@_PROPERTY
@given(body=_BODIES, headers=_POST_HEADERS, media_type=_MEDIA_TYPES)
@example(body=_NEW_JOB, headers=[(b"idempotency-key", b"k" * 256)], media_type=b"application/json")
@example(body=_NEW_JOB, headers=[(b"idempotency-key", b"")], media_type=b"application/json")
@example(body=b"", headers=[], media_type=b"")
@example(body=b"{}", headers=[], media_type=b"")
def test_a_submission_is_the_same_both_ways(
    raw: Raw, body: bytes, headers: list[Header], media_type: bytes
) -> None:
    if media_type:
        headers = [*headers, (b"content-type", media_type)]
    other = [(name, value + b"!" if _is_key(name, value) else value) for name, value in headers]

    express_way = raw.ask(b"POST", b"/v1/jobs", headers, body)
    other_way = raw.ask(b"POST", b"/v1/jobs?unknown=1", other, body)

    assert _told(express_way) == _told(other_way)
    assert express_way.status < 500


def _is_key(name: bytes, value: bytes) -> bool:
    """Say whether this is a key of a length that may be one byte longer."""
    return name == b"idempotency-key" and 0 < len(value) < 255


def test_a_difference_between_the_ways_would_be_seen(
    raw: Raw, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(express, "_WANTED", dict.fromkeys(express._WANTED, 10_000))
    target, headers = f"/v1/jobs/{waiting}".encode(), [(b"prefer", b"x" * 101)]

    assert _told(raw.ask(b"GET", target, headers)) != _told(
        raw.ask(b"GET", target + b"?unknown=1", headers)
    )
