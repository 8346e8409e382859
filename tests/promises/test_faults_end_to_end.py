"""Every fault on the whole path: a typed error at once, or a final state with reason and hint."""

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Open
from tests.support import (
    attempts_in,
    in_role,
    needs_bubblewrap,
    processes_of,
    settings,
    shell,
    small_disk,
    until,
)

from longshore import Longshore
from longshore.errors import (
    Invalid,
    LongshoreError,
    NotFound,
    RequestError,
    RequestInvalid,
    StoreUnavailable,
    TooLarge,
)
from longshore.models import Fault, Input, InputKind, Job, JobState, Workflow

pytestmark = pytest.mark.timeout(300)

MIB = 1024**2
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root makes mounts")
SCHEMA = {
    "type": "object",
    "properties": {"top": {"type": "integer", "minimum": 1}},
    "additionalProperties": False,
}
TEXT = Input(name="text", max_size=1000)
ENV = Input(name="env", kind=InputKind.ENV, names=("SOURCE",), required=False)


@pytest.fixture
def strict(opened: Open) -> Iterator[Longshore]:
    """A service with a workflow that declares a parameter and two inputs."""
    with opened(shell("true", id="strict", parameters=SCHEMA, inputs=[TEXT, ENV])) as longshore:
        yield longshore


@pytest.mark.parametrize(
    ("error", "says", "call"),
    [
        (NotFound, "strict", {"workflow": "strct"}),
        (RequestInvalid, "/parameters/top", {"parameters": {"top": 0}}),
        (RequestInvalid, "/parameters", {"parameters": {"tpo": 3}}),
        (RequestInvalid, "/inputs/txt", {"inputs": {"text": "a", "txt": "b"}}),
        (RequestInvalid, "/resources/memory", {"resources": {"memory": "100 GiB"}}),
        (RequestInvalid, "/inputs/env", {"inputs": {"text": "a", "env": "LD_PRELOAD=x\n"}}),
        (TooLarge, "1001 bytes", {"inputs": {"text": "x" * 1001}}),
    ],
    ids=["workflow", "range", "unknown parameter", "surplus input", "resources", "env", "size"],
)
def test_a_bad_request_is_refused_with_its_place_and_makes_no_job(
    strict: Longshore, error: type[RequestError], says: str, call: dict[str, Any]
) -> None:
    with pytest.raises(error) as caught:
        strict.run(**{"workflow": "strict", "inputs": {"text": "a"}, **call})
    assert says in str(caught.value)
    if not isinstance(caught.value, Invalid):
        assert caught.value.hint or "has" in caught.value.message
    assert strict.jobs() == ()


def test_all_mistakes_of_a_request_are_named_at_once(strict: Longshore) -> None:
    with pytest.raises(RequestInvalid) as caught:
        strict.run("strict", inputs={"txt": "a"}, parameters={"top": 0}, resources={"cpus": 1})
    assert len(caught.value.problems) == 3


def test_a_job_without_its_input_waits_and_says_what_it_waits_for(strict: Longshore) -> None:
    handle = strict.run("strict")
    assert handle.state is JobState.CREATED
    assert handle.job.next_what == "inputs"
    with pytest.raises(RequestError, match="'text'"):
        handle.start()
    assert handle.state is JobState.CREATED


def test_a_file_over_the_size_is_refused_and_nothing_is_kept(
    strict: Longshore, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * 1001)
    handle = strict.run("strict")
    with pytest.raises(TooLarge, match="'text'"):
        handle.put_input("text", large)
    assert handle.job.inputs == ()
    large.write_bytes(b"x" * 1000)
    handle.put_input("text", large)
    handle.start()
    assert handle.wait(30).state is JobState.SUCCEEDED


def test_a_missing_file_makes_no_job(strict: Longshore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        strict.run("strict", inputs={"text": tmp_path / "missing"})
    assert strict.jobs() == ()


# the worker


def _run(longshore: Longshore) -> Job:
    job = longshore.run("script").wait(60)
    assert job.is_final
    return job


def _check(job: Job, code: str, exit_code: int | None, fault: Fault = Fault.APP) -> None:
    assert job.state is JobState.FAILED
    assert job.reason is not None
    assert (job.reason.code, job.reason.fault) == (code, fault), job.reason
    assert job.reason.hint
    assert job.exit_code == exit_code


@pytest.mark.parametrize("isolation", ["none", pytest.param("bubblewrap", marks=needs_bubblewrap)])
@pytest.mark.parametrize(
    ("script", "code", "exit_code"),
    [
        ("exit 3", "nonzero-exit", 3),
        ("kill -9 $$", "signal", 137),
        ("kill -SEGV $$", "crash", 139),
        ("exec /does/not/exist", "command-not-found", 127),
        ("(setsid sleep 1000 &); (sleep 1000 &); exit 5", "nonzero-exit", 5),
    ],
    ids=["exit", "killed", "crash", "not found in the script", "forking"],
)
def test_a_worker_that_fails_says_how(
    opened: Open, home: Path, isolation: str, script: str, code: str, exit_code: int
) -> None:
    with opened(shell(script), table=settings(isolation)) as longshore:
        _check(_run(longshore), code, exit_code)
        until(lambda: not attempts_in(home), "the attempt to be removed")
        assert in_role(home, "worker") == []
    until(lambda: not processes_of(home), "everything to leave")


@pytest.mark.parametrize("isolation", ["none", pytest.param("bubblewrap", marks=needs_bubblewrap)])
@pytest.mark.parametrize(
    ("command", "code", "exit_code"),
    [
        ("/does/not/exist", "command-not-found", 127),
        ("/etc/passwd", "command-not-executable", 126),
    ],
)
def test_a_command_that_cannot_run_is_the_workflows_fault(
    opened: Open, isolation: str, command: str, code: str, exit_code: int
) -> None:
    workflow = Workflow(id="script", command=(command,))
    with opened(workflow, table=settings(isolation)) as longshore:
        _check(_run(longshore), code, exit_code)


def test_a_worker_that_runs_too_long_is_ended_and_keeps_what_it_said(opened: Open) -> None:
    workflow = shell("trap '' TERM; echo said; exec sleep 1000", walltime=timedelta(seconds=1))
    with opened(workflow) as longshore:
        handle = longshore.run("script")
        job = handle.wait(60)
        assert job.reason is not None
        assert job.reason.code == "walltime"
        assert job.reason.hint
        assert b"".join(handle.logs()) == b"said\n"


def _has_memory_groups() -> bool:
    v1 = Path("/sys/fs/cgroup/memory")
    return os.access(v1, os.W_OK) or os.access("/sys/fs/cgroup/cgroup.subtree_control", os.W_OK)


@pytest.mark.skipif(not _has_memory_groups(), reason="no control group for memory can be written")
def test_a_worker_over_its_memory_is_told_apart_from_a_killed_one(opened: Open) -> None:
    script = "exec /usr/bin/env python3 -c 'x = bytearray(300 * 2**20)'"
    with opened(shell(script, memory=64 * MIB)) as longshore:
        handle = longshore.run("script")
        job = handle.wait(60)
        assert job.enforced["memory"] == "cgroup"
        _check(job, "oom", 137)


def test_an_unset_limit_is_said(opened: Open) -> None:
    with opened(shell("true"), table=settings(cgroups=False)) as longshore:
        enforced = _run(longshore).enforced
    assert enforced["memory"] == "prlimit"
    assert enforced["cpu"] == "not enforced"
    assert enforced["network"] == "not enforced"


def test_an_image_never_runs_on_the_host(opened: Open, home: Path) -> None:
    workflow = Workflow(id="script", image="example.org/x@sha256:" + "0" * 64, command=("true",))
    with opened(workflow) as longshore:
        _check(_run(longshore), "not-allowed", None, Fault.POLICY)
        assert attempts_in(home) == []


# disks


@pytest.fixture
def small_home(home: Path) -> Iterator[Path]:
    """The state directory on a file system of one megabyte."""
    home.mkdir()
    with small_disk(home):
        yield home


@needs_root
def test_a_full_disk_refuses_and_loses_nothing_that_it_accepted(
    opened: Open, small_home: Path
) -> None:
    accepted: list[str] = []
    with opened(shell("true", inputs=[TEXT])) as longshore:
        with pytest.raises(LongshoreError) as caught:
            accepted.extend(longshore.run("script", key=str(n)).id for n in range(5000))
        assert "space" in str(caught.value) or "full" in str(caught.value)
        assert caught.value.hint
        assert accepted
    with opened() as longshore:  # also opens, reads and keeps what it said yes to
        for n, job_id in enumerate(accepted):
            assert longshore.job(job_id).job.key == str(n)


@needs_root
def test_a_disk_that_is_full_while_a_job_runs_delays_its_end_and_falsifies_nothing(
    opened: Open, small_home: Path, tmp_path: Path
) -> None:
    filler = small_home / "filler"
    script = f"touch {tmp_path}/begun; until [ -e {tmp_path}/go ]; do sleep 0.02; done; exit 6"
    with opened(shell(script)) as longshore:
        handle = longshore.run("script")
        until(lambda: handle.state is JobState.RUNNING, "the worker")
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        (tmp_path / "go").touch()
        until(lambda: in_role(small_home, "worker") == [], "the worker's end")
        assert not handle.job.is_final
        filler.unlink()
        job = handle.wait(60)
        assert job.exit_code == 6
        assert job.reason is not None
        assert job.reason.code in {"disk", "nonzero-exit"}  # as the disk was at the worker's end


@needs_root
def test_a_worker_that_fills_the_disk_fails_with_that_reason_and_the_service_goes_on(
    opened: Open, small_home: Path
) -> None:
    script = "head -c 5000000 /dev/zero > $TMPDIR/large"
    with opened(shell(script), shell("true", id="small")) as longshore:
        handle = longshore.run("script")
        _check(handle.wait(30), "disk", 1)
        assert longshore.run("small").wait(60).state is JobState.SUCCEEDED


def test_a_state_that_cannot_be_used_is_a_typed_error(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    with pytest.raises(StoreUnavailable) as caught, Longshore.open(place, settings=settings()):
        pass
    assert caught.value.hint
    assert str(place) in caught.value.message


def test_a_database_of_a_newer_version_is_refused(opened: Open, home: Path) -> None:
    with opened():
        pass
    with contextlib.closing(sqlite3.connect(home / "state.db")) as database:
        database.execute("PRAGMA user_version = 999")
    with pytest.raises(StoreUnavailable, match="newer"), opened():
        pass


def test_a_worker_killed_from_outside_is_no_success(opened: Open, home: Path) -> None:
    with opened(shell("echo begun; sleep 1000")) as longshore:
        handle = longshore.run("script")
        (worker,) = until(lambda: _sleepers(home), "the worker")
        os.kill(worker, signal.SIGKILL)
        _check(handle.wait(30), "signal", 137)


def _sleepers(home: Path) -> list[int]:
    found = in_role(home, "worker")
    return found[:1]
