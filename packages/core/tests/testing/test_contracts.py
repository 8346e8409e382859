"""The shipped contracts can fail, and say why."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import longshore.testing

HERE = Path(__file__).parent
#: a stranger's test module, for a backend that makes logs up
FAILING = """
from contextlib import nullcontext

import pytest

from longshore.testing import FakeWorkflowBackend, WorkflowBackendContract


class Inventive(FakeWorkflowBackend):
    async def logs(self, ref, *, start=0):
        yield b"never printed"


class TestInventive(WorkflowBackendContract):
    @pytest.fixture
    async def open_backend(self, tmp_path):
        async with Inventive(tmp_path / "engine") as engine:
            yield lambda: nullcontext(engine)
"""


def run_pytest(*arguments: str, cwd: Path = HERE) -> subprocess.CompletedProcess[str]:
    # where CI is set pytest shows every difference in full, and takes minutes for a long log's
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.thorough
def test_every_sentence_of_the_contract_that_a_backend_breaks_is_found() -> None:
    broken = runpy.run_path(str(HERE / "broken_backends.py"))["BROKEN"]
    ids = [f"broken_backends.py::{test}" for test in broken]
    answer = run_pytest("-q", "--tb=no", "-rpfE", "--timeout=25", *ids)  # to hang is to be found
    verdicts = [line.split(" ")[:2] for line in answer.stdout.splitlines() if "::Test" in line]
    not_found = [test for verdict, test in verdicts if verdict != "FAILED"]
    assert not_found == []
    assert len(verdicts) >= len(ids)


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    (tmp_path / "test_mine.py").write_text(FAILING)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


@pytest.mark.parametrize(("options", "shown"), [((), True), (("--assert=plain",), False)])
def test_a_failing_contract_shows_its_values_where_assertions_are_rewritten(
    strangers: Path, options: tuple[str, ...], *, shown: bool
) -> None:
    answer = run_pytest(*options, "-k", "never_was_has_no_log", cwd=strangers)
    assert "1 failed" in answer.stdout, answer.stdout
    assert ("assert b'never printed' == b''" in answer.stdout) is shown


def test_the_plugin_has_every_module_with_assertions_rewritten() -> None:
    folder = Path(longshore.testing.__file__).parent
    registered = (folder / "plugin.py").read_text("utf-8")
    modules = [
        path.stem
        for path in folder.glob("*.py")
        if any(line.lstrip().startswith("assert ") for line in path.read_text().splitlines())
    ]
    assert "workflow_backend" in modules
    assert [name for name in modules if f'"longshore.testing.{name}"' not in registered] == []


def test_everything_that_is_shipped_for_tests_can_be_imported() -> None:
    for name in longshore.testing.__all__:
        assert getattr(longshore.testing, name).__name__ == name
