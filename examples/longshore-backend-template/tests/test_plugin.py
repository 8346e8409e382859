"""Longshore finds the plug-in by its entry point, and runs jobs on it."""

from pathlib import Path
from typing import Any

import pytest

from longshore import Longshore
from longshore.errors import SettingsInvalid
from longshore.registry import load_plugins


def settings(**table: Any) -> dict[str, Any]:
    return {"backends": {"mine": {"plugin": "template", **table}}}


def test_it_is_found_by_its_entry_point() -> None:
    assert "template" in load_plugins().workflow_backends


def test_a_job_runs_on_it(tmp_path: Path) -> None:
    with Longshore.open(tmp_path, settings=settings(slots=1)) as longshore:
        job = longshore.run("wordcount", inputs={"text": "one two two"})
        assert '"words": 3' in job.result(timeout=60)["counts"].read_bytes().decode()
    assert (tmp_path / "backends" / "mine").is_dir()


def test_a_mistake_in_its_settings_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingsInvalid, match=r"backends\.mine\.slot: is no setting"),
        Longshore.open(tmp_path, settings=settings(slot=1)),
    ):
        pytest.fail("the mistake was not found")
