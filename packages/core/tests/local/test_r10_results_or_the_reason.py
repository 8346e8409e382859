"""R10, on this machine: results wait for a storage that is away, and a full disk is said."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from longshore.errors import BackendUnavailable
from longshore.models import OutcomeKind, Phase

pytestmark = pytest.mark.anyio


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a tmpfs")
    disk = tmp_path / "state"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "zeros").open("wb", buffering=0) as zeros:
        while True:
            zeros.write(bytes(4096))


async def put_away(lab: Any) -> Path:
    away: Path = lab.directory / "away"
    (lab.directory / "storage" / "uploads").rename(away)
    return away


async def test_results_are_delivered_when_the_storage_is_back(
    lab: Any, outputs: Callable[..., Any]
) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(
            backend, "echo ready; echo result > $LS_OUTPUT_R; sleep 0.1", outputs=outputs("r")
        )
        away = await put_away(lab)
        seen = await lab.until(backend, ref, Phase.STAGING_OUT)
        assert seen.outcome.exit_code == 0
        away.rename(lab.directory / "storage" / "uploads")
        seen = await lab.over(backend, ref)
        assert seen.message == ""
    assert await lab.stored(ref, "r") == b"result\n"
    assert (await lab.manifest(ref)).problems == ()


async def test_results_outlive_the_death_of_their_runner(
    lab: Any, outputs: Callable[..., Any]
) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(
            backend, "echo ready; echo result > $LS_OUTPUT_R; sleep 0.1", outputs=outputs("r")
        )
        away = await put_away(lab)
        await lab.until(backend, ref, Phase.STAGING_OUT)
        lab.kill(lab.runner(ref))
        away.rename(lab.directory / "storage" / "uploads")
        assert (await lab.over(backend, ref)).outcome.kind is OutcomeKind.EXITED
    assert await lab.stored(ref, "r") == b"result\n"


async def test_control_without_patience_the_results_stay_behind_and_that_is_said(
    lab: Any, outputs: Callable[..., Any]
) -> None:
    async with lab.open(outage=timedelta(0)) as backend:
        ref = await lab.submit(
            backend, "echo ready; echo result > $LS_OUTPUT_R; sleep 0.1", outputs=outputs("r")
        )
        await put_away(lab)
        seen = await lab.over(backend, ref)
    assert (seen.phase, seen.outcome.exit_code) == (Phase.ENDED, 0)
    assert "manifest" in seen.message


async def test_an_attempt_that_is_removed_does_not_wait_for_the_storage(lab: Any) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, "echo ready; sleep 0.1")
        await put_away(lab)
        await lab.until(backend, ref, Phase.STAGING_OUT)
        await backend.remove(ref)
        assert not lab.path(ref).exists()


async def test_a_worker_that_fills_the_disk_is_told_so(lab: Any, full_disk: Path) -> None:
    async with lab.open() as backend:
        seen = await lab.run(backend, "cat /dev/zero > $HOME/zeros")
        assert (seen.outcome.exit_code, seen.outcome.reason) == (1, "disk")


async def test_on_a_full_disk_nothing_is_accepted_and_nothing_forgotten(
    lab: Any, full_disk: Path
) -> None:
    async with lab.open() as backend:
        before = await lab.submit(backend, "exit 3")
        await lab.over(backend, before)
        _fill(full_disk)
        with pytest.raises(BackendUnavailable, match="No space"):
            await lab.submit(backend, "true")
        snapshot = await backend.snapshot()
        assert [seen.job_id for seen in snapshot.observations] == [before.job_id]
        (full_disk / "zeros").unlink()
        assert (await lab.run(backend, "exit 4")).outcome.exit_code == 4


async def test_an_input_for_which_there_is_no_room_is_the_disks_doing(
    lab: Any, full_disk: Path
) -> None:
    async with lab.open() as backend:
        seen = await lab.run(backend, "true", content={"text": bytes(2 * 1024**2)})
        assert (seen.outcome, seen.reason) == (None, "disk")
