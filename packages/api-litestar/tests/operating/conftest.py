"""A service that runs for all tests here, and places for services of their own."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.serving import Service, end_everything, serving


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that every test here may ask, and none may break."""
    place = tmp_path_factory.mktemp("service")
    try:
        with serving(place) as running:
            yield running
    finally:
        end_everything(place)


@pytest.fixture
def admin(service: Service) -> Iterator[httpx2.Client]:
    """An administrator."""
    with service.as_admin() as client:
        yield client


@pytest.fixture
def nobody(service: Service) -> Iterator[httpx2.Client]:
    """Somebody without a token."""
    with service.client() as client:
        yield client


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where a test has a service of its own; whatever works there ends with the test."""
    yield tmp_path
    end_everything(tmp_path)
