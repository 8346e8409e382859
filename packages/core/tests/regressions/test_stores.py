"""Defects that were found in the stores."""

import sqlite3
from pathlib import Path

import anyio
import pytest

from longshore import Longshore
from longshore.errors import NotFound, RequestInvalid, SettingsInvalid, StoreUnavailable
from longshore.models import JobRequest, Workflow
from longshore.settings import parse_settings
from longshore.stores import sqlite
from longshore.stores.sqlite import open_sqlite
from longshore.testing.store import add, make_job

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


async def test_writers_wait_for_a_lock_together_not_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.2)
    hints: list[str] = []
    async with open_sqlite(tmp_path / "state.db") as store:

        async def write(number: int) -> None:
            try:
                await add(store, make_job(number))
            except StoreUnavailable as exc:
                hints.append(exc.hint)

        other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with anyio.fail_after(10):  # one after the other, they would wait for 20 seconds
            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon(write, number)
        other.close()
    assert len(hints) == 100
    assert set(hints) == {"end the process that keeps it locked; nothing was changed"}


def test_text_that_no_store_keeps_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    table = {"workflows": {"shipped": False}, "backends": {"local": {"isolation": "none"}}}
    workflow = Workflow(id="script", command=("true",))
    with Longshore.open(tmp_path, settings=table, workflows=[workflow]) as longshore:
        with pytest.raises(NotFound):
            longshore.job("\udcff")
        with pytest.raises(NotFound):
            longshore.workflow("\udcff")
        with pytest.raises(RequestInvalid):
            longshore.submit(JobRequest(workflow="script"), key="\udcff")
        job = longshore.submit(JobRequest(workflow="script", start=False))
        assert list(job.events(10**30)) == []


@pytest.mark.parametrize("name", ["../../elsewhere", "", "a/b", ".."])
def test_a_backend_whose_name_would_lead_out_of_the_state_directory_is_refused(name: str) -> None:
    with pytest.raises(SettingsInvalid, match="for a name"):
        parse_settings({"backends": {name: {"plugin": "local"}}})
