"""Longshore mounted into somebody else's application."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from litestar import Litestar, get

from longshore_api import LongshorePlugin, create_app

_SETTINGS = {"backends": {"local": {"isolation": "none"}}}
_BASE = "https://example.org/compute"


@get("/hello")
async def hello() -> str:
    return "hi"


@pytest.fixture
async def mounted(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    plugin = LongshorePlugin(_BASE, path="/compute", state=tmp_path, settings=_SETTINGS)
    app = Litestar(route_handlers=[hello], plugins=[plugin])
    transport = httpx2.ASGITransport(cast("Any", app))
    async with (
        app.lifespan(),
        httpx2.AsyncClient(transport=transport, base_url="https://example.org") as client,
    ):
        agreement = await plugin.provider.access.create_agreement(
            tenant="acme", workflows=["*"], by="test"
        )
        issued = await plugin.provider.access.issue_token(agreement.id, by="test")
        client.headers["authorization"] = f"Bearer {issued.text}"
        yield client


@pytest.mark.anyio
async def test_the_application_around_it_keeps_its_own_routes(
    mounted: httpx2.AsyncClient,
) -> None:
    assert (await mounted.get("/hello")).text == "hi"
    assert "urn:longshore" not in (await mounted.get("/nothing")).text


@pytest.mark.anyio
async def test_a_job_runs_below_the_path_and_its_links_lead_there(
    mounted: httpx2.AsyncClient,
) -> None:
    asked = {"workflow": "wordcount", "inputs": {"text": {"upload": {"size": 9}}}}
    made = await mounted.post("/compute/v1/jobs", json=asked)
    assert made.status_code == 201
    assert made.headers["location"] == f"{_BASE}/v1/jobs/{made.json()['id']}"
    upload = made.json()["uploads"]["text"]
    assert upload["url"].startswith(f"{_BASE}/v1/blobs/")
    assert (await mounted.put(upload["url"], content=b"two words")).status_code == 200
    job = (await mounted.post(f"/compute/v1/jobs/{made.json()['id']}/start")).json()
    for _ in range(40):
        answer = await mounted.get(f"/compute/v1/jobs/{job['id']}", headers={"prefer": "wait=1"})
        job = answer.json()
        if job["state"] in {"SUCCEEDED", "FAILED"}:
            break
    assert job["state"] == "SUCCEEDED"
    output = await mounted.get(f"/compute/v1/jobs/{job['id']}/outputs/counts")
    assert output.headers["location"].startswith(f"{_BASE}/v1/blobs/")
    counts = await mounted.get(output.headers["location"])
    assert counts.json()["words"] == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/me", 401), ("/v1/jobs/nobody", 401), ("/v1/blobs/some/key", 403), ("/livez", 200)],
)
async def test_its_errors_are_problem_documents_there_too(
    mounted: httpx2.AsyncClient, path: str, status: int
) -> None:
    answer = await mounted.get(f"/compute{path}", headers={"authorization": ""})
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status


@pytest.mark.anyio
async def test_an_application_of_its_own_answers_at_the_root(tmp_path: Path) -> None:
    app = create_app(_SETTINGS, state=tmp_path)
    transport = httpx2.ASGITransport(cast("Any", app))
    async with (
        app.lifespan(),
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client,
    ):
        assert (await client.get("/readyz")).json()["status"] == "ready"
