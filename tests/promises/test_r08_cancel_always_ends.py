"""R8: whoever cancels, and when, the job ends soon, once, and nothing of it is left."""

import random
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conftest import Open
from tests.support import (
    attempts_in,
    in_role,
    needs_bubblewrap,
    processes_of,
    settings,
    shell,
    until,
)

from longshore import Longshore
from longshore.backends.local.backend import LocalBackend
from longshore.handles import JobHandle
from longshore.lifecycle import FINAL
from longshore.models import AnnouncedInput, Input, Job, JobRequest, JobState, OutcomeKind
from longshore.supervisor import deadlines

pytestmark = pytest.mark.timeout(300)

#: grace and margin of the settings in these tests, and some for a busy machine
LIMIT = 1.0 + 10.0
SLEEP = "echo begun; sleep 1000"
STUBBORN = "trap '' TERM; echo begun; while :; do sleep 0.05; done"
#: grandchildren in sessions of their own, deaf to SIGTERM, whose parent has ended
FORKING = """
trap '' TERM
(setsid sh -c "trap '' TERM; while :; do sleep 0.1; done" & )
(setsid sh -c "while :; do sleep 0.1; done" & )
echo begun; while :; do sleep 0.1; done
"""


def _begun(handle: JobHandle) -> None:
    until(lambda: b"begun" in b"".join(handle.logs()), "the worker to begin")


def _check_ended_once(handle: JobHandle) -> Job:
    job = handle.job
    final = [event for event in handle.events() if event.data.get("state") in FINAL]
    assert len(final) == 1
    assert final[0].seq == job.seq
    return job


def _nothing_left(home: Path) -> bool:
    return not attempts_in(home) and not in_role(home, "worker")


def test_a_job_that_waits_for_its_input_ends_at_once(opened: Open) -> None:
    with opened(shell("true", inputs=[Input(name="text")])) as longshore:
        handle = longshore.submit(JobRequest(workflow="script", inputs={"text": AnnouncedInput()}))
        assert handle.cancel().state is JobState.CANCELED
        assert _check_ended_once(handle).started_at is None


def test_a_job_that_waits_for_a_slot_ends_at_once_and_never_runs(
    opened: Open, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    with opened(
        shell(SLEEP, id="long"), shell(f"touch {ran}"), table=settings(slots=1)
    ) as longshore:
        first = longshore.run("long")
        _begun(first)
        second = longshore.run("script")
        canceled = second.cancel()
        assert canceled.state is JobState.CANCELED
        assert canceled.reason is not None
        assert canceled.reason.code == "canceled"
        first.cancel()
        assert first.wait(LIMIT).state is JobState.CANCELED
        assert not ran.exists()


@pytest.mark.parametrize("isolation", ["none", pytest.param("bubblewrap", marks=needs_bubblewrap)])
@pytest.mark.parametrize("script", [SLEEP, STUBBORN, FORKING], ids=["mild", "stubborn", "forking"])
def test_a_running_worker_ends_with_all_that_it_started(
    opened: Open, home: Path, script: str, isolation: str
) -> None:
    with opened(shell(script), table=settings(isolation)) as longshore:
        handle = longshore.run("script")
        _begun(handle)
        began = time.monotonic()
        handle.cancel()
        handle.cancel()
        job = handle.wait(LIMIT)
        assert time.monotonic() - began < LIMIT
        assert job.state is JobState.CANCELED
        assert not job.unconfirmed
        assert job.outcome is not None
        assert job.outcome.kind is OutcomeKind.STOPPED
        assert (job.outcome.by, job.outcome.why) == ("local", "cancel")
        _check_ended_once(handle)
        assert b"begun" in b"".join(handle.logs())
        until(lambda: _nothing_left(home), "the attempt to be removed")
    until(lambda: not processes_of(home), "everything to leave")


def test_a_worker_that_had_ended_keeps_its_outcome(opened: Open) -> None:
    with opened(shell("exit 3")) as longshore:
        handle = longshore.run("script")
        job = handle.wait(30)
        assert handle.cancel() == job
        assert handle.state is JobState.FAILED


def test_cancel_and_completion_race_to_one_end(
    opened: Open, home: Path, count: Callable[[str], None]
) -> None:
    schedule = random.Random(5)
    ends: dict[JobState, int] = {}
    with opened(shell("sleep 0.0$LS_PARAM_N", parameters=_N), table=settings(slots=4)) as longshore:
        for _ in range(15):
            handles = [
                longshore.run("script", parameters={"n": schedule.randrange(10)}) for _ in range(4)
            ]
            for handle in handles:
                _wait_a_little(handle, schedule)
                handle.cancel()
            for handle in handles:
                handle.wait(LIMIT)
                job = _check_ended_once(handle)
                ends[job.state] = ends.get(job.state, 0) + 1
                _check_agrees(job)
        until(lambda: _nothing_left(home), "the attempts to be removed")
    count(", ".join(f"{state} {n}" for state, n in sorted(ends.items())))
    assert ends.keys() == {JobState.SUCCEEDED, JobState.CANCELED}


_N = {"type": "object", "properties": {"n": {"type": "integer"}}}


def _wait_a_little(handle: JobHandle, schedule: random.Random) -> None:
    """Let the job come a random part of its way."""
    aim = schedule.choice([JobState.QUEUED, JobState.RUNNING, JobState.STAGING_OUT])
    until(lambda: handle.state in {aim, JobState.STAGING_OUT, *FINAL}, "the job to go on")


def _check_agrees(job: Job) -> None:
    """A job succeeded if and only if its worker ended with 0 before anybody asked it to stop."""
    exited = job.outcome is not None and job.outcome.kind is OutcomeKind.EXITED
    assert (job.state is JobState.SUCCEEDED) == exited


def test_a_worker_that_nobody_can_stop_is_given_up_and_swept(
    opened: Open, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _deafen(monkeypatch)
    table = settings()
    table["deadlines"] |= {"stop_grace": "0.1s", "stop_margin": "0.3s", "stop_stage_out": "0.2s"}
    with opened(shell(STUBBORN), table=table) as longshore:
        job = _cancel_running(longshore).wait(LIMIT)
        assert job.state is JobState.CANCELED
        assert job.unconfirmed
        until(lambda: _nothing_left(home), "the remains to be swept")


@pytest.mark.thorough
def test_negative_control_without_stop_and_deadline_it_runs_on(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    _deafen(monkeypatch)
    monkeypatch.setattr(deadlines, "expire", lambda _job, _now: None)
    table = settings()
    table["deadlines"] |= {"stop_grace": "0.1s", "stop_margin": "0.3s", "stop_stage_out": "0.2s"}
    with opened(shell(STUBBORN), table=table) as longshore:
        handle = _cancel_running(longshore)
        with pytest.raises(TimeoutError):
            handle.wait(2.0)
        monkeypatch.undo()  # let it end


def _cancel_running(longshore: Longshore) -> JobHandle:
    handle = longshore.run("script")
    _begun(handle)
    handle.cancel()
    return handle


def _deafen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stop(self: LocalBackend, ref: object, *, grace: timedelta) -> None:
        """Do nothing."""

    monkeypatch.setattr(LocalBackend, "stop", stop)
