"""Defects that were found in the supervisor, each as the smallest run that shows it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from longshore.errors import BackendUnavailable
from longshore.models import JobRequest, JobState, Outcome, OutcomeKind, Phase, RunRef
from longshore.supervisor import supervisor as module
from longshore.testing.fakes import FakeClock

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

Lab = Any
S = JobState
EXITED = Outcome(kind=OutcomeKind.EXITED, exit_code=0)


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """List the engine all the time."""
    monkeypatch.setattr(module, "RESYNC", timedelta(milliseconds=20))
    monkeypatch.setattr(module, "SECOND_LOOK", timedelta(milliseconds=20))


async def slowly(_: RunRef) -> None:
    """Take longer for a list than a look at the store does."""
    await anyio.sleep(0.1)


def dispatcher_of(host: Any) -> Any:
    return host._supervisors["engine"]._dispatcher


async def test_a_job_that_ends_while_its_plan_is_renewed_gives_its_slot_back(lab: Lab) -> None:
    ended = anyio.Event()

    async def wait(_: RunRef) -> None:
        await ended.wait()

    async with lab.host() as host:
        job, ref = await lab.submitted(host)
    async with lab.host() as host, anyio.create_task_group() as tasks:
        await lab.until(lambda: host._supervisors, "the supervisor")
        dispatcher = dispatcher_of(host)
        await lab.until(lambda: dispatcher._occupied, "the attempt to be adopted")
        lab.engine.before["renew"] = wait
        tasks.start_soon(dispatcher.renew_due)
        await lab.until(lambda: ("renew", ref) in lab.engine.calls, "the renewal")
        await lab.engine.end(ref)
        await lab.reached(host, job, S.SUCCEEDED)
        await lab.until(lambda: not dispatcher._occupied, "the slot")
        ended.set()
        await anyio.wait_all_tasks_blocked()
        assert not dispatcher._occupied


async def test_a_job_that_ends_while_the_store_is_listed_gives_its_slot_back(
    lab: Lab, quick_looks: None
) -> None:
    async with lab.host() as host:
        job, ref = await lab.submitted(host)
        list_it, is_listed, go_on = host.store.unfinished, anyio.Event(), anyio.Event()

        async def slowly(*args: Any, **more: Any) -> Any:
            page = await list_it(*args, **more)
            if page and not is_listed.is_set():
                is_listed.set()
                await go_on.wait()
            return page

        host.store.unfinished = slowly
        await is_listed.wait()
        await lab.engine.end(ref)
        await lab.reached(host, job, S.SUCCEEDED)
        await lab.until(lambda: not dispatcher_of(host)._occupied, "the slot")
        go_on.set()
        await lab.until(lambda: lab.engine.calls[-1][0] == "snapshot", "the next look")
        await lab.until(lambda: not dispatcher_of(host)._occupied, "the slot again")


async def test_a_renewal_that_fails_does_not_keep_the_engine_from_being_listed(
    lab: Lab, quick_looks: None
) -> None:
    async def fail(_: RunRef) -> None:
        raise BackendUnavailable("full")

    async with lab.host() as host:
        job, ref = await lab.submitted(host)
    lab.engine.before["renew"] = fail
    async with lab.host() as host:
        await lab.until(lambda: ("renew", ref) in lab.engine.calls, "the renewal")
        await lab.engine.end(ref, hint=False)
        await lab.reached(host, job, S.SUCCEEDED)


async def test_the_late_acknowledgement_of_an_attempt_is_not_that_of_the_next(lab: Lab) -> None:
    acknowledge = anyio.Event()

    async def late(ref: RunRef) -> None:
        if ref.attempt == 1:
            lab.engine.tell(ref, Phase.TAKEN)
            await acknowledge.wait()

    lab.engine.before["submit"] = late
    async with lab.host() as host:
        job = (await host.service.submit("acme", JobRequest(workflow="script"))).job
        await lab.reached(host, job, lambda job: job.attempt == 2)
        acknowledge.set()
        second = RunRef(job.id, 2, "acme")
        await lab.until(lambda: second in lab.engine.attempts, "the second attempt")


async def test_a_worker_taken_while_it_ran_ends_its_job(lab: Lab) -> None:
    async with lab.host() as host:
        job, ref = await lab.submitted(host)
        lab.engine.tell(ref, Phase.RUNNING)
        await lab.reached(host, job, S.RUNNING)
        lab.engine.tell(ref, Phase.TAKEN)
        ended = await lab.reached(host, job, S.FAILED)
        assert ended.reason.code == "lost"


@pytest.mark.parametrize("newest_first", [False, True])
async def test_an_attempt_that_another_one_followed_is_removed_after_a_restart(
    lab: Lab, *, newest_first: bool
) -> None:
    async with lab.host() as host:
        job, first = await lab.submitted(host)
        second = RunRef(job.id, 2, "acme")
        lab.engine.tell(first, Phase.TAKEN)
        await lab.until(lambda: second in lab.engine.attempts, "the second attempt")
    lab.engine.tell(first, Phase.TAKEN, hint=False)  # as if killed before it was removed
    await lab.engine.end(second, hint=False)
    lab.engine.sort = lambda ref: -ref.attempt if newest_first else ref.attempt
    async with lab.host() as host:
        await lab.reached(host, job, S.SUCCEEDED)
        await lab.until(lambda: not lab.engine.attempts, "both to be removed")


async def test_an_older_list_does_not_hide_the_end_that_was_heard(lab: Lab) -> None:
    async with lab.host() as host:
        job, ref = await lab.submitted(host)
        lab.engine.tell(ref, Phase.RUNNING)
        await lab.reached(host, job, S.RUNNING)
        before = lab.engine.attempts[ref]
        await lab.engine.end(ref, hint=False)
        supervisor = host._supervisors["engine"]
        supervisor._hear(lab.engine.attempts[ref])
        supervisor._hear(before)  # of a list that was begun before
        await lab.reached(host, job, S.SUCCEEDED)


async def test_evidence_that_came_while_a_job_was_given_up_counts(
    lab: Lab, quick_looks: None
) -> None:
    async with lab.host() as host:
        job, ref = await lab.submitted(host)
        supervisor = host._supervisors["engine"]
        lab.engine.tell(ref, Phase.TAKEN)
        second = RunRef(job.id, 2, "acme")
        await lab.until(lambda: second in lab.engine.attempts, "the second attempt")
        await lab.reached(host, job, lambda job: job.attempt == 2 and job.dispatched)
        await supervisor._give_up(job)  # decided when it was at its first attempt
        assert (await host.service.job("acme", job.id)).state is S.QUEUED


@pytest.mark.parametrize("call", ["observe", "remove", "snapshot", "renew", "stop"])
async def test_an_engine_that_fails_in_an_unknown_way_does_not_end_the_supervisor(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    async def fail(_: RunRef) -> None:
        raise ZeroDivisionError("a defect of the plug-in")

    async def watch() -> Any:
        yield 1 // 0

    async with lab.host() as host:
        job, ref = await lab.submitted(host)
        if call == "observe":
            monkeypatch.setattr(lab.engine, "observe", watch)
            lab.engine.tell(ref, Phase.RUNNING)
        else:
            lab.engine.before[call] = fail
        await host.service.cancel("acme", job.id)
        await lab.engine.end(ref)
        await anyio.sleep(0.05)
        lab.engine.before.clear()
        monkeypatch.undo()
        await lab.submitted(host)


async def test_a_canceled_job_whose_create_was_under_way_leaves_nothing(lab: Lab) -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    async def wait(_: RunRef) -> None:
        begun.set()
        await go_on.wait()

    lab.engine.before["submit"] = wait
    async with lab.host() as host, lab.host(supervised=False) as other:
        job = (await host.service.submit("acme", JobRequest(workflow="script"))).job
        await begun.wait()
        canceled = await other.service.cancel("acme", job.id)
        assert canceled.state is S.CANCELED
        go_on.set()
        await lab.until(lambda: lab.engine.calls[-1][0] == "remove", "the removal")
        assert not lab.engine.attempts
        assert not dispatcher_of(host)._occupied


@pytest.mark.parametrize("state", [S.QUEUED, S.RUNNING, S.STAGING_OUT])
async def test_what_ended_in_time_while_nobody_supervised_keeps_its_outcome(
    lab: Lab, state: JobState
) -> None:
    """The deadline passed long ago, but the engine knows better."""
    deadlines = {"start": "0s", "stage_out": "0s", "walltime_margin": "0s", "stop_grace": "0s"}
    async with lab.host() as host:
        job, ref = await lab.submitted(host)
        if state is S.RUNNING:
            lab.engine.tell(ref, Phase.RUNNING)
        if state is S.STAGING_OUT:
            lab.engine.tell(ref, Phase.STAGING_OUT, outcome=EXITED, ended_at=datetime.now(UTC))
        await lab.reached(host, job, state)
    await lab.engine.end(ref, hint=False)
    lab.engine.before["snapshot"] = slowly
    clock = FakeClock(datetime.now(UTC) + timedelta(days=2))
    async with lab.host(clock=clock, **deadlines) as host:
        await lab.until(lambda: ("snapshot", RunRef("", 0)) in lab.engine.calls, "a look")
        assert (await lab.reached(host, job, lambda job: job.is_final)).state is S.SUCCEEDED


async def test_a_worker_that_runs_in_time_is_not_stopped_because_nobody_saw_it_start(
    lab: Lab,
) -> None:
    async with lab.host() as host:
        job, ref = await lab.submitted(host)
    lab.engine.tell(ref, Phase.RUNNING, hint=False)
    lab.engine.before["snapshot"] = slowly
    clock = FakeClock(datetime.now(UTC) + timedelta(minutes=20))
    async with lab.host(clock=clock) as host:
        running = await lab.reached(host, job, lambda job: job.state is S.RUNNING or job.stop)
        await anyio.wait_all_tasks_blocked()
        assert running.stop is None


async def test_a_stop_that_was_obeyed_while_nobody_supervised_is_confirmed(lab: Lab) -> None:
    async with lab.host() as host:
        job, ref = await lab.submitted(host)
        lab.engine.tell(ref, Phase.RUNNING)
        await lab.reached(host, job, S.RUNNING)
        await host.service.cancel("acme", job.id)
        await lab.until(lambda: ("stop", ref) in lab.engine.calls, "the stop")
    await lab.engine.end(ref, hint=False)
    lab.engine.before["snapshot"] = slowly
    clock = FakeClock(datetime.now(UTC) + timedelta(minutes=2))
    async with lab.host(clock=clock) as host:
        job = await lab.reached(host, job, lambda job: job.is_final)
        assert (job.state, job.unconfirmed, job.exit_code) == (S.CANCELED, False, 0)


async def test_an_engine_that_does_not_answer_holds_no_deadline_up(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", timedelta(milliseconds=50))

    async def hang(_: RunRef) -> None:
        await anyio.sleep_forever()

    async with lab.host(stop_grace="0s", stop_margin="0s") as host:
        job, _ = await lab.submitted(host)
        lab.engine.before["snapshot"] = lab.engine.before["stop"] = hang
        await host.service.cancel("acme", job.id)
        job = await lab.reached(host, job, lambda job: job.is_final)
        assert (job.state, job.unconfirmed) == (S.CANCELED, True)


async def test_a_create_that_was_not_acknowledged_is_repeated_also_when_the_engine_is_full(
    lab: Lab,
) -> None:
    lab.engine.slots = 1
    async with lab.host(supervised=False) as host:
        job = (await host.service.submit("acme", JobRequest(workflow="script"))).job
    ref = RunRef(job.id, 1, "acme")
    lab.engine.tell(ref, Phase.WAITING, hint=False)  # as if killed before it was stored
    async with lab.host() as host:
        await lab.reached(host, job, lambda job: job.dispatched)
        assert ("submit", ref) in lab.engine.calls


async def test_lists_that_follow_each_other_at_once_do_not_give_a_job_up(lab: Lab) -> None:
    async with lab.host() as host:
        job, ref = await lab.submitted(host)
        supervisor = host._supervisors["engine"]
        seen = lab.engine.attempts.pop(ref)
        for _ in range(3):
            await supervisor._resync()
        lab.engine.attempts[ref] = seen
        await anyio.wait_all_tasks_blocked()
        assert (await host.service.job("acme", job.id)).state is S.QUEUED


async def test_an_attempt_that_stays_away_is_given_up(lab: Lab, quick_looks: None) -> None:
    async with lab.host() as host:
        job, ref = await lab.submitted(host)
        del lab.engine.attempts[ref]
        assert (await lab.reached(host, job, S.FAILED)).reason.code == "lost"
