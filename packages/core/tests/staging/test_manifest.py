from datetime import UTC, datetime

import pytest
from hypothesis import given, settings, strategies as st

from longshore.errors import DataRefused, TooLarge
from longshore.models import Outcome, OutcomeKind
from longshore.staging import (
    MANIFEST_MAX_SIZE,
    Manifest,
    ManifestEntry,
    StagingProblem,
    decode_manifest,
    encode_manifest,
)

text = st.text(max_size=30)
entries = st.builds(
    ManifestEntry,
    name=text,
    size=st.integers(min_value=0),
    sha256=text,
    parts=st.lists(text, max_size=3).map(tuple),
)
times = st.none() | st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1))  # noqa: DTZ001 - hypothesis wants it naive
manifests = st.builds(
    Manifest,
    job_id=text,
    attempt=st.integers(1, 3),
    outcome=st.none()
    | st.builds(Outcome, kind=st.sampled_from(OutcomeKind), exit_code=st.none() | st.integers()),
    outputs=st.lists(entries, max_size=3).map(tuple),
    log=st.none() | entries,
    log_cut=st.booleans(),
    problems=st.lists(
        st.builds(StagingProblem, name=text, code=text, message=text), max_size=3
    ).map(tuple),
    started_at=times,
    ended_at=times,
)


@settings(deadline=None)
@given(manifests)
def test_a_manifest_comes_back_as_it_was(manifest: Manifest) -> None:
    assert decode_manifest(encode_manifest(manifest)) == manifest


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_manifest_are_refused(data: bytes) -> None:
    with pytest.raises(DataRefused):
        decode_manifest(data)


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"[]",
        b"{}",
        b'{"job_id": "j", "attempt": 1, "surplus": 1}',
        b'{"job_id": "j", "attempt": 1, "outcome": "exited"}',
        b'{"job_id": "j", "attempt": 1, "ended_at": "yesterday"}',
        b'{"job_id": "j", "attempt": 1, "ended_at": 5}',
        b"[" * 100_000,
    ],
)
def test_json_that_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(DataRefused):
        decode_manifest(data)


def test_a_manifest_beyond_its_bound_is_not_even_parsed() -> None:
    with pytest.raises(TooLarge):
        decode_manifest(b" " * (MANIFEST_MAX_SIZE + 1))
