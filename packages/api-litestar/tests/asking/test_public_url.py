"""A service behind a proxy, below a path: whether the proxy takes the path away or not."""

from collections.abc import Iterator

import httpx2
import pytest
from tests.asking import submitted
from tests.inside import Inside, running
from tests.matrix import COPY

_PATH = "/deep/path"
_BASE = f"https://compute.example{_PATH}"


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    place = tmp_path_factory.mktemp("behind") / "state"
    with running(place, COPY, public_url=_BASE) as made:
        yield made


@pytest.mark.parametrize("prefix", ["", _PATH])
def test_every_way_to_the_service_is_good_and_its_links_lead_to_its_address(
    behind: Inside, prefix: str
) -> None:
    client = behind.consumer()
    client.base_url = httpx2.URL(behind.url + prefix)
    job = submitted(client)
    url = job["uploads"]["text"]["url"]
    made = client.post("/v1/jobs", json={"workflow": "copy", "inputs": {"text": {"text": "x"}}})

    assert url.startswith(f"{_BASE}/v1/blobs/")
    assert made.headers["location"] == f"{_BASE}/v1/jobs/{made.json()['id']}"
    assert client.put(url.removeprefix(_BASE), content=b"abc").status_code == 200
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 200
    assert client.get("/livez").status_code == 200
    for bare in ("/", "/deep/path", "/deep/path/"):
        answer = behind.client().get(bare)
        assert (answer.status_code, answer.headers["location"]) == (307, "/deep/path/docs")
    assert client.get("/docs").status_code == 200
    assert client.get("/openapi.json").json()["servers"] == [{"url": _BASE}]
    assert client.get("/v1/jobs/x", headers={"authorization": ""}).status_code == 401


@pytest.mark.parametrize(
    "path", ["/deep/pathology/v1/me", "/deep/v1/me", "/deep/path/deep/path/v1/me"]
)
def test_another_path_is_another_place(behind: Inside, path: str) -> None:
    client = behind.consumer()

    assert client.get(path).status_code == 404
    assert client.get(path, headers={"authorization": ""}).status_code == 401
