"""Limits: by control groups where they can be written, else by what there is."""

import contextlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from longshore.backends.local import cgroups, processes
from longshore.models import Resources

MIB = 1024**2
HOG = "exec python3 -c 'x = bytearray(256 * 1024**2); print(len(x))'"


@pytest.fixture
def groups() -> None:
    """Control groups that can be written."""
    cage = cgroups._make(f"{cgroups.PARENT}/test/{os.getpid()}", cgroups.ROOT)
    held = set(cage.paths) if cage else set()
    if cage:
        cage.remove()
        cgroups.sweep()
    if held != {"memory", "cpu", "pids"}:
        pytest.skip("the control groups of this machine cannot be written")


@pytest.mark.anyio
async def test_more_memory_than_allowed_is_named_as_such(both: Any, groups: None) -> None:
    async with both.open() as backend:
        seen = await both.run(backend, HOG, resources=Resources(memory=64 * MIB))
        assert (seen.outcome.exit_code, seen.outcome.reason) == (137, "oom")
        assert seen.enforced["memory"] == "cgroup"
        # the same runner, more memory: the limit is the attempt's, not the runner's
        seen = await both.run(backend, HOG, resources=Resources(memory=1024 * MIB))
        assert (seen.outcome.exit_code, seen.outcome.reason) == (0, None)


@pytest.mark.anyio
async def test_without_groups_memory_is_bounded_all_the_same(lab: Any) -> None:
    async with lab.open(cgroups=False) as backend:
        ref = await lab.submit(backend, HOG, resources=Resources(memory=64 * MIB))
        seen = await lab.over(backend, ref)
        assert seen.outcome.exit_code == 1
        assert b"MemoryError" in await lab.log(backend, ref)


@pytest.mark.anyio
async def test_a_fork_bomb_stays_in_its_box_and_goes_with_the_attempt(
    both: Any, groups: None
) -> None:
    async with both.open(pids=50) as backend:
        ref = await both.submit(backend, "echo ready; while :; do sleep 1000 & done")
        await both.started(backend, ref)
        await backend.stop(ref, grace=timedelta(0))
        await both.over(backend, ref)
        assert (await both.run(backend, "exit 3")).outcome.exit_code == 3
        await backend.remove(ref)


@pytest.mark.anyio
async def test_a_sweep_leaves_the_groups_of_a_runner_that_lives(both: Any, groups: None) -> None:
    if (cgroups.ROOT / "cgroup.controllers").exists():
        pytest.skip("only version 1 has groups that wait for their members")
    async with both.open() as backend:
        ref = await both.submit(backend, "echo ready; sleep 60")
        await both.started(backend, ref)
        found = {
            name: list((cgroups.ROOT / name).glob(f"{cgroups.PARENT}/*/{both.runner(ref)}"))
            for name in ("memory", "pids", "cpu")
        }
        cgroups.sweep()
        assert {name: [path.exists() for path in paths] for name, paths in found.items()} == {
            "memory": [True], "pids": [True], "cpu": [True],
        }  # fmt: skip
        await backend.remove(ref)


def test_version_2_files_are_written_where_version_2_is_mounted(tmp_path: Path) -> None:
    # a directory that looks like it: this shows what is written, not what a kernel makes of it
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    group = tmp_path / "longshore" / "1"
    group.mkdir(parents=True)
    (group / "cgroup.controllers").write_text("cpu memory\n")
    for name in ("memory.max", "memory.swap.max", "cpu.max", "cgroup.procs"):
        (group / name).write_text("")
    cage = cgroups.enter("longshore/1", tmp_path)
    assert cage is not None
    assert cage.limit(Resources(cpu=1.5, memory=MIB), 10) == {"memory", "cpu"}
    assert (group / "memory.max").read_text() == str(MIB)
    assert (group / "cpu.max").read_text() == "150000 100000"
    assert (group / "cgroup.procs").read_text() == str(os.getpid())
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 2\n")
    assert cage.oom_kills() == 2


def test_no_groups_are_no_error(tmp_path: Path) -> None:
    assert cgroups.enter("longshore/1", tmp_path / "nothing") is None


@pytest.mark.anyio
async def test_a_worker_that_lasts_is_held_to_its_share_of_the_processors(
    both: Any, groups: None
) -> None:
    if (cgroups.ROOT / "cgroup.controllers").exists():
        pytest.skip("version 1 has the share of the processors in a tree of its own")
    script = "echo ready; (while :; do sleep 0.1; done) & while :; do sleep 0.1; done"
    async with both.open() as backend:
        ref = await both.submit(backend, script, resources=Resources(cpu=0.5))
        worker = await both.started(backend, ref)

        def groups_of_all() -> set[str]:
            found = set()
            for pid in (worker, *processes.family(worker)):
                with contextlib.suppress(OSError):
                    lines = Path(f"/proc/{pid}/cgroup").read_text("ascii").splitlines()
                    found |= {line.split(":")[2] for line in lines if line.split(":")[1] == "cpu"}
            return found

        await both.eventually(lambda: len(groups_of_all()) == 1 and groups_of_all() != {"/"})
        group = cgroups.ROOT / "cpu" / groups_of_all().pop().lstrip("/")
        assert (group / "cpu.cfs_quota_us").read_text() == "50000\n"
        await backend.remove(ref)
