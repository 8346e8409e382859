"""No wake-up is lost: what is waited for is looked at as soon as there is anything to see."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings, strategies as st

from longshore.clock import Clock, SystemClock
from longshore.models import JobRequest, JobState, RunRef
from longshore.supervisor import supervisor as module
from longshore.supervisor.nudge import Nudge

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

Lab = Any
NEVER = timedelta(hours=1)
JOBS = 9


class Forgetful(Nudge):
    """Loses what was given while nobody waited."""

    async def wait(self, at_most: timedelta) -> None:
        self._given = anyio.Event()
        await super().wait(at_most)


async def carried(kind: Callable[[Clock], Nudge], pauses: list[tuple[int, int]]) -> int:
    """Return how much of what was left at pauses of the giver and the taker was taken."""
    waiting, left, taken = kind(SystemClock()), 0, 0

    async def rest(rounds: int) -> None:
        for _ in range(rounds):
            await anyio.lowlevel.checkpoint()

    async def take() -> None:
        nonlocal left, taken
        for _, pause in (*pauses, (0, 0)):  # a look more than there are gifts
            found, left = left, 0
            await rest(pause)
            taken += found
            if taken == len(pauses):
                return
            await waiting.wait(NEVER)

    with anyio.move_on_after(0.2):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            for pause, _ in pauses:
                await rest(pause)
                left += 1
                waiting.give()
    return taken


_PAUSES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8)


@settings(deadline=None, derandomize=True)
@given(pauses=_PAUSES)
def test_whatever_was_left_before_a_nudge_is_taken_after_it(pauses: list[tuple[int, int]]) -> None:
    assert anyio.run(carried, Nudge, pauses) == len(pauses)


def test_control_a_nudge_that_forgets_leaves_something_behind() -> None:
    assert anyio.run(carried, Forgetful, [(0, 4), (1, 4)]) < 2


async def test_a_nudge_that_nobody_gives_ends_by_itself() -> None:
    with anyio.fail_after(10):
        await Nudge(SystemClock()).wait(timedelta(milliseconds=1))


@pytest.fixture
def no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at nothing by the clock alone."""
    monkeypatch.setattr(module, "_POLL", NEVER)


async def _carried_by(lab: Lab, seconds: float) -> int:
    """Submit many jobs for two slots, end each when the engine has it; return how many ended."""
    ended: set[RunRef] = set()

    async def slowly(ref: RunRef) -> None:
        await anyio.sleep(0.001 * (int(ref.job_id[-1], 36) % 5))

    lab.engine.before = {"submit": slowly, "remove": slowly}
    async with lab.host() as host:
        request = JobRequest(workflow="script")
        made = [(await host.service.submit("acme", request)).job for _ in range(JOBS)]
        with anyio.move_on_after(seconds):
            while len(ended) < JOBS:
                await lab.until(lambda: lab.engine.plans.keys() - ended, "an attempt")
                for ref in lab.engine.plans.keys() - ended:
                    ended.add(ref)
                    await lab.engine.end(ref)
            for job in made:
                await lab.reached(host, job, JobState.SUCCEEDED)
        return sum([(await host.service.job("acme", job.id)).is_final for job in made])


async def test_no_job_is_left_waiting_when_a_slot_gets_free(lab: Lab, no_polls: None) -> None:
    assert await _carried_by(lab, seconds=20) == JOBS


async def test_control_without_nudges_jobs_are_left_waiting(
    lab: Lab, no_polls: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Nudge, "give", lambda _: None)

    assert await _carried_by(lab, seconds=0.5) < JOBS


async def _wish_of_another(lab: Lab, supervising: Any) -> RunRef:
    """Cancel a job by a host that supervises nothing, and return its attempt."""
    job, ref = await lab.submitted(supervising)
    async with lab.host(supervised=False) as other:
        await other.service.cancel("acme", job.id)
    return RunRef(ref.job_id, ref.attempt)


def _is_asked(lab: Lab, ref: RunRef) -> bool:
    return any(
        name == "stop" and (one.job_id, one.attempt) == (ref.job_id, ref.attempt)
        for name, one in lab.engine.calls
    )


async def test_what_another_process_wants_to_stop_is_heard_by_the_next_poll(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_POLL", timedelta(milliseconds=20))
    async with lab.host() as host:
        ref = await _wish_of_another(lab, host)
        with anyio.fail_after(2):
            await lab.until(lambda: _is_asked(lab, ref), "the engine to be asked")


async def test_who_is_woken_hears_what_another_process_wants_without_a_poll(
    lab: Lab, no_polls: None
) -> None:
    async with lab.host() as host:
        ref = await _wish_of_another(lab, host)
        await anyio.wait_all_tasks_blocked()
        assert not _is_asked(lab, ref), "nobody has said anything"
        host.wake()
        await lab.until(lambda: _is_asked(lab, ref), "the engine to be asked")
