"""Several programs on one state directory: each submits and cancels, one of them supervises."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Open
from tests.support import attempts_in, holder, holders_of, processes_of, settings, shell, until

from longshore import Longshore
from longshore.models import JobState

pytestmark = [pytest.mark.kill, pytest.mark.timeout(300)]

PROGRAM = Path(__file__).parent.parent / "second.py"
WAITING = "echo begun; until [ -e {0}/go ]; do sleep 0.02; done; echo done"


class Second:
    """Another program that uses the service by the same façade."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, *words: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 0


@contextlib.contextmanager
def second(home: Path) -> Iterator[Second]:
    argv = [sys.executable, str(PROGRAM), str(home), json.dumps(settings())]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            yield Second(other)
        finally:
            other.kill()


def test_a_second_program_submits_follows_and_cancels_at_the_holder(
    opened: Open, home: Path, tmp_path: Path
) -> None:
    with opened(shell(WAITING.format(tmp_path))) as longshore:
        assert longshore.run("script").id
        with second(home) as other:
            job_id = other.ask("submit", "script")
            until(lambda: other.ask("log", job_id) == "begun\n", "the holder to serve it")
            assert not other.ask("holds")
            assert longshore.job(job_id).state is JobState.RUNNING
            doomed = other.ask("submit", "script")
            other.ask("cancel", doomed)
            assert other.ask("wait", doomed) == "CANCELED"
            (tmp_path / "go").touch()
            assert other.ask("wait", job_id) == "SUCCEEDED"
            assert other.ask("log", job_id) == "begun\ndone\n"
            other.leave()
        assert longshore.job(job_id).wait(30).state is JobState.SUCCEEDED


def test_a_waiting_program_takes_over_when_the_holder_is_killed(
    opened: Open, home: Path, tmp_path: Path
) -> None:
    with opened(shell(WAITING.format(tmp_path))):
        pass
    with holder(home) as first, opened() as longshore:
        handle = longshore.run("script")
        until(lambda: handle.state is JobState.RUNNING, "the worker")
        assert not longshore.bridge.embedded.is_holder
        first.kill()
        until(lambda: longshore.bridge.embedded.is_holder, "the role to pass on")
        (tmp_path / "go").touch()
        job = handle.wait(30)
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
        again = longshore.run("script")
        assert again.wait(30).state is JobState.SUCCEEDED


def test_jobs_go_on_in_a_detached_holder_that_ends_after_them(
    opened: Open, home: Path, tmp_path: Path
) -> None:
    with opened(shell(WAITING.format(tmp_path)), table=settings(slots=1)) as longshore:
        ids = [longshore.run("script").id for _ in range(3)]  # two of them wait for the slot
    until(lambda: holders_of(home), "the detached holder")
    (tmp_path / "go").touch()
    until(lambda: not processes_of(home), "the holder to finish and leave")
    assert attempts_in(home) == []
    with opened() as longshore:
        assert {longshore.job(job_id).state for job_id in ids} == {JobState.SUCCEEDED}


def test_a_program_that_leaves_nothing_behind_starts_no_holder(opened: Open, home: Path) -> None:
    with opened(shell("true")) as longshore:
        longshore.run("script").wait(30)
    assert holders_of(home) == []
    until(lambda: not processes_of(home), "everything to leave")


def test_two_facades_of_one_program_share_the_work(opened: Open, home: Path) -> None:
    with opened(shell("echo $LS_PARAM_N", parameters=_N)) as first, opened() as other:
        handles = [
            longshore.run("script", parameters={"n": n})
            for n in range(5)
            for longshore in (first, other)
        ]
        assert {handle.wait(30).state for handle in handles} == {JobState.SUCCEEDED}
        holding = [one.bridge.embedded.is_holder for one in (first, other)]
        assert sorted(holding) == [False, True]
        assert len(first.jobs()) == 10
        assert [job.id for job in first.jobs()] == [job.id for job in other.jobs()]


_N = {"type": "object", "properties": {"n": {"type": "integer"}}}


def test_the_first_of_two_facades_leaves_and_the_other_one_supervises(
    opened: Open, home: Path, tmp_path: Path
) -> None:
    with opened(shell(WAITING.format(tmp_path))) as first:
        job_id = first.run("script").id
        until(lambda: first.job(job_id).state is JobState.RUNNING, "the worker")
        with opened() as other:
            _leave(first)
            (tmp_path / "go").touch()
            assert other.job(job_id).wait(30).state is JobState.SUCCEEDED


def _leave(longshore: Longshore) -> None:
    """Give the role up, as at the end of the ``with`` block."""
    longshore.bridge.call(lambda it: it.leave())


def test_a_holder_that_hangs_up_on_its_settings_loses_no_job(opened: Open, home: Path) -> None:
    """The program is killed while it leaves: whoever comes next goes on."""
    with opened(shell("exit 7")):
        pass
    with second(home) as other:
        job_id = other.ask("submit", "script")
        os.kill(other.process.pid, signal.SIGKILL)
    with opened() as longshore:
        assert longshore.job(job_id).wait(30).exit_code == 7
