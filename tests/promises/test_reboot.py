"""The machine starts anew: pids of before mean nothing, and nobody pretends to know an end."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Open
from tests.support import attempts_in, end_processes_of, in_role, kill, shell, started, until

from longshore.backends.local import attempts, lines
from longshore.backends.local.processes import boot_id
from longshore.models import Fault, JobState, OutcomeKind, Output

pytestmark = [
    pytest.mark.kill,
    pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's boot id"),
]

OTHER_BOOT = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def _reboot(home: Path, replacements: dict[str, str]) -> None:
    """End everything as a power cut does, and have the attempt's file tell of another boot."""
    end_processes_of(home)
    (name,) = attempts_in(home)
    file = home / "backends" / "local" / "attempts" / name / attempts.FILE
    content = file.read_bytes()
    told = b""
    for line in lines.whole_lines(name, content).splitlines():
        body = lines.unseal(name, line)
        assert body is not None
        text = body.decode()
        if boot_id() in text:
            for old, new in {boot_id(): OTHER_BOOT, **replacements}.items():
                text = text.replace(old, new)
        told += lines.seal(name, text)
    assert OTHER_BOOT.encode() in told
    assert all(new.encode() in told for new in replacements.values())
    file.write_bytes(told.ljust(len(content), b"\0"))


def test_a_job_that_ran_is_lost_and_whoever_has_its_pid_now_is_let_alone(
    opened: Open, home: Path, tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    pid_file = tmp_path / "pid"
    script = f"echo partial; echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; sleep 1000"
    with opened(shell(script)) as longshore:
        handle = longshore.run("script")
        until(pid_file.exists, "the worker")
        until(lambda: handle.state is JobState.RUNNING, "the worker to be seen")
    worker = pid_file.read_text().strip()
    start = started(int(worker))
    other = started(bystander.pid)
    assert start is not None
    assert other is not None
    _reboot(home, {f'"pid":{worker},': f'"pid":{bystander.pid},', f'"{start}"': f'"{other}"'})
    with opened() as longshore:
        handle = longshore.job(handle.id)
        job = handle.wait(30)
        assert job.state is JobState.FAILED
        assert job.outcome is not None
        assert job.outcome.kind is OutcomeKind.LOST
        assert job.reason is not None
        assert (job.reason.code, job.reason.fault) == ("lost", Fault.PLATFORM)
        assert job.reason.retryable
        assert job.attempt == 1  # it may have run: never again
        assert b"".join(handle.logs()) == b"partial\n"
        until(lambda: not attempts_in(home), "the attempt to be removed")
    assert bystander.poll() is None


def test_results_that_nobody_had_taken_are_none_after_it(
    opened: Open, home: Path, tmp_path: Path
) -> None:
    """What the disk has of them may be shorter than what the worker wrote."""
    written = tmp_path / "written"
    script = f'echo whole > "$LS_OUTPUT_RESULT"; touch {written}; sleep 1000'
    with opened(shell(script, outputs=[Output(name="result")])) as longshore:
        handle = longshore.run("script")
        until(written.exists, "the result")
        until(lambda: handle.state is JobState.RUNNING, "the worker to be seen")
    _reboot(home, {})
    with opened() as longshore:
        job = longshore.job(handle.id).wait(30)
        assert job.state is JobState.FAILED
        assert job.products == ()


def test_jobs_that_waited_run_after_the_start(opened: Open, home: Path, tmp_path: Path) -> None:
    script = f"echo ran >> {tmp_path}/runs-$LS_PARAM_N; [ $LS_PARAM_N = 1 ] && sleep 1000; true"
    number = {"type": "object", "properties": {"n": {"type": "integer"}}}
    table = {
        "workflows": {"shipped": False},
        "backends": {"local": {"isolation": "none", "slots": 1}},
    }
    with opened(shell(script, parameters=number), table=table) as longshore:
        first = longshore.run("script", parameters={"n": 1})
        until((tmp_path / "runs-1").exists, "the first worker")
        until(lambda: first.state is JobState.RUNNING, "the worker to be seen")
        second = longshore.run("script", parameters={"n": 2})
    _reboot(home, {})
    with opened(table=table) as longshore:
        assert longshore.job(first.id).wait(30).state is JobState.FAILED
        assert longshore.job(second.id).wait(30).state is JobState.SUCCEEDED
    assert (tmp_path / "runs-1").read_text() == "ran\n"
    assert (tmp_path / "runs-2").read_text() == "ran\n"


def test_the_same_boot_adopts_what_still_runs(opened: Open, home: Path, tmp_path: Path) -> None:
    """The control: with the true boot id, a worker whose runner and keeper died is adopted."""
    script = f"touch {tmp_path}/begun; until [ -e {tmp_path}/go ]; do sleep 0.02; done"
    with opened(shell(script)) as longshore:
        handle = longshore.run("script")
        until(lambda: handle.state is JobState.RUNNING, "the worker")
    kill([pid for role in ("other", "keeper", "runner") for pid in in_role(home, role)])
    with opened() as longshore:
        assert longshore.job(handle.id).state is JobState.RUNNING
        (tmp_path / "go").touch()
        job = longshore.job(handle.id).wait(30)
        # nobody was there to take its exit status: that is said
        assert job.reason is not None
        assert job.reason.code == "lost"
        assert job.attempt == 1
