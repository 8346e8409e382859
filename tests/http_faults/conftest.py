"""A place for a service that a test may break, and one service for what breaks nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving import end_everything


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where a test has a service of its own; whatever works there ends with the test."""
    yield tmp_path
    end_everything(tmp_path)
