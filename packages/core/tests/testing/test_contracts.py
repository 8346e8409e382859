"""The shipped contracts can fail, and say why."""

import runpy
import subprocess
import sys
from pathlib import Path

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
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_every_sentence_of_the_contract_that_a_backend_breaks_is_found() -> None:
    broken = runpy.run_path(str(HERE / "broken_backends.py"))["BROKEN"]
    ids = [f"broken_backends.py::{test}" for test in broken]
    answer = run_pytest("-q", "--tb=no", "-rpfE", *ids)
    verdicts = [line.split(" ")[:2] for line in answer.stdout.splitlines() if "::Test" in line]
    not_found = [test for verdict, test in verdicts if verdict != "FAILED"]
    assert not_found == []
    assert len(verdicts) >= len(ids)


def test_a_failing_contract_shows_the_values(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(FAILING)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    answer = run_pytest("-k", "never_was_has_no_log", cwd=tmp_path)
    assert "1 failed" in answer.stdout, answer.stdout
    assert "assert b'never printed' == b''" in answer.stdout


def test_everything_that_is_shipped_for_tests_can_be_imported() -> None:
    for name in longshore.testing.__all__:
        assert getattr(longshore.testing, name).__name__ == name
