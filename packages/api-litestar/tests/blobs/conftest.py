"""Servers of blobs: some for all tests, in each of the ways in which one may run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.blobserving import MODES, Server, serving

from longshore.clock import SystemClock
from longshore.ids import new_id


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _mode(name: str) -> Any:
    return name if name == "lending" else pytest.param(name, marks=pytest.mark.thorough)


@pytest.fixture(scope="session", params=[_mode(name) for name in MODES])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("blobs"), *MODES[request.param]) as running:
        yield running


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers for one test alone; ``root`` is where, ``tmp_path / "home"`` by default."""
    with ExitStack() as stack:

        def start(*options: str, root: Path = tmp_path / "home") -> Server:
            return stack.enter_context(serving(root, *options))

        yield start


@pytest.fixture
def key() -> str:
    """A key that no other test has."""
    return f"instance/tenant/{new_id(SystemClock().now())}/inputs/data.bin"
