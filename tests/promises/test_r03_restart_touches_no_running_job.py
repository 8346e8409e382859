"""R3: whoever of us is killed, workers go on, and their true end is known."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Open
from tests.support import (
    attempts_in,
    holder,
    holders_of,
    in_role,
    kill,
    processes_of,
    settings,
    shell,
    started,
    until,
    zombies_below,
)

from longshore import Longshore
from longshore.backends.local.keeping import Keeping
from longshore.handles import JobHandle
from longshore.models import JobState

pytestmark = [pytest.mark.kill, pytest.mark.timeout(300)]

JOBS = 12
#: writes down who it is, waits for its file, and ends with its number
LONG = """
echo "$$" >> {0}/started-$LS_PARAM_N
until [ -e {0}/go ]; do sleep 0.05; done
exit "$LS_PARAM_N"
"""
TABLE = settings(slots=JOBS)
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}}


class Fleet:
    """Long jobs, and who their workers are."""

    def __init__(self, longshore: Longshore, folder: Path) -> None:
        self._folder = folder
        self.ids = [longshore.run("script", parameters={"n": n}).id for n in range(JOBS)]
        until(lambda: len(self._files()) == JOBS and all(self.pids()), "all workers to run")
        self.before = self.identities()

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("started-*"))

    def pids(self) -> list[str]:
        return [file.read_text().strip() for file in self._files()]

    def identities(self) -> list[tuple[str, str | None]]:
        """Return pid and start of each worker; a second start would be a second line."""
        return [(pid, started(int(pid))) for pid in self.pids()]

    def check_untouched(self) -> None:
        assert self.identities() == self.before
        assert all(start for _, start in self.before)

    def handles(self, longshore: Longshore) -> list[JobHandle]:
        return [longshore.job(job_id) for job_id in self.ids]

    def release(self) -> None:
        (self._folder / "go").touch()


@pytest.fixture
def fleet(opened: Open, tmp_path: Path) -> Fleet:
    """Jobs that run, left by the program that submitted them."""
    with opened(shell(LONG.format(tmp_path), parameters=NUMBER), table=TABLE) as longshore:
        return Fleet(longshore, tmp_path)


def _check_true_ends(fleet: Fleet, opened: Open, home: Path) -> None:
    with opened(table=TABLE) as longshore:
        fleet.check_untouched()
        fleet.release()
        for number, job in enumerate(handle.wait(20) for handle in fleet.handles(longshore)):
            assert job.exit_code == number
            assert job.state is (JobState.FAILED if number else JobState.SUCCEEDED)
            assert job.attempt == 1
        until(lambda: not attempts_in(home), "the attempts to be removed")
        assert zombies_below(processes_of(home)) == []
    until(lambda: not processes_of(home), "everything to leave")


def test_workers_survive_service_after_service_and_their_exit_codes_are_true(
    fleet: Fleet, opened: Open, home: Path
) -> None:
    kill(until(lambda: holders_of(home), "a detached supervisor"))
    for _ in range(3):
        with holder(home, TABLE):
            fleet.check_untouched()
    with opened(table=TABLE) as longshore:  # re-adopted: all are seen running
        assert {handle.state for handle in fleet.handles(longshore)} == {JobState.RUNNING}
    _check_true_ends(fleet, opened, home)


def test_workers_survive_the_end_of_every_runner(fleet: Fleet, opened: Open, home: Path) -> None:
    runners = in_role(home, "runner")
    assert len(runners) >= JOBS
    kill(runners)
    _check_true_ends(fleet, opened, home)


def test_workers_survive_the_end_of_service_and_keeper(
    fleet: Fleet, opened: Open, home: Path
) -> None:
    kill([*until(lambda: holders_of(home), "a supervisor"), *in_role(home, "keeper")])
    _check_true_ends(fleet, opened, home)


def test_negative_control_a_service_that_takes_its_workers_along_is_seen(
    opened: Open, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close: Callable[[Keeping], object] = Keeping.close

    async def close_all(self: Keeping) -> None:
        kill(in_role(home, "worker"))
        await close(self)  # type: ignore[misc]  # a coroutine function

    monkeypatch.setattr(Keeping, "close", close_all)
    with opened(shell(LONG.format(tmp_path), parameters=NUMBER), table=TABLE) as longshore:
        fleet = Fleet(longshore, tmp_path)
    until(lambda: fleet.identities() != fleet.before, "the workers to be gone")
    with pytest.raises(AssertionError):
        fleet.check_untouched()
