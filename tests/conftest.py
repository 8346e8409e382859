"""Fixtures of the whole path: a state directory, and a service opened on it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.support import end_processes_of, settings

from longshore import Longshore
from longshore.models import Workflow

#: what a test counted; told at the end of the run
COUNTS = "counts"

Open = Callable[..., AbstractContextManager[Longshore]]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A state directory; whatever works for it ends with the test."""
    directory = tmp_path / "state"
    yield directory
    end_processes_of(directory)


@pytest.fixture
def opened(home: Path) -> Open:
    """Open the service on ``home``: by default without isolation and with a short grace."""

    def open_it(
        *workflows: Workflow, table: dict[str, Any] | None = None
    ) -> AbstractContextManager[Longshore]:
        return Longshore.open(home, settings=table or settings(), workflows=workflows)

    return open_it


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Tell a count at the end of the run."""
    return lambda text: record_property(COUNTS, text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was counted: kills, lost and doubled jobs."""
    told = [
        f"{report.nodeid.partition('::')[2]}: {value}"
        for report in terminalreporter.stats.get("passed", ())
        for name, value in getattr(report, "user_properties", ())
        if name == COUNTS and report.when == "call"
    ]
    if told:
        terminalreporter.section("counted")
        for line in told:
            terminalreporter.line(line)
