"""R1 over HTTP: what was answered with 2xx runs and ends once, however often the server is killed.

The long run: ``R1_KILLS=50 R1_SUBMISSIONS=10000``.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.http_faults.harness import HttpHarness

pytestmark = [pytest.mark.kill, pytest.mark.timeout(3600)]

Count = Callable[[str], None]
SUBMISSIONS = int(os.environ.get("R1_SUBMISSIONS", "2000"))
KILLS = int(os.environ.get("R1_KILLS", "10"))


@pytest.mark.thorough
def test_no_submission_over_http_is_lost_or_run_twice_while_the_server_is_killed(
    home: Path, count: Count
) -> None:
    harness = HttpHarness(home=home, submissions=SUBMISSIONS, kills=KILLS, seed=7)
    tally = harness.run()
    count(str(tally))
    assert harness.contradictions == []
    assert (tally.submitted, tally.kills) == (SUBMISSIONS, KILLS)
    assert tally.faults == {}, harness.history()


def test_negative_control_an_answer_before_the_commit_loses_jobs(home: Path, count: Count) -> None:
    harness = HttpHarness(
        home=home,
        submissions=600,
        kills=8,
        seed=5,
        mutations="second-look,answer-first",
        enough=lambda it: it.lacks_a_job(),
    )
    tally = harness.run()
    count(str(tally))
    assert tally.without_a_job > 0
