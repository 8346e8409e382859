"""R2: one submission is one job, and one job runs once. The long run is in R1's module."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.conftest import Open
from tests.kill.harness import SERVICE, Harness
from tests.support import attempts_in, processes_of, shell, until

from longshore.errors import IdempotencyConflict
from longshore.models import JobRequest

pytestmark = [pytest.mark.kill, pytest.mark.timeout(600)]

Count = Callable[[str], None]
NUMBER = {"type": "object", "properties": {"number": {"type": "integer"}}}


def test_the_same_key_a_hundred_times_at_once_is_one_job(
    opened: Open, home: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    request = JobRequest(workflow="script", parameters={"number": 1})
    with opened(shell(f"echo x >> {runs}", parameters=NUMBER)) as longshore:
        with ThreadPoolExecutor(max_workers=50) as threads:
            ids = set(threads.map(lambda _: longshore.submit(request, key="once").id, range(100)))
        assert len(ids) == 1
        longshore.job(ids.pop()).wait(30)
        assert len(longshore.jobs()) == 1
    assert runs.read_text() == "x\n"


def test_a_key_with_another_request_is_refused_and_names_the_job(opened: Open) -> None:
    with opened(shell("true", parameters=NUMBER)) as longshore:
        first = longshore.submit(JobRequest(workflow="script", parameters={"number": 1}), key="k")
        with pytest.raises(IdempotencyConflict, match=first.id) as caught:
            longshore.submit(JobRequest(workflow="script", parameters={"number": 2}), key="k")
        assert caught.value.hint
        first.wait(30)
        with pytest.raises(IdempotencyConflict):
            longshore.submit(JobRequest(workflow="script", parameters={"number": 2}), key="k")
        again = longshore.submit(JobRequest(workflow="script", parameters={"number": 1}), key="k")
        assert again.id == first.id


def test_negative_control_a_key_in_a_later_commit_makes_two_jobs(home: Path, count: Count) -> None:
    harness = Harness(
        home=home,
        submissions=400,
        kills=20,
        seed=11,
        mutations="slow-engine,key-later",
        pause=(0.15, 0.3),
        enough=Harness.has_doubled,
    )
    tally = harness.run()
    count(str(tally))
    assert tally.with_more_jobs > 0


@contextlib.contextmanager
def _service(home: Path, mutations: str) -> Iterator[subprocess.Popen[bytes]]:
    """A service with one submission, whose worker writes to ``_runs(home)``."""
    _runs_file(home).touch()
    argv = [sys.executable, str(SERVICE), str(home), str(_runs_file(home)), mutations]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as service:
        assert service.stdin is not None
        service.stdin.write(b'{"key": "0", "number": 0}\n')
        service.stdin.close()
        try:
            yield service
        finally:
            service.kill()


def _runs_file(home: Path) -> Path:
    return home.with_name("runs")


def _runs(home: Path) -> int:
    return len(_runs_file(home).read_text().split())


def _kill_after_the_create(home: Path) -> None:
    """Kill a service between create and ``dispatched``, and let the attempt end."""
    with _service(home, "last-words") as service:
        assert service.wait(60) == -signal.SIGKILL
    until(lambda: not processes_of(home), "the keeper to end the attempt")
    assert len(attempts_in(home)) == 1
    assert _runs(home) == 1


@pytest.mark.parametrize("late", ["slow-spec", "stale-list"])
def test_an_end_that_is_seen_while_the_create_is_repeated_does_not_run_it_again(
    home: Path, late: str
) -> None:
    _kill_after_the_create(home)
    with _service(home, f"linger,slow-answer,slow-record,{late}") as service:
        assert service.wait(60) == 0
    assert attempts_in(home) == []
    assert _runs(home) == 1


@pytest.mark.parametrize(
    "mutations",
    ["slow-answer,slow-spec,no-wait", "slow-answer,stale-list,trusting", "random-name"],
    ids=["settled while submitting", "stale list believed", "random name"],
)
def test_negative_control_without_the_rule_it_runs_again(home: Path, mutations: str) -> None:
    _kill_after_the_create(home)
    with _service(home, f"linger,slow-record,{mutations}"):
        until(lambda: _runs(home) == 2, "the second run of one submission")
