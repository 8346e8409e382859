from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given, strategies as st

from longshore.decisions import (
    on_absence,
    on_dispatched,
    on_observation,
    on_start,
    on_stop,
)
from longshore.jobs import Step, take
from longshore.lifecycle import FINAL, MAX_ATTEMPTS, JobState
from longshore.models import (
    Job,
    Observation,
    Outcome,
    OutcomeKind,
    Phase,
    Progress,
    StopRequest,
)
from longshore.testing.store import make_job

AT = datetime(2026, 1, 1, 13, tzinfo=UTC)
SECOND = timedelta(seconds=1)
S = JobState
STOP = StopRequest(by="acme", why="cancel", at=AT)
EXITED = Outcome(kind=OutcomeKind.EXITED, exit_code=0)
WITH_ENGINE = (S.QUEUED, S.STAGING_IN, S.RUNNING)


def seen(phase: Phase = Phase.RUNNING, **fields: object) -> Observation:
    observation = Observation(job_id="job", attempt=1, phase=phase)
    return attrs.evolve(observation, **fields)  # type: ignore[arg-type]  # names fields of Observation


def hear(job: Job, observation: Observation, *, restartable: bool = False) -> Job:
    """Return the job after an observation, which changes it."""
    step = on_observation(job, observation, restartable=restartable)
    assert step is not None
    return take(job, step, AT)[0]


def dispatched(state: JobState, **fields: object) -> Job:
    return make_job(state=state, dispatched=True, **fields)


def test_a_start_queues_a_new_job_once() -> None:
    assert on_start(make_job()) == Step(S.QUEUED)
    assert on_start(make_job(state=S.RUNNING)) is None


def test_dispatched_is_recorded_once_and_only_of_a_queued_job() -> None:
    step = on_dispatched(make_job(state=S.QUEUED))
    assert step == Step(None, {"dispatched": True}, "JobDispatched")
    assert on_dispatched(dispatched(S.QUEUED)) is None
    assert on_dispatched(make_job(state=S.CANCELED)) is None


@pytest.mark.parametrize("state", [S.CREATED, S.QUEUED])
def test_a_job_that_no_engine_has_is_stopped_at_once(state: JobState) -> None:
    step = on_stop(make_job(state=state), by="acme", why="cancel", at=AT)
    assert step is not None
    assert (step.target, step.changes["stop"]) == (S.CANCELED, STOP)
    other = on_stop(make_job(state=state), by="longshore", why="expired", at=AT)
    assert other is not None
    assert (other.target, other.changes["reason"].code) == (S.FAILED, "expired")


@pytest.mark.parametrize("state", [*WITH_ENGINE, S.STAGING_OUT])
def test_a_job_that_an_engine_has_is_asked_and_the_first_wish_counts(state: JobState) -> None:
    job = dispatched(state)
    assert on_stop(job, by="acme", why="cancel", at=AT) == Step(
        None, {"stop": STOP}, "StopRequested"
    )
    asked = dispatched(state, stop=STOP)
    assert on_stop(asked, by="longshore", why="walltime", at=AT) is None


@pytest.mark.parametrize("state", sorted(FINAL | {S.IN_REVIEW}))
def test_what_ended_cannot_be_stopped(state: JobState) -> None:
    assert on_stop(make_job(state=state), by="acme", why="cancel", at=AT) is None


@pytest.mark.parametrize("state", WITH_ENGINE)
@pytest.mark.parametrize("phase", Phase)
def test_a_report_on_another_attempt_means_nothing(state: JobState, phase: Phase) -> None:
    job = dispatched(state, attempt=2)
    for attempt in (1, 3):
        report = seen(phase, attempt=attempt, outcome=EXITED)
        assert on_observation(job, report, restartable=True) is None


@pytest.mark.parametrize("state", sorted(set(S) - set(WITH_ENGINE)))
@pytest.mark.parametrize("phase", Phase)
def test_a_report_changes_nothing_after_the_worker(state: JobState, phase: Phase) -> None:
    job = make_job(state=state)
    assert on_observation(job, seen(phase, outcome=EXITED), restartable=True) is None
    assert on_observation(job, seen(phase), restartable=True) is None


def test_an_attempt_is_followed_to_its_worker() -> None:
    job = make_job(state=S.QUEUED)
    assert on_observation(job, seen(Phase.WAITING), restartable=False) is None
    job = hear(job, seen(Phase.STAGING_IN))
    assert (job.state, job.dispatched) == (S.STAGING_IN, True)
    assert on_observation(job, seen(Phase.STAGING_IN), restartable=False) is None
    report = seen(Phase.RUNNING, started_at=AT - SECOND, enforced={"memory": "cgroup"})
    job = hear(job, report)
    assert (job.state, job.started_at, job.enforced) == (
        S.RUNNING,
        AT - SECOND,
        {"memory": "cgroup"},
    )
    assert on_observation(job, report, restartable=False) is None
    assert on_observation(job, seen(Phase.STAGING_IN), restartable=False) is None


def test_progress_is_recorded_when_it_is_new() -> None:
    progress = Progress(done=1, total=2)
    job = dispatched(S.RUNNING)
    step = on_observation(job, seen(progress=progress), restartable=False)
    assert step == Step(None, {"progress": progress}, "ProgressReported")
    known = dispatched(S.RUNNING, progress=progress)
    assert on_observation(known, seen(progress=progress), restartable=False) is None


def test_a_worker_did_not_start_before_its_job_was_made() -> None:
    job = make_job(state=S.QUEUED)
    early = hear(job, seen(started_at=job.created_at - timedelta(hours=1)))
    assert early.started_at == job.created_at


@pytest.mark.parametrize("state", WITH_ENGINE)
@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.STAGING_OUT, Phase.ENDED])
def test_the_end_of_a_worker_is_recorded_from_every_state(state: JobState, phase: Phase) -> None:
    job = hear(make_job(state=state), seen(phase, outcome=EXITED, ended_at=AT))
    assert (job.state, job.outcome, job.dispatched) == (S.STAGING_OUT, EXITED, True)


def test_a_worker_that_ended_after_the_wish_was_stopped() -> None:
    job = dispatched(S.RUNNING, stop=STOP)
    for ended_at in (AT, AT + SECOND, None):
        ended = hear(job, seen(outcome=EXITED, ended_at=ended_at))
        assert ended.outcome == Outcome(
            kind=OutcomeKind.STOPPED, exit_code=0, by="acme", why="cancel"
        )


def test_a_worker_that_ended_before_the_wish_keeps_its_outcome() -> None:
    job = dispatched(S.RUNNING, stop=STOP)
    assert hear(job, seen(outcome=EXITED, ended_at=AT - SECOND)).outcome == EXITED


def test_a_lost_worker_stays_lost_when_it_was_to_stop() -> None:
    lost = Outcome(kind=OutcomeKind.LOST)
    assert hear(dispatched(S.RUNNING, stop=STOP), seen(outcome=lost)).outcome == lost


def test_an_attempt_that_never_ran_fails_with_the_engines_reason() -> None:
    job = hear(dispatched(S.STAGING_IN), seen(Phase.ENDED, reason="image-unavailable", message="x"))
    assert job.state is S.FAILED
    assert job.reason is not None
    assert job.reason.code == "image-unavailable"
    assert job.reason.message.endswith(": x")


@pytest.mark.parametrize("state", [S.QUEUED, S.STAGING_IN])
def test_an_attempt_that_never_ran_because_it_was_stopped_is_canceled(state: JobState) -> None:
    assert hear(dispatched(state, stop=STOP), seen(Phase.ENDED)).state is S.CANCELED


def test_a_running_worker_whose_end_nobody_saw_is_lost() -> None:
    job = hear(dispatched(S.RUNNING), seen(Phase.ENDED))
    assert (job.state, job.outcome) == (S.STAGING_OUT, Outcome(kind=OutcomeKind.LOST))


@pytest.mark.parametrize("state", [S.QUEUED, S.STAGING_IN])
def test_an_attempt_taken_before_its_worker_started_is_tried_again(state: JobState) -> None:
    job = hear(dispatched(state), seen(Phase.TAKEN))
    assert (job.state, job.attempt, job.dispatched) == (S.QUEUED, 2, False)


def test_a_worker_taken_while_it_ran_runs_again_only_where_that_is_declared() -> None:
    job = dispatched(S.RUNNING)
    assert hear(job, seen(Phase.TAKEN)).outcome == Outcome(kind=OutcomeKind.LOST)
    again = hear(job, seen(Phase.TAKEN), restartable=True)
    assert (again.state, again.attempt) == (S.QUEUED, 2)


def test_attempts_are_counted() -> None:
    last = dispatched(S.STAGING_IN, attempt=MAX_ATTEMPTS)
    job = hear(last, seen(Phase.TAKEN, attempt=MAX_ATTEMPTS))
    assert job.state is S.FAILED
    assert job.reason is not None
    assert job.reason.code == "attempts-exhausted"


@pytest.mark.parametrize("state", WITH_ENGINE)
def test_no_attempt_follows_a_wish_to_stop(state: JobState) -> None:
    job = hear(dispatched(state, stop=STOP), seen(Phase.TAKEN), restartable=True)
    assert job.state is (S.STAGING_OUT if state is S.RUNNING else S.CANCELED)
    assert job.attempt == 1


def test_absence_counts_as_may_have_run() -> None:
    assert on_absence(make_job(state=S.QUEUED)) is None, "it was never given away"
    assert on_absence(dispatched(S.STAGING_OUT)) is None
    queued = on_absence(dispatched(S.QUEUED))
    assert queued is not None
    assert (queued.target, queued.changes["reason"].code) == (S.FAILED, "lost")
    stopped = on_absence(dispatched(S.STAGING_IN, stop=STOP))
    assert stopped is not None
    assert stopped.target is S.CANCELED
    running = on_absence(dispatched(S.RUNNING))
    assert running is not None
    assert (running.target, running.changes["outcome"].kind) == (S.STAGING_OUT, OutcomeKind.LOST)


@given(
    state=st.sampled_from(S),
    phase=st.sampled_from(Phase),
    outcome=st.sampled_from([None, EXITED, Outcome(kind=OutcomeKind.LOST)]),
    stop=st.sampled_from([None, STOP]),
    attempt=st.integers(1, MAX_ATTEMPTS),
    is_dispatched=st.booleans(),
    restartable=st.booleans(),
)
def test_every_report_on_every_job_is_a_legal_step_or_none(
    state: JobState,
    phase: Phase,
    outcome: Outcome | None,
    stop: StopRequest | None,
    attempt: int,
    *,
    is_dispatched: bool,
    restartable: bool,
) -> None:
    job = make_job(state=state, stop=stop, attempt=attempt, dispatched=is_dispatched)
    report = seen(phase, attempt=attempt, outcome=outcome)
    for step in (on_observation(job, report, restartable=restartable), on_absence(job)):
        if step is not None:
            after, events = take(job, step, AT)
            assert after.seq == job.seq + len(events)
            assert after.attempt <= MAX_ATTEMPTS
