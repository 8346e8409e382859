"""Models survive JSON, and what is no model is refused with a sentence."""

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings, strategies as st

from longshore.codec import dumps, format_time, from_json, parse_time, to_json
from longshore.models import (
    AnnouncedInput,
    InlineInput,
    Job,
    JobRequest,
    JobState,
    Outcome,
    OutcomeKind,
    Workflow,
)
from longshore.testing.store import make_job
from longshore.workers import shipped

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


@pytest.mark.parametrize("workflow", shipped(), ids=lambda workflow: workflow.id)
def test_a_workflow_is_the_same_after_json(workflow: Workflow) -> None:
    assert from_json(Workflow, to_json(workflow)) == workflow


def test_a_job_is_the_same_after_json() -> None:
    job = make_job(
        state=JobState.RUNNING,
        parameters={"a": {"b": [1, None, "\u20ac\n"]}},
        outcome=Outcome(kind=OutcomeKind.STOPPED, by="acme", why="cancel"),
        enforced={"memory": "cgroup"},
        next_by=AT,
    )
    assert from_json(Job, to_json(job)) == job


@given(content=st.binary(max_size=50), size=st.none() | st.integers(0))
def test_inputs_keep_their_bytes_and_their_kind(content: bytes, size: int | None) -> None:
    request = JobRequest(
        workflow="w",
        inputs={"a": InlineInput(content=content), "b": AnnouncedInput(size=size)},
    )
    assert from_json(JobRequest, to_json(request)) == request


def test_times_are_in_utc_with_microseconds() -> None:
    assert format_time(AT) == "2026-01-02T03:04:05.000678Z"
    elsewhere = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert format_time(elsewhere) == format_time(AT)


@given(at=st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_the_same_after_text(at: datetime) -> None:
    assert parse_time(format_time(at)) == at


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "null",
        "3",
        '"a"',
        "[]",
        "{}",
        "[" * 100_000,
        '{"id": "a", "unknown": 1}',
        '{"id": "a", "command": 5}',
        '{"id": "a", "resources": {"walltime": "1h"}}',
        '{"id": "a", "resources": {"walltime": Infinity}}',
        '{"id": "a", "network": "open"}',
        '{"id": "a", "inputs": [1]}',
        b"\xff",
    ],
)
def test_what_is_no_model_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_json(Workflow, text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["id", "command", "inputs", "name", "resources", "walltime", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


_KEYS = st.text(max_size=5) | st.integers() | st.booleans() | st.none() | st.floats()
_LEAVES = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats(),
    st.text(max_size=8)
    | st.sampled_from(["\0", "\u2028", "\ud800", '"\\', "\x7f", JobState.RUNNING]),
)


@settings(max_examples=1000, deadline=None)
@given(
    value=st.recursive(
        _LEAVES,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(_KEYS, inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_text_is_what_json_would_write(value: object) -> None:
    assert dumps(value) == json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def test_what_is_no_json_is_refused_as_json_would() -> None:
    endless: list[object] = []
    endless.append(endless)
    for value, error in ((object(), TypeError), ({b"a": 1}, TypeError), (endless, RecursionError)):
        with pytest.raises(error):
            dumps(value)
    assert dumps({"a": [1]}) == '{"a":[1]}', "and the next value is written as if nothing was"


@given(value=json_values)
def test_any_json_is_a_model_or_a_value_error(value: object) -> None:
    for kind in (Workflow, Job, JobRequest):
        with contextlib.suppress(ValueError):
            from_json(kind, json.dumps(value))
