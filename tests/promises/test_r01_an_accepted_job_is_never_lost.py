"""R1: what was accepted runs and ends, whenever the service is killed; and R2 in the same run."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kill.harness import Harness

pytestmark = [pytest.mark.kill, pytest.mark.timeout(600)]

Count = Callable[[str], None]


@pytest.mark.parametrize(
    ("submissions", "kills"), [(300, 6), pytest.param(2000, 30, marks=pytest.mark.thorough)]
)
def test_no_submission_is_lost_or_run_twice_while_the_service_is_killed(
    home: Path, count: Count, submissions: int, kills: int
) -> None:
    harness = Harness(home=home, submissions=submissions, kills=kills, seed=7)
    tally = harness.run()
    count(str(tally))
    assert (tally.submitted, tally.kills) == (submissions, kills)
    assert tally.faults == {}, harness.history()


@pytest.mark.thorough
def test_nothing_runs_twice_while_keepers_and_runners_are_killed_as_well(
    home: Path, count: Count
) -> None:
    harness = Harness(
        home=home, submissions=200, kills=8, seed=3, targets=("keeper", "runner", "runner")
    )
    tally = harness.run()
    reasons = harness.reasons()
    count(f"{tally}, reasons {dict(reasons)}")
    # a runner that is killed just before it starts its worker leaves a doubt: said, never guessed
    assert tally.faults.keys() <= {"lost", "not_succeeded"}
    assert set(reasons) <= {"lost"}
    assert tally.others_killed > 0
    assert tally.not_succeeded <= tally.others_killed


def test_negative_control_dispatched_before_the_create_loses_jobs(home: Path, count: Count) -> None:
    harness = Harness(
        home=home,
        submissions=300,
        kills=20,
        seed=5,
        mutations="slow-engine,dispatched-first",
        pause=(0.15, 0.3),
        enough=lambda it: "lost" in it.reasons(),
    )
    tally = harness.run()
    count(str(tally))
    assert tally.not_succeeded > 0
    assert harness.reasons()["lost"] > 0
