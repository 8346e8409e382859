"""R10: SUCCEEDED means that every required output is stored whole; else the reason says why not."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import Open
from tests.support import in_role, kill, settings, shell, small_disk, until

from longshore.handles import JobHandle
from longshore.models import Fault, JobState, Output, OutputKind
from longshore.supervisor import finalise

pytestmark = pytest.mark.timeout(300)

MIB = 1024**2
RESULT = Output(name="result", max_size=64 * MIB)
NOTES = Output(name="notes")
FOLDER = Output(name="folder", kind=OutputKind.ARCHIVE)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root makes devices and mounts")


def _check_whole(handle: JobHandle, *required: str) -> None:
    """What a job that succeeded guarantees."""
    assert handle.state is JobState.SUCCEEDED
    for name in required:
        output = handle.output(name)
        content = output.read_bytes()
        assert len(content) == output.product.size
        assert hashlib.sha256(content).hexdigest() == output.product.sha256


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("true", "output-missing"),
        ("head -c 2000000 /dev/zero > $LS_OUTPUT_RESULT", "output-too-large"),
        ("ln -s /etc/passwd $LS_OUTPUT_RESULT", "output-refused"),
        ("mkfifo $LS_OUTPUT_RESULT", "output-refused"),
        ("mkdir $LS_OUTPUT_RESULT", "output-refused"),
        pytest.param("mknod $LS_OUTPUT_RESULT c 1 5", "output-refused", marks=needs_root),
    ],
    ids=["missing", "too large", "link out", "fifo", "directory", "device"],
)
def test_a_bad_output_fails_the_job_and_the_other_one_is_kept(
    opened: Open, script: str, code: str
) -> None:
    result = Output(name="result", max_size=MIB)
    script = f"echo kept > $LS_OUTPUT_NOTES; {script}"
    with opened(shell(script, outputs=[result, NOTES])) as longshore:
        handle = longshore.run("script")
        job = handle.wait(30)
        assert job.state is JobState.FAILED
        assert job.exit_code == 0
        assert job.reason is not None
        assert (job.reason.code, job.reason.fault) == (code, Fault.APP)
        assert job.reason.hint
        assert handle.outputs.keys() == {"notes"}
        assert handle.output("notes").read_bytes() == b"kept\n"


def test_a_directory_with_a_link_out_is_refused_as_a_whole(opened: Open) -> None:
    script = "mkdir $LS_OUTPUT_FOLDER; ln -s /etc/passwd $LS_OUTPUT_FOLDER/x"
    with opened(shell(script, outputs=[FOLDER])) as longshore:
        handle = longshore.run("script")
        job = handle.wait(30)
        assert job.reason is not None
        assert job.reason.code == "output-refused"
        assert handle.outputs == {}


def test_an_output_that_is_not_required_may_be_missing(opened: Open) -> None:
    outputs = [NOTES, Output(name="result", required=False)]
    with opened(shell("echo x > $LS_OUTPUT_NOTES", outputs=outputs)) as longshore:
        handle = longshore.run("script")
        handle.wait(30)
        _check_whole(handle, "notes")


def test_a_failed_worker_leaves_its_partial_outputs_and_its_log(opened: Open) -> None:
    script = "echo half > $LS_OUTPUT_RESULT; echo said; exit 4"
    with opened(shell(script, outputs=[RESULT])) as longshore:
        handle = longshore.run("script")
        job = handle.wait(30)
        assert (job.state, job.exit_code) == (JobState.FAILED, 4)
        assert handle.output("result").read_bytes() == b"half\n"
        assert b"".join(handle.logs()) == b"said\n"


def test_a_storage_that_was_away_gets_everything_without_a_second_run(
    opened: Open, home: Path, tmp_path: Path
) -> None:
    script = (
        f"echo ran >> {tmp_path}/runs; until [ -e {tmp_path}/go ]; do sleep 0.02; done;"
        f"head -c 1000000 /dev/urandom > $LS_OUTPUT_RESULT; touch {tmp_path}/written"
    )
    with opened(shell(script, outputs=[RESULT])) as longshore:
        handle = longshore.run("script")
        until((tmp_path / "runs").exists, "the worker")
        (home / "storage").rename(home / "away")
        (tmp_path / "go").touch()
        until(lambda: handle.state is JobState.STAGING_OUT, "the worker's end")
        (home / "away").rename(home / "storage")
        handle.wait(60)
        _check_whole(handle, "result")
        assert (tmp_path / "runs").read_text() == "ran\n"


@pytest.mark.kill
def test_runners_that_are_killed_while_they_stage_out_leave_nothing_half(
    opened: Open, home: Path, tmp_path: Path, count: Callable[[str], None]
) -> None:
    script = (
        f"echo ran >> {tmp_path}/runs; head -c {24 * MIB} /dev/urandom > $LS_OUTPUT_RESULT;"
        f"sha256sum < $LS_OUTPUT_RESULT > {tmp_path}/sum"
    )
    kills = 0
    with opened(shell(script, outputs=[RESULT])) as longshore:
        handle = longshore.run("script")
        uploads = home / "storage" / "uploads"
        for part in range(1, 7):  # at ever later points of the upload
            _until_sent(handle, uploads, part * 3 * MIB)
            kills += kill(in_role(home, "runner"))
            assert handle.outputs == {} or handle.job.is_final
        handle.wait(60)
        _check_whole(handle, "result")
        expected = (tmp_path / "sum").read_text().split()[0]
        assert handle.output("result").product.sha256 == expected
    assert (tmp_path / "runs").read_text() == "ran\n"
    count(f"{kills} runners killed")
    assert kills > 0


def _until_sent(handle: JobHandle, uploads: Path, size: int) -> None:
    until(lambda: _sent(uploads) >= size or handle.job.is_final, f"{size} bytes")


def _sent(uploads: Path) -> int:
    sizes = [0]
    for path in uploads.rglob("*"):
        with contextlib.suppress(OSError):
            sizes.append(path.stat().st_size if path.is_file() else 0)
    return max(sizes)


@pytest.fixture
def small_storage(tmp_path: Path) -> Iterator[Path]:
    """A directory for objects on a disk of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    with small_disk(place):
        yield place


@needs_root
def test_a_full_storage_fails_the_job_lists_nothing_and_recovers(
    opened: Open, small_storage: Path
) -> None:
    table = settings(outage="0.3s") | {"storage": {"directory": str(small_storage)}}
    script = "echo x > $LS_OUTPUT_NOTES; head -c $LS_PARAM_N /dev/zero > $LS_OUTPUT_RESULT"
    number = {"type": "object", "properties": {"n": {"type": "integer"}}}
    workflow = shell(script, outputs=[RESULT, NOTES], parameters=number)
    with opened(workflow, table=table) as longshore:
        handle = longshore.run("script", parameters={"n": 3 * MIB})
        job = handle.wait(60)
        assert job.state is JobState.FAILED
        assert job.reason is not None
        assert job.reason.code in {"output-unavailable", "manifest-missing"}
        assert job.reason.fault is Fault.PLATFORM
        assert "result" not in handle.outputs
        fine = longshore.run("script", parameters={"n": 1000})
        fine.wait(60)
        _check_whole(fine, "result", "notes")


def test_negative_control_without_the_check_a_job_succeeds_without_its_output(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finalise, "_shortcoming", lambda *_: None)
    with opened(shell("true", outputs=[RESULT])) as longshore:
        handle = longshore.run("script")
        handle.wait(30)
        with pytest.raises(Exception, match="no output 'result'"):
            _check_whole(handle, "result")
