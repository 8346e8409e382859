"""R7: nothing waits silently for ever.

From wherever a job got to, an engine that never says another word leads to a final state within
the sum of what ``Limits`` allows for the parts of its way that are left. Nobody but the keeper of
the deadlines acts.
"""

from collections.abc import Sequence
from datetime import timedelta
from types import MappingProxyType

import anyio
import pytest
from hypothesis import given, settings, strategies as st

from longshore import deadlines, decisions
from longshore.deadlines import Limits
from longshore.errors import IllegalTransition
from longshore.eventlog import EventLog
from longshore.jobs import Step
from longshore.ledger import Decide, Ledger
from longshore.lifecycle import FINAL, MAX_ATTEMPTS, JobState
from longshore.models import Job, Observation, Outcome, OutcomeKind, Phase
from longshore.supervisor import DeadlineKeeper
from longshore.testing.fakes import FakeClock
from longshore.testing.memory_store import MemoryStore
from longshore.testing.store import make_job

LIMITS = Limits(
    inputs=timedelta(hours=2),
    queue=timedelta(minutes=50),
    start=timedelta(minutes=7),
    stage_in=timedelta(minutes=11),
    stage_out=timedelta(minutes=13),
)
STOPPING = LIMITS.stop_grace + LIMITS.stop_margin


def worker(job: Job) -> timedelta:
    return job.resources.walltime + LIMITS.stop_grace + LIMITS.walltime_margin


def longest(job: Job) -> timedelta:
    """Return the longest that a job in this state may still take when nobody speaks."""
    allowances = {
        JobState.CREATED: LIMITS.inputs,
        JobState.QUEUED: LIMITS.start + STOPPING if job.dispatched else LIMITS.queue,
        JobState.STAGING_IN: LIMITS.stage_in + STOPPING,
        JobState.RUNNING: worker(job) + STOPPING + LIMITS.stage_out,
        JobState.STAGING_OUT: LIMITS.stage_out,
    }
    return allowances.get(job.state, timedelta(0))


phases = st.sampled_from(Phase)
outcomes = st.sampled_from(
    [None, Outcome(kind=OutcomeKind.EXITED, exit_code=0), Outcome(kind=OutcomeKind.LOST)]
)


@st.composite
def reports(draw: st.DrawFn) -> Decide:
    """Return what an engine may say of any attempt."""
    phase, outcome, restartable = draw(phases), draw(outcomes), draw(st.booleans())
    attempt = draw(st.integers(1, MAX_ATTEMPTS))
    seen = Observation(job_id="job", attempt=attempt, phase=phase, outcome=outcome)
    return lambda job: decisions.on_observation(job, seen, restartable=restartable)


def wish(why: str) -> Decide:
    return lambda job: decisions.on_stop(job, by="acme", why=why, at=job.created_at)


steps = st.one_of(
    reports(),
    st.sampled_from([decisions.on_start, decisions.on_dispatched, decisions.on_absence]),
    st.sampled_from([wish("cancel"), wish("walltime")]),
)


async def be_silent(way: Sequence[Decide], *, queue: bool) -> tuple[Job, Job, timedelta]:
    """Bring a job somewhere, then let nobody but the keeper act.

    Return the job as it was, as it is when no deadline is left, and how long that took.
    """
    store, clock = MemoryStore(), FakeClock()
    ledger = Ledger(store, EventLog(store), clock, LIMITS)
    job = await ledger.open(make_job(created_at=clock.now()), queue=queue)
    for decide in way:
        job = await ledger.change(job.id, decide)
    begun = clock.now()
    keeper = DeadlineKeeper(store, ledger, clock)
    before = job
    for _ in range(10):  # a stop, the end of it, the end of the results: never more than that
        due = await store.next_due()
        if due is None:
            break
        clock.set(max(due, clock.now()))
        await keeper.expire_due()
    return before, await ledger.job(job.id), clock.now() - begun


def check_silence(way: Sequence[Decide], *, queue: bool) -> None:
    before, after, took = anyio.run(lambda: be_silent(way, queue=queue))
    assert after.state in FINAL, f"it was {before.state} and is {after.state} for ever"
    assert took <= longest(before)
    if before.state not in FINAL:
        assert after.reason is not None, "a job that ends by silence says why"
        assert after.state is not JobState.SUCCEEDED


@given(way=st.lists(steps, max_size=8), queue=st.booleans())
def test_from_everywhere_silence_leads_to_an_end_in_time(way: list[Decide], *, queue: bool) -> None:
    check_silence(way, queue=queue)


WAYS: dict[JobState, tuple[Decide, ...]] = {
    JobState.QUEUED: (decisions.on_dispatched,),
    JobState.STAGING_IN: (lambda _: Step(JobState.STAGING_IN, {"dispatched": True}),),
    JobState.RUNNING: (lambda _: Step(JobState.RUNNING, {"dispatched": True}),),
    JobState.STAGING_OUT: (lambda _: Step(JobState.STAGING_OUT, {"dispatched": True}),),
}


@pytest.mark.parametrize("state", WAYS)
@pytest.mark.parametrize("stopped", [False, True])
def test_every_state_with_an_engine_ends(state: JobState, *, stopped: bool) -> None:
    check_silence([*WAYS[state], *([wish("cancel")] if stopped else [])], queue=True)


@pytest.mark.parametrize("state", WAYS)
def test_control_a_state_without_an_owner_of_its_end_waits_for_ever(
    state: JobState, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {one: row for one, row in deadlines._NEXT.items() if one is not state}
    monkeypatch.setattr(deadlines, "_NEXT", MappingProxyType(rows))
    if state is JobState.QUEUED:  # without it no job can be submitted at all
        monkeypatch.setitem(rows, state, ("start", lambda *_: timedelta(days=10_000)))
    with pytest.raises(AssertionError):
        check_silence(WAYS[state], queue=True)


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ((), "start-timeout"),
        (WAYS[JobState.QUEUED], "start-timeout"),
        (WAYS[JobState.STAGING_IN], "stage-in-timeout"),
        (WAYS[JobState.RUNNING], "walltime"),
        (WAYS[JobState.STAGING_OUT], "lost"),
    ],
)
def test_the_end_by_silence_says_what_did_not_happen(way: Sequence[Decide], code: str) -> None:
    _, after, _ = anyio.run(lambda: be_silent(way, queue=True))
    assert after.reason is not None
    assert after.reason.code == code


@settings(max_examples=10)
@given(st.integers(1, 30))
def test_the_running_keeper_lets_deadlines_pass_by_itself(count: int) -> None:
    async def keep() -> None:
        store, clock = MemoryStore(), FakeClock()
        ledger = Ledger(store, EventLog(store), clock, Limits(inputs=timedelta(seconds=20)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(DeadlineKeeper(store, ledger, clock).run)
            await clock.advance(timedelta(seconds=1))
            jobs = [
                await ledger.open(make_job(number, created_at=clock.now()), queue=False)
                for number in range(count)
            ]
            await clock.advance(timedelta(seconds=19))
            assert {(await ledger.job(job.id)).state for job in jobs} == {JobState.CREATED}
            await clock.advance(timedelta(seconds=6))  # another process's job: seen within 5 s
            assert {(await ledger.job(job.id)).state for job in jobs} == {JobState.FAILED}
            tasks.cancel_scope.cancel()

    anyio.run(keep)


def test_a_deadline_that_cannot_be_kept_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def keep() -> None:
        store, clock = MemoryStore(), FakeClock()
        ledger = Ledger(store, EventLog(store), clock, LIMITS)
        first = await ledger.open(make_job(1, created_at=clock.now()), queue=False)
        second = await ledger.open(make_job(2, created_at=clock.now()), queue=False)
        change = ledger.change

        async def refuse_the_first(job_id: str, decide: Decide) -> Job:
            if job_id == first.id:
                raise IllegalTransition("a bug")
            return await change(job_id, decide)

        ledger.change = refuse_the_first  # type: ignore[assignment,method-assign]  # one bad job
        clock.set(clock.now() + LIMITS.inputs)
        await DeadlineKeeper(store, ledger, clock).expire_due()
        assert (await ledger.job(second.id)).is_final

    anyio.run(keep)
    assert "cannot be kept" in caplog.text
