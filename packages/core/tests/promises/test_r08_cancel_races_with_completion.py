"""R8: whichever of cancel and completion comes first, a job has one end, and it is the true one.

Ten thousand races of two processes whose memories are stale: each wish, report and verdict is a
task of its own, and where it lets the others go first is drawn by lot.
"""

import random
from collections.abc import Sequence

import anyio
import anyio.lowlevel
import attrs
import pytest

from longshore import decisions
from longshore.deadlines import Limits, verdict
from longshore.eventlog import EventLog
from longshore.jobs import Step
from longshore.ledger import Decide, Ledger
from longshore.lifecycle import FINAL, JobState
from longshore.models import Job, JobEvent, Observation, Outcome, OutcomeKind, Phase
from longshore.testing.fakes import FakeClock
from longshore.testing.memory_store import MemoryStore
from longshore.testing.store import make_job
from longshore.transfer import Transfer

pytestmark = pytest.mark.anyio

RACES = 10_000
SEED = 8
ENDED = Outcome(kind=OutcomeKind.EXITED, exit_code=0)


class SlowStore(MemoryStore):
    """A store whose reads and writes take a while, by lot: others come in between."""

    def __init__(self, lot: random.Random) -> None:
        super().__init__()
        self._lot = lot

    async def job(self, job_id: str) -> Job | None:
        found = await super().job(job_id)
        for _ in range(self._lot.randrange(3)):
            await anyio.lowlevel.checkpoint()
        return found


class CarelessStore(SlowStore):
    """A store that writes whatever it is given, behind whatever it has."""

    async def save(
        self,
        job: Job,
        events: Sequence[JobEvent],
        *,
        expected: int,
        transfers: Sequence[Transfer] = (),
    ) -> None:
        kept = await super().job(job.id)
        assert kept is not None
        late = [attrs.evolve(one, seq=one.seq + kept.seq - expected) for one in events]
        job = attrs.evolve(job, seq=job.seq + kept.seq - expected)
        await super().save(job, late, expected=kept.seq, transfers=transfers)


class Race:
    """A running job, and two processes that hear of it."""

    def __init__(self, number: int, lot: random.Random, store: SlowStore) -> None:
        self.lot = lot
        self.clock = FakeClock()
        self.store = store
        self.ledgers = [
            Ledger(self.store, EventLog(self.store), self.clock, Limits()) for _ in range(2)
        ]
        self.id = make_job(number).id
        self.number = number

    async def begin(self) -> None:
        await self.ledgers[0].open(make_job(self.number), queue=True)
        await self.ledgers[0].change(self.id, decisions.on_dispatched)
        await self.ledgers[0].change(self.id, self.report(Phase.RUNNING))

    def report(self, phase: Phase, outcome: Outcome | None = None) -> Decide:
        seen = Observation(job_id=self.id, attempt=1, phase=phase, outcome=outcome)
        return lambda job: decisions.on_observation(job, seen, restartable=False)

    async def change(self, decide: Decide) -> Job:
        for _ in range(self.lot.randrange(4)):
            await anyio.lowlevel.checkpoint()
        return await self.lot.choice(self.ledgers).change(self.id, decide)

    async def cancel(self) -> None:
        await self.change(
            lambda job: decisions.on_stop(job, by="consumer", why="cancel", at=self.clock.now())
        )

    async def complete(self) -> None:
        await self.change(self.report(Phase.ENDED, ENDED))
        await self.change(_end)

    async def run(self) -> Job:
        await self.begin()
        parts = [self.cancel, self.complete, self.complete, self.cancel]
        self.lot.shuffle(parts)
        async with anyio.create_task_group() as tasks:
            for part in parts:
                tasks.start_soon(part)
        job = await self.store.job(self.id)
        assert job is not None
        return job

    async def ends(self) -> list[JobState]:
        events = await self.store.events(self.id, limit=1000)
        return [event.data["state"] for event in events if event.data.get("state") in FINAL]


def _end(job: Job) -> Step | None:
    if job.state is not JobState.STAGING_OUT:
        return None
    target, why = verdict(job)
    return Step(target, {"reason": why})


async def _all_ends(kind: type[SlowStore]) -> dict[JobState, int]:
    """Run the races; return how they ended."""
    lot = random.Random(SEED)
    found = dict.fromkeys(FINAL, 0)
    for number in range(RACES):
        race = Race(number, lot, kind(lot))
        job = await race.run()
        (end,) = await race.ends()
        assert job.outcome is not None
        stopped = job.outcome.kind is OutcomeKind.STOPPED
        assert end is job.state is (JobState.CANCELED if stopped else JobState.SUCCEEDED)
        assert not stopped or job.stop is not None
        found[end] += 1
    return found


@pytest.mark.thorough
async def test_ten_thousand_races_have_one_true_end_each() -> None:
    found = await _all_ends(SlowStore)
    assert found[JobState.CANCELED] > RACES // 10
    assert found[JobState.SUCCEEDED] > RACES // 10


async def test_control_without_compare_and_swap_a_job_ends_twice_or_untruly() -> None:
    with pytest.raises((ValueError, AssertionError)):
        await _all_ends(CarelessStore)
