from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from longshore.errors import IllegalTransition
from longshore.jobs import ARRIVALS, ATTEMPT_LOST, Schedule, Step, apply, create, replay, take
from longshore.lifecycle import FINAL, TRANSITIONS, JobState, path
from longshore.models import Job, Outcome, OutcomeKind
from longshore.testing.store import make_job

AT = datetime(2026, 1, 1, 13, tzinfo=UTC)
SECOND = timedelta(seconds=1)
states = st.sampled_from(JobState)


def due(changed: Job, at: datetime) -> dict[str, Any]:
    return {"next_what": str(changed.state), "next_by": at + SECOND}


def test_a_new_job_is_made_by_one_event_that_holds_all_of_it() -> None:
    job, events = create(make_job(parameters={"top": 3}, key="k"))
    (event,) = events
    assert (job.seq, event.seq, event.type, event.at) == (1, 1, "JobCreated", job.created_at)
    assert replay(events) == job


def test_a_new_job_that_starts_at_once_is_queued_by_a_second_event() -> None:
    job, events = create(make_job(), "token", lambda _, at: {"next_by": at}, queue=True)
    assert (job.state, job.seq, job.next_by) == (JobState.QUEUED, 2, job.created_at)
    assert [event.type for event in events] == ["JobCreated", "JobQueued"]
    assert events[0].data["by"] == "token"
    assert replay(events) == job


@given(
    by=st.none() | st.just("token"),
    parameters=st.dictionaries(st.text(), st.integers(), max_size=2),
    key=st.none() | st.text(),
    schedule=st.sampled_from([None, due]),
)
def test_to_be_queued_at_birth_is_to_be_made_and_then_queued(
    by: str | None,
    parameters: dict[str, Any],
    key: str | None,
    schedule: Schedule | None,
) -> None:
    new = make_job(parameters=parameters, key=key)
    made, first = create(new, by)
    later, second = take(made, Step(JobState.QUEUED), new.created_at, schedule)

    job, events = create(new, by, schedule, queue=True)

    assert (job, events) == (later, (*first, *second))
    assert replay(events) == job


def test_every_state_but_the_first_has_an_event_of_its_own() -> None:
    assert set(ARRIVALS) == set(JobState) - {JobState.CREATED}
    assert len(set(ARRIVALS.values())) == len(ARRIVALS)


def test_what_a_poller_missed_is_passed_through_and_marked() -> None:
    outcome = Outcome(kind=OutcomeKind.EXITED, exit_code=0)
    job, _ = create(make_job(state=JobState.QUEUED))
    ended, events = take(job, Step(JobState.STAGING_OUT, {"outcome": outcome}), AT)
    assert [(event.seq, event.type) for event in events] == [
        (2, "StagingInStarted"),
        (3, "WorkerStarted"),
        (4, "WorkerEnded"),
    ]
    assert [event.data.get("inferred") for event in events] == [True, True, None]
    assert (ended.state, ended.seq, ended.outcome) == (JobState.STAGING_OUT, 4, outcome)


def test_a_fact_that_leaves_the_state_is_one_event() -> None:
    job, _ = create(make_job(state=JobState.RUNNING))
    changed, (event,) = take(job, Step(None, {"dispatched": True}, "JobDispatched"), AT)
    assert (changed.state, changed.dispatched) == (JobState.RUNNING, True)
    assert (event.type, dict(event.data)) == ("JobDispatched", {"dispatched": True})


def test_a_lost_attempt_goes_back_to_the_queue() -> None:
    job, _ = create(make_job(state=JobState.RUNNING, dispatched=True))
    again = Step(JobState.QUEUED, {"attempt": 2, "dispatched": False})
    changed, (event,) = take(job, again, AT)
    assert event.type == ATTEMPT_LOST
    assert (changed.state, changed.attempt, changed.dispatched) == (JobState.QUEUED, 2, False)


@given(start=states, target=states)
def test_a_step_is_taken_just_when_the_table_has_a_way(start: JobState, target: JobState) -> None:
    job, _ = create(make_job(state=start))
    back = target is JobState.QUEUED and start is not JobState.CREATED
    allowed = target in TRANSITIONS[start] if back else bool(path(start, target))
    if not allowed:
        with pytest.raises(IllegalTransition, match=start):
            take(job, Step(target), AT)
        return
    changed, events = take(job, Step(target), AT)
    assert changed.state is target
    before = start
    for event in events:
        assert event.data["state"] in TRANSITIONS[before]
        before = event.data["state"]


@pytest.mark.parametrize("final", sorted(FINAL))
def test_nothing_follows_a_final_state(final: JobState) -> None:
    job, _ = create(make_job(state=final))
    for target in JobState:
        with pytest.raises(IllegalTransition):
            take(job, Step(target), AT)


def test_a_stamp_is_never_before_the_one_before_it() -> None:
    job, _ = create(make_job())
    first, _ = take(job, Step(JobState.QUEUED), AT)
    second, (event,) = take(first, Step(JobState.CANCELED), AT - timedelta(minutes=10))
    assert event.at == second.updated_at == AT


def test_a_worker_never_starts_after_we_heard_of_it() -> None:
    job, _ = create(make_job(state=JobState.QUEUED))
    ahead = AT + timedelta(minutes=10)
    running, _ = take(job, Step(JobState.RUNNING, {"started_at": ahead}), AT)
    assert running.started_at == AT


def test_what_a_schedule_adds_is_in_the_job_and_in_the_last_event() -> None:
    job, _ = create(make_job(state=JobState.QUEUED))
    scheduled: list[tuple[JobState, datetime]] = []

    def schedule(changed: Job, at: datetime) -> dict[str, Any]:
        scheduled.append((changed.state, at))
        return {"next_by": at + SECOND}

    changed, events = take(job, Step(JobState.RUNNING), AT, schedule)
    assert scheduled == [(JobState.RUNNING, AT)]
    assert changed.next_by == AT + SECOND
    assert [event.data.get("next_by") for event in events] == [None, AT + SECOND]


def test_a_step_can_be_taken_again_by_another_writer() -> None:
    step = Step(JobState.RUNNING, {"started_at": AT + SECOND})
    job, _ = create(make_job(state=JobState.QUEUED))
    first = take(job, step, AT, lambda _, at: {"next_by": at})
    assert dict(step.changes) == {"started_at": AT + SECOND}
    assert take(job, step, AT, lambda _, at: {"next_by": at}) == first


@given(
    targets=st.lists(states, max_size=12),
    seconds=st.lists(st.integers(-600, 600), min_size=12, max_size=12),
)
def test_a_job_is_its_events_at_every_time(targets: list[JobState], seconds: list[int]) -> None:
    job, born = create(make_job(parameters={"a": 1}))
    events = [*born]
    for target, second in zip(targets, seconds, strict=False):
        step = Step(target, {"attempt": job.attempt + 1} if target is JobState.QUEUED else {})
        try:
            changed, more = take(job, step, AT + second * SECOND)
        except IllegalTransition:
            continue
        unchanged = attrs.evolve(
            changed, state=job.state, seq=job.seq, attempt=job.attempt, updated_at=job.updated_at
        )
        assert unchanged == job, "a step changes what it says and nothing else"
        job = changed
        events += more
        assert replay(events) == job
        assert [one.seq for one in events] == list(range(1, job.seq + 1))
        assert apply(replay(events[:-1]), events[-1]) == job
