"""Defects that were found where programs take over from each other."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from longshore.embedded import Embedded, open_embedded
from longshore.errors import StoreUnavailable
from longshore.models import JobRequest, Workflow
from longshore.role import Role

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

TABLE = {"workflows": {"shipped": False}, "backends": {"local": {"isolation": "none"}}}
WORKFLOW = Workflow(id="script", command=("true",))


def is_free(home: Path) -> bool:
    """Say whether nobody has the role."""
    role = Role(home)
    try:
        return role.acquire()
    finally:
        role.release()


async def submit(embedded: Embedded) -> None:
    await embedded.host.service.submit("local", JobRequest(workflow="script"))


async def test_leaving_ends_after_the_supervisor_broke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("a defect")

    async def use_it() -> None:
        async with open_embedded(tmp_path, table=TABLE) as embedded:
            monkeypatch.setattr(embedded.host, "supervise", broken)
            embedded.engage()
            await anyio.sleep_forever()

    with anyio.fail_after(20), pytest.raises(ExceptionGroup):
        await use_it()
    assert is_free(tmp_path)


async def test_a_job_that_came_while_the_holder_left_gets_a_supervisor(tmp_path: Path) -> None:
    detached: list[str] = []

    def record(name: str, embedded: Embedded) -> None:
        async def detach() -> None:
            detached.append(name)

        embedded._detach = detach  # type: ignore[method-assign]

    async with open_embedded(tmp_path, table=TABLE, workflows=[WORKFLOW]) as holder:
        record("holder", holder)
        holder.engage()
        await holder.held.wait()
        is_idle = holder.is_idle

        async def look_and_be_overtaken() -> bool:
            found = await is_idle()
            async with open_embedded(tmp_path, table=TABLE) as other:
                record("other", other)
                await submit(other)
            return found

        holder.is_idle = look_and_be_overtaken  # type: ignore[method-assign]
    assert detached


async def test_a_store_that_cannot_be_asked_does_not_keep_the_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise StoreUnavailable("busy")

    async with open_embedded(tmp_path, table=TABLE, workflows=[WORKFLOW]) as embedded:
        embedded.engage()
        await embedded.held.wait()
        monkeypatch.setattr(embedded.host.store, "jobs", fail)
        monkeypatch.setattr(embedded, "_detach", anyio.lowlevel.checkpoint)
    assert is_free(tmp_path)


def test_a_full_disk_does_not_keep_the_role_from_being_taken_and_given_back(
    small_disk: Path,
) -> None:
    role = Role(small_disk)
    assert role.acquire()
    role.release()
    with pytest.raises(OSError, match="No space"):
        (small_disk / "full").write_bytes(bytes(2 * 1024**2))
    assert role.acquire()
    assert role.is_held
    role.release()
    assert is_free(small_disk)


def test_a_directory_that_is_gone_gives_no_role_and_ends_the_one_that_was(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    role = Role(home)
    assert role.acquire()
    shutil.rmtree(home)
    assert not role.is_held
    assert not is_free(home)
    role.release()


def test_a_fork_of_the_program_does_not_keep_the_role(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from longshore.role import Role
role = Role(Path(sys.argv[1]))
assert role.acquire()
child = os.fork()
if not child:
    signal.pause()
role.release()
print(Role(Path(sys.argv[1])).acquire())
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
"""
    argv = [sys.executable, "-c", program, str(tmp_path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    assert said.stdout == "True\n"
