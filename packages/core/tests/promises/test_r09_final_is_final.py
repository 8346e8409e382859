"""R9: final is final, and the history of a job has no gap.

A machine of random submissions, reports, wishes, deadlines and races, made by two processes whose
memories are stale, against each store. After every step the history of the job that it touched is
checked. ``pytest --hypothesis-profile nightly`` takes 100,000 steps on each store.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import ClassVar

import anyio
import attrs
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase as HypothesisPhase, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from longshore import decisions
from longshore.deadlines import Limits, expire
from longshore.errors import IllegalTransition, StoreUnavailable
from longshore.eventlog import EventLog
from longshore.jobs import Step, replay
from longshore.ledger import Decide, Ledger
from longshore.lifecycle import FINAL, MAX_ATTEMPTS, TRANSITIONS, JobState
from longshore.models import Job, JobEvent, Observation, Outcome, OutcomeKind, Phase
from longshore.stores import sqlite as sqlite_module
from longshore.stores.abc import Store
from longshore.stores.sqlite import open_sqlite
from longshore.supervisor import DeadlineKeeper
from longshore.testing.fakes import FakeClock
from longshore.testing.memory_store import MemoryStore
from longshore.testing.store import make_job
from longshore.transfer import Transfer

OUTCOMES = (
    None,
    Outcome(kind=OutcomeKind.EXITED, exit_code=0),
    Outcome(kind=OutcomeKind.EXITED, exit_code=1),
    Outcome(kind=OutcomeKind.LOST),
)
STEPS = 50
NIGHTLY = settings.get_current_profile_name() == "nightly"
PURGE = Step(None, {"purged": True}, "BytesPurged")


def check_history(row: Job | None, events: Sequence[JobEvent]) -> None:
    """Assert what must hold of every job at every time."""
    assert row is not None
    assert [event.seq for event in events] == list(range(1, row.seq + 1)), "gap-free"
    positions = [event.position for event in events]
    assert positions == sorted(set(positions)), "in the order of the commits"
    stamps = [event.at for event in events]
    assert stamps == sorted(stamps), "stamps never run backwards"
    assert replay(events) == row, "the job is its events"
    before = JobState.CREATED
    for event in events[1:]:
        if "state" in event.data:
            assert event.data["state"] in TRANSITIONS[before], "legal"
            before = event.data["state"]
    ends = [event for event in events if event.data.get("state") in FINAL]
    assert len(ends) == (1 if row.is_final else 0), "one end"
    if ends:
        assert all(event.type == "BytesPurged" for event in events[ends[0].seq :]), "the last word"
    assert row.attempt <= MAX_ATTEMPTS
    assert (row.next_by is None) == row.is_final, "what is not final has an owner of its end"


jobs_of = st.integers(0, 10**6)
ledgers = st.integers(0, 1)
states = st.sampled_from(JobState)


class Histories(RuleBasedStateMachine):
    """Two processes on one store."""

    open_store: ClassVar[Callable[[Path], AbstractAsyncContextManager[Store]]]

    def __init__(self) -> None:
        super().__init__()
        self.exits = ExitStack()
        place = Path(tempfile.mkdtemp())
        self.exits.callback(shutil.rmtree, place)
        self.portal = self.exits.enter_context(start_blocking_portal())
        opened = self.portal.wrap_async_context_manager(type(self).open_store(place))
        self.store = self.exits.enter_context(opened)
        self.clock = FakeClock()
        self.ledgers = [
            Ledger(self.store, EventLog(self.store), self.clock, Limits()) for _ in range(2)
        ]
        self.ids: list[str] = []
        self.numbers = 0

    def teardown(self) -> None:
        try:
            log = self.portal.call(partial(self.store.log, after=0, limit=10**6))
            assert [event.position for event in log] == list(range(1, len(log) + 1))
            for job_id in self.ids:
                own = [event for event in log if event.job_id == job_id]
                check_history(self.portal.call(self.store.job, job_id), own)
        finally:
            self.exits.close()

    def check(self, job_id: str) -> None:
        events = self.portal.call(partial(self.store.events, job_id, limit=10**6))
        check_history(self.portal.call(self.store.job, job_id), events)

    def change(self, which: int, ledger: int, decide: Decide) -> None:
        job_id = self.ids[which % len(self.ids)]
        with suppress(IllegalTransition):  # said, and nothing written: the check is the same
            self.portal.call(self.ledgers[ledger].change, job_id, decide)
        self.check(job_id)

    def job(self, which: int) -> Job:
        found = self.portal.call(self.store.job, self.ids[which % len(self.ids)])
        assert found is not None
        return found

    @initialize()
    def begin(self) -> None:
        self.submit(0, None, queue=True)

    @rule(ledger=ledgers, key=st.sampled_from([None, "a", "b"]), queue=st.booleans())
    def submit(self, ledger: int, key: str | None, *, queue: bool) -> None:
        self.numbers += 1
        job = make_job(self.numbers, key=key, created_at=self.clock.now())
        kept = self.portal.call(partial(self.ledgers[ledger].open, job, queue=queue))
        if kept.id not in self.ids:
            assert kept.id == job.id
            self.ids.append(kept.id)
        self.check(kept.id)

    @rule(which=jobs_of, ledger=ledgers)
    def start(self, which: int, ledger: int) -> None:
        self.change(which, ledger, decisions.on_start)

    @rule(which=jobs_of, ledger=ledgers)
    def dispatch(self, which: int, ledger: int) -> None:
        self.change(which, ledger, decisions.on_dispatched)

    @rule(which=jobs_of, ledger=ledgers, why=st.sampled_from(["cancel", "walltime"]))
    def stop(self, which: int, ledger: int, why: str) -> None:
        now = self.clock.now()
        self.change(which, ledger, partial(decisions.on_stop, by="acme", why=why, at=now))

    @rule(
        which=jobs_of,
        ledger=ledgers,
        phase=st.sampled_from(Phase),
        outcome=st.sampled_from(OUTCOMES),
        other_attempt=st.sampled_from([0, 0, 0, -1, 1]),
        restartable=st.booleans(),
    )
    def observe(
        self,
        which: int,
        ledger: int,
        phase: Phase,
        outcome: Outcome | None,
        other_attempt: int,
        *,
        restartable: bool,
    ) -> None:
        job = self.job(which)
        attempt = job.attempt + other_attempt
        seen = Observation(job_id=job.id, attempt=attempt, phase=phase, outcome=outcome)
        hear = partial(decisions.on_observation, seen=seen, restartable=restartable)
        self.change(which, ledger, hear)
        if other_attempt:
            assert self.job(which) == job, "a report on another attempt changes nothing"

    @rule(which=jobs_of, ledger=ledgers)
    def miss(self, which: int, ledger: int) -> None:
        self.change(which, ledger, decisions.on_absence)

    @rule(which=jobs_of, ledger=ledgers, state=states)
    def demand(self, which: int, ledger: int, state: JobState) -> None:
        """Ask for any state, allowed or not; review is not part of this version."""
        if state not in {JobState.QUEUED, JobState.IN_REVIEW}:
            self.change(which, ledger, lambda _: Step(state))

    @rule(which=jobs_of, ledger=ledgers)
    def purge(self, which: int, ledger: int) -> None:
        self.change(which, ledger, lambda job: PURGE if job.is_final and not job.purged else None)

    @rule(seconds=st.sampled_from([1, 60, 1000, 100_000, -600]))
    def pass_time(self, seconds: int) -> None:
        self.clock.set(self.clock.now() + timedelta(seconds=seconds))

    @rule(ledger=ledgers)
    def expire(self, ledger: int) -> None:
        keeper = DeadlineKeeper(self.store, self.ledgers[ledger], self.clock)
        self.portal.call(keeper.expire_due)
        for job_id in self.ids:
            self.check(job_id)

    @rule(which=jobs_of, wanted=st.lists(states, min_size=2, max_size=6))
    def race(self, which: int, wanted: list[JobState]) -> None:
        """Let both processes change one job at once, on what they remember of it."""
        job_id = self.ids[which % len(self.ids)]
        self.portal.call(self._race, job_id, wanted)
        self.check(job_id)

    async def _race(self, job_id: str, wanted: Sequence[JobState]) -> None:
        async def demand(ledger: Ledger, state: JobState) -> None:
            def decide(job: Job) -> Step | None:
                if state in {JobState.QUEUED, JobState.IN_REVIEW}:
                    return expire(job, self.clock.now())
                return Step(state)

            with suppress(IllegalTransition):
                await ledger.change(job_id, decide)

        async with anyio.create_task_group() as tasks:
            for number, state in enumerate(wanted):
                tasks.start_soon(demand, self.ledgers[number % 2], state)


@asynccontextmanager
async def open_memory(_: Path) -> AsyncIterator[Store]:
    yield MemoryStore()


@asynccontextmanager
async def open_file(place: Path) -> AsyncIterator[Store]:
    async with open_sqlite(place / "state.db") as store:
        yield store


class CarelessStore(MemoryStore):
    """A store that compares nothing before it swaps."""

    async def save(
        self,
        job: Job,
        events: Sequence[JobEvent],
        *,
        expected: int,  # noqa: ARG002 - what it should have compared
        transfers: Sequence[Transfer] = (),
    ) -> None:
        self._keep(job, events, transfers)


@asynccontextmanager
async def open_careless(_: Path) -> AsyncIterator[Store]:
    yield CarelessStore()


def machine(opens: Callable[[Path], AbstractAsyncContextManager[Store]]) -> type[Histories]:
    return type("Histories", (Histories,), {"open_store": staticmethod(opens)})


def effort(examples: int, **more: object) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **more,  # type: ignore[arg-type]  # the caller names settings
    )


@pytest.mark.timeout(0 if NIGHTLY else 120)
@pytest.mark.parametrize(
    ("opens", "examples"),
    [
        (open_memory, 50),
        (open_file, 20),
        pytest.param(open_memory, 150, marks=pytest.mark.thorough),
        pytest.param(open_file, 60, marks=pytest.mark.thorough),
    ],
)
def test_no_step_breaks_a_history(
    opens: Callable[[Path], AbstractAsyncContextManager[Store]], examples: int
) -> None:
    run_state_machine_as_test(machine(opens), settings=effort(2000 if NIGHTLY else examples))


def test_control_without_compare_and_swap_histories_break() -> None:
    once = effort(100, phases=[HypothesisPhase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine(open_careless), settings=once)


def test_control_without_the_predicate_in_its_statement_sqlite_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    update = sqlite_module._update
    monkeypatch.setattr(
        sqlite_module,
        "_update",
        lambda columns: update(columns).replace("AND seq = ?", "AND ? IS NOT NULL"),
    )
    once = effort(100, phases=[HypothesisPhase.generate])
    # either the history breaks, or the rule of the events' table (one seq once) stops it
    with pytest.raises((AssertionError, StoreUnavailable, ExceptionGroup)):
        run_state_machine_as_test(machine(open_file), settings=once)


@pytest.mark.parametrize("broken", ["gap", "twice the end", "another row", "an illegal step"])
def test_control_the_check_sees_a_broken_history(broken: str) -> None:
    async def history() -> tuple[Job, list[JobEvent]]:
        store = MemoryStore()
        ledger = Ledger(store, EventLog(store), FakeClock(), Limits())
        job = await ledger.open(make_job(), queue=True)
        job = await ledger.change(job.id, lambda _: Step(JobState.FAILED))
        return job, await store.events(job.id)

    job, events = anyio.run(history)
    check_history(job, events)
    changed = {
        "gap": (job, events[:1] + events[2:]),
        "twice the end": (attrs.evolve(job, seq=4), [*events, attrs.evolve(events[-1], seq=4)]),
        "another row": (attrs.evolve(job, attempt=2), events),
        "an illegal step": (
            attrs.evolve(job, state=JobState.SUCCEEDED),
            [*events[:2], attrs.evolve(events[2], data={"state": JobState.SUCCEEDED})],
        ),
    }
    with pytest.raises(AssertionError):
        check_history(*changed[broken])
