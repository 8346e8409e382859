"""Which tests run, and where a skipped one is a failure.

Tests marked ``thorough`` run with ``--all`` only. The machine that has everything says so by its
environment: there a skip is a failure.
"""

import os

import pytest

pytest_plugins = ["tests.s3"]
REFUSE_SKIPS = "LONGSHORE_REFUSE_SKIPS"
# Taken away: to what the tests start, it would be a setting of Longshore's that does not exist.
_REFUSED = os.environ.pop(REFUSE_SKIPS, "") not in {"", "0"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--all``."""
    parser.addoption("--all", action="store_true", help="also what is marked thorough")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long and seldom finds anything, unless all is asked for."""
    if config.getoption("--all"):
        return
    left_out = [item for item in items if item.get_closest_marker("thorough")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]


def _skipped(config: pytest.Config) -> list[str]:
    # The reporter also knows what xdist's workers and whole modules skipped.
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not _REFUSED:
        return []
    return [f"{report.nodeid}: {_why(report)}" for report in reporter.stats.get("skipped", [])]


def _why(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn success into failure when anything was skipped and that is refused."""
    if session.exitstatus == pytest.ExitCode.OK and _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name what was skipped where that is refused."""
    skipped = _skipped(config)
    if skipped:
        terminalreporter.section(f"{REFUSE_SKIPS} is set: {len(skipped)} skipped", red=True)
        for line in skipped:
            terminalreporter.line(line)
