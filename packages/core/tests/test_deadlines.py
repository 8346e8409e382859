from datetime import UTC, datetime, timedelta

import pytest

from longshore.deadlines import (
    Limits,
    end_unconfirmed,
    end_without_results,
    expire,
    next_deadline,
    verdict,
)
from longshore.jobs import Step, take
from longshore.lifecycle import FINAL, JobState
from longshore.models import Job, Outcome, OutcomeKind, Resources, StopRequest
from longshore.testing.store import make_job

AT = datetime(2026, 1, 1, 13, tzinfo=UTC)
LIMITS = Limits()
S = JobState
STOPS = {why: StopRequest(by="acme", why=why, at=AT) for why in ("cancel", "walltime")}
OK = Outcome(kind=OutcomeKind.EXITED, exit_code=0)


def due(**fields: object) -> Job:
    return make_job(next_by=AT, **fields)


@pytest.mark.parametrize(
    ("fields", "what", "allowance"),
    [
        ({"state": S.CREATED}, "inputs", LIMITS.inputs),
        ({"state": S.QUEUED}, "start", LIMITS.queue),
        ({"state": S.QUEUED, "dispatched": True}, "start", LIMITS.start),
        ({"state": S.STAGING_IN, "dispatched": True}, "inputs fetched", LIMITS.stage_in),
        (
            {"state": S.RUNNING, "resources": Resources(walltime=timedelta(minutes=5))},
            "end",
            timedelta(minutes=5) + LIMITS.stop_grace + LIMITS.walltime_margin,
        ),
        (
            {"state": S.RUNNING, "stop": STOPS["cancel"]},
            "end",
            LIMITS.stop_grace + LIMITS.stop_margin,
        ),
        ({"state": S.STAGING_OUT}, "results", LIMITS.stage_out),
        ({"state": S.STAGING_OUT, "stop": STOPS["walltime"]}, "results", LIMITS.stage_out),
        ({"state": S.STAGING_OUT, "stop": STOPS["cancel"]}, "results", LIMITS.stop_stage_out),
    ],
)
def test_each_part_of_the_way_has_its_allowance(
    fields: dict[str, object], what: str, allowance: timedelta
) -> None:
    assert next_deadline(make_job(**fields), LIMITS, AT) == (what, AT + allowance)


def test_every_state_before_the_end_has_a_deadline_but_the_one_that_waits_for_a_person() -> None:
    without = {state for state in S if next_deadline(make_job(state=state), LIMITS, AT)[1] is None}
    assert without == FINAL | {S.IN_REVIEW}
    assert next_deadline(make_job(state=S.IN_REVIEW), LIMITS, AT) == ("review", None)
    for state in FINAL:
        assert next_deadline(make_job(state=state), LIMITS, AT) == (None, None)


@pytest.mark.parametrize("state", sorted(set(S) - FINAL))
def test_nothing_expires_before_its_time(state: JobState) -> None:
    assert expire(due(state=state, stop=STOPS["cancel"]), AT - timedelta(microseconds=1)) is None
    assert expire(make_job(state=state), AT) is None


@pytest.mark.parametrize("state", sorted(FINAL))
def test_what_is_final_does_not_expire(state: JobState) -> None:
    assert expire(due(state=state), AT) is None


@pytest.mark.parametrize(("state", "code"), [(S.CREATED, "expired"), (S.QUEUED, "start-timeout")])
def test_a_job_that_no_engine_has_fails_when_its_time_is_over(state: JobState, code: str) -> None:
    step = expire(due(state=state), AT)
    assert step is not None
    assert step.target is S.FAILED
    assert step.changes["reason"].code == code


@pytest.mark.parametrize(
    ("state", "why"),
    [(S.QUEUED, "start-timeout"), (S.STAGING_IN, "stage-in-timeout"), (S.RUNNING, "walltime")],
)
def test_a_job_that_an_engine_has_is_asked_to_stop_first(state: JobState, why: str) -> None:
    step = expire(due(state=state, dispatched=True), AT)
    stop = StopRequest(by="longshore", why=why, at=AT)
    assert step == Step(None, {"stop": stop}, "StopRequested")


@pytest.mark.parametrize(
    ("state", "why", "target", "code"),
    [
        (S.QUEUED, "cancel", S.CANCELED, "canceled"),
        (S.STAGING_IN, "cancel", S.CANCELED, "canceled"),
        (S.QUEUED, "start-timeout", S.FAILED, "start-timeout"),
        (S.STAGING_IN, "stage-in-timeout", S.FAILED, "stage-in-timeout"),
    ],
)
def test_an_engine_that_does_not_answer_a_stop_leaves_the_end_unconfirmed(
    state: JobState, why: str, target: JobState, code: str
) -> None:
    stop = StopRequest(by="acme", why=why, at=AT)
    job = due(state=state, dispatched=True, stop=stop)
    step = expire(job, AT)
    assert step == end_unconfirmed(job)
    assert step is not None
    assert step.target is target
    assert step.changes["unconfirmed"]
    assert step.changes["reason"].code == code


def test_a_worker_that_does_not_answer_a_stop_is_lost_and_its_results_are_awaited() -> None:
    job = due(state=S.RUNNING, dispatched=True, stop=STOPS["cancel"])
    step = expire(job, AT)
    assert step is not None
    assert step.target is S.STAGING_OUT
    assert step.changes["outcome"] == Outcome(kind=OutcomeKind.LOST, by="acme")
    assert step.changes["unconfirmed"]
    lost, _ = take(job, step, AT)
    assert verdict(lost)[0] is S.CANCELED


def test_without_results_success_is_a_failure_and_a_failure_keeps_its_reason() -> None:
    succeeded = end_without_results(due(state=S.STAGING_OUT, outcome=OK))
    assert (succeeded.target, succeeded.changes["reason"].code) == (S.FAILED, "manifest-missing")
    exited = Outcome(kind=OutcomeKind.EXITED, exit_code=3)
    failed = end_without_results(due(state=S.STAGING_OUT, outcome=exited))
    assert (failed.target, failed.changes["reason"].code) == (S.FAILED, "nonzero-exit")


@pytest.mark.parametrize(
    ("outcome", "stop", "target", "code"),
    [
        (OK, None, S.SUCCEEDED, None),
        (OK, "cancel", S.SUCCEEDED, None),  # it had ended before
        (Outcome(kind=OutcomeKind.EXITED, exit_code=1), "cancel", S.FAILED, "nonzero-exit"),
        (Outcome(kind=OutcomeKind.EXITED, exit_code=137, reason="oom"), None, S.FAILED, "oom"),
        (Outcome(kind=OutcomeKind.STOPPED, why="cancel"), "cancel", S.CANCELED, "canceled"),
        (Outcome(kind=OutcomeKind.STOPPED, why="walltime"), None, S.FAILED, "walltime"),
        (Outcome(kind=OutcomeKind.LOST), None, S.FAILED, "lost"),
        (Outcome(kind=OutcomeKind.LOST), "cancel", S.CANCELED, "canceled"),
        (Outcome(kind=OutcomeKind.LOST), "walltime", S.FAILED, "walltime"),
        (None, None, S.FAILED, "lost"),
    ],
)
def test_the_final_state_is_the_outcomes(
    outcome: Outcome | None, stop: str | None, target: JobState, code: str | None
) -> None:
    job = make_job(outcome=outcome, stop=STOPS[stop] if stop else None)
    state, why = verdict(job)
    assert state is target
    assert (why.code if why else None) == code
