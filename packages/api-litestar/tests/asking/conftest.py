"""A service in this process for all tests here, and requests written by the byte."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from tests.asking import GATED, Raw, submitted
from tests.inside import Inside, running
from tests.matrix import COPY
from tests.support import end_processes_of


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    place = tmp_path_factory.mktemp("inside")
    try:
        with running(place / "state", COPY, GATED) as made:
            yield made
    finally:
        end_processes_of(place)


@pytest.fixture(scope="module")
def token(inside: Inside) -> str:
    return inside.token(inside.agreement("acme"))


@pytest.fixture(scope="module")
def client(inside: Inside, token: str) -> httpx2.Client:
    """A consumer."""
    return inside.client(token)


@pytest.fixture(scope="module")
def raw(inside: Inside, token: str) -> Raw:
    return Raw(inside, token)


@pytest.fixture(scope="module")
def admin(inside: Inside) -> Raw:
    return Raw(inside, inside.token(None))


@pytest.fixture(scope="module")
def waiting(client: httpx2.Client) -> str:
    """The id of a job that waits for its input, and is never started."""
    return str(submitted(client)["id"])


@pytest.fixture(scope="module")
def canceled(client: httpx2.Client) -> str:
    """The id of a job that has ended."""
    job_id = submitted(client)["id"]
    assert client.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "CANCELED"
    return str(job_id)


@pytest.fixture
def gated(client: httpx2.Client, tmp_path: Path) -> Callable[[], tuple[str, Path]]:
    """Start jobs that go on until a file is there; return an id and the file."""

    def start() -> tuple[str, Path]:
        gate = tmp_path / "gate"
        asked = {"workflow": "gated", "parameters": {"gate": str(gate)}}
        answer = client.post("/v1/jobs", json=asked)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"]), gate

    return start
