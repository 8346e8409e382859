"""Storages to move bytes from and to."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faultproxy import FaultProxy, fault_proxy
from tests.launcher.conftest import go
from tests.launcher.places import Place
from tests.mover.attempts import Attempt
from tests.mover.objects import Objects, Storage, served
from tests.support import end_processes_of

from longshore.models import Output

Begin = Callable[..., Attempt]


@pytest.fixture
def objects() -> Iterator[Objects]:
    """A storage in this process."""
    with served() as storage:
        yield storage


@pytest.fixture
def proxy(objects: Objects) -> Iterator[FaultProxy]:
    """A proxy before ``objects``; what is signed from now on leads through it."""
    with fault_proxy(objects.url) as standing:
        objects.url = standing.url
        yield standing


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher."""
    built = tmp_path_factory.mktemp("launcher") / "launcher"
    go("build", "-trimpath", "-ldflags", "-s -w", "-o", str(built), ".")
    return built


@pytest.fixture
def begin(program: Path, tmp_path: Path) -> Iterator[Begin]:
    """Make attempts; their movers and launchers end with the test."""
    made: list[Attempt] = []

    def make(storage: Storage, *outputs: Output, **more: Any) -> Attempt:
        name = f"ls-job-{len(made) + 1}"
        place = Place(program, tmp_path / name)
        attempt = Attempt(
            storage=storage, place=place, home=tmp_path / f"of-{name}", outputs=outputs, **more
        )
        made.append(attempt)
        return attempt

    yield make
    for attempt in made:
        attempt.close()
        attempt.place.close()
        end_processes_of(attempt.place.directory)
