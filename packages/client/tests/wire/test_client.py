"""The client beyond transfers: waiting, mapping, addresses, and what is sent of inputs."""

from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from longshore_client import (
    Client,
    JobFailed,
    LongshoreClient,
    NotFound,
    RequestError,
)
from longshore_client.transport import path, server_url

JOB_ID = "01k9x3v0c8e6h4y2t7r5w1q9za"


class Jobs:
    """A server whose jobs end when they were asked for a number of times."""

    def __init__(self, lives: list[int]) -> None:
        self.lives = lives
        self.asked: dict[str, int] = {}
        self.most = 0
        self.bodies: list[dict[str, Any]] = []

    def _job(self, name: str) -> dict[str, Any]:
        over = self.asked[name] > self.lives[int(name)]
        return {"id": name, "workflow": "w", "state": "SUCCEEDED" if over else "RUNNING"}

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        await anyio.lowlevel.checkpoint()
        if request.method == "POST" and request.url.path == "/v1/jobs":
            import json  # noqa: PLC0415 - needed here only

            self.bodies.append(json.loads(await request.aread()))
            name = str(len(self.asked))
            self.asked[name] = 0
            going = [it for it in self.asked if self._job(it)["state"] == "RUNNING"]
            self.most = max(self.most, len(going))
            return httpx2.Response(201, json=self._job(name))
        name = request.url.path.rsplit("/", 1)[1]
        self.asked[name] += 1
        return httpx2.Response(200, json={**self._job(name), "n": self.asked[name]})


@pytest.mark.parametrize("concurrency", [1, 3, 50])
def test_map_yields_in_order_and_keeps_to_its_concurrency(concurrency: int) -> None:
    jobs = Jobs([5, 1, 9, 1, 1, 30, 1, 2, 3, 1])

    async def run() -> list[str]:
        transport = httpx2.MockTransport(jobs)
        async with LongshoreClient("http://server", transport=transport) as client:
            items: list[dict[str, Any]] = [{} for _ in jobs.lives]
            numbers = [{"n": n} for n in range(len(items))]
            found = client.map("w", items, parameters=numbers, concurrency=concurrency)
            return [job.id async for job in found if job.last and job.last.is_final]

    assert anyio.run(run) == [str(n) for n in range(10)]
    assert jobs.most == min(concurrency, 10)
    assert [body["parameters"]["n"] for body in jobs.bodies] == list(range(10))


def test_map_with_one_set_of_parameters_too_many_is_an_error() -> None:
    async def run() -> None:
        transport = httpx2.MockTransport(Jobs([0, 0, 0]))
        async with LongshoreClient("http://server", transport=transport) as client:
            async for _ in client.map("w", [{}], parameters=[{}, {}]):
                pass

    with pytest.raises(ValueError, match="longer"):
        anyio.run(run)


def test_waiting_holds_the_line_and_ends_with_the_job(provider: Any, client: Client) -> None:
    job = client.job(JOB_ID)
    with pytest.raises(TimeoutError):
        job.wait(0.5)
    provider.finish()
    assert job.wait(5).state == "SUCCEEDED"
    held = [it for it in provider.seen if "prefer" in it.headers]
    assert held[0].headers["prefer"].startswith("wait=")
    assert held[0].headers["if-none-match"] == '"1"'


def test_the_result_of_a_job_that_did_not_succeed_is_an_error(
    provider: Any, client: Client
) -> None:
    plain = provider.job
    why = {"code": "memory", "fault": "app", "message": "too much memory", "hint": "ask for more"}
    provider.job = lambda: {**plain(), "state": "FAILED", "reason": why}
    with pytest.raises(JobFailed, match="too much memory") as caught:
        client.job(JOB_ID).result()
    assert (caught.value.reason_code, caught.value.hint) == ("memory", "ask for more")


def test_an_output_that_is_not_there_is_named_with_those_that_are(
    provider: Any, client: Client
) -> None:
    with pytest.raises(NotFound, match="it has data"):
        client.job(JOB_ID).output("other")


def test_short_text_goes_with_the_request_and_the_rest_is_announced(
    provider: Any, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    provider.input_state = "received"
    provider.workflows = []
    client.run("w", inputs={"a": "tëxt", "b": b"bytes", "c": b"\xff", "d": tmp_path / "file"})
    import json  # noqa: PLC0415 - needed here only

    said = json.loads(provider.requests("POST", "/v1/jobs")[0].body)["inputs"]
    assert said["a"] == {"text": "tëxt"}
    assert said["b"] == {"text": "bytes"}
    assert said["c"]["upload"]["size"] == 1
    assert said["d"]["upload"]["size"] == 0


def test_a_file_that_is_missing_is_said_before_a_job_is_made(
    provider: Any, client: Client, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="missing"):
        client.run("w", inputs={"data": tmp_path / "missing"})
    assert provider.requests("POST", "/") == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "server", "localhost:8080", "ftp://server", "http://", "http://[::1"),
        *("https://me:pw@server", "http://server/?x=1", "http://server/#x"),
    ],
)
def test_what_is_no_address_of_a_server_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        server_url(text)


def test_an_address_keeps_its_path() -> None:
    assert server_url("https://Compute.example/longshore/") == "https://compute.example/longshore"


@pytest.mark.parametrize("name", ["..", ".", ""])
def test_a_name_cannot_lead_to_another_route(client: Client, name: str) -> None:
    with pytest.raises(RequestError, match="no name or id"):
        client.job(name)


def test_what_would_lead_elsewhere_is_data() -> None:
    assert path("jobs", "../agreements?x#y", "inputs", "a/b") == (
        "/v1/jobs/..%2Fagreements%3Fx%23y/inputs/a%2Fb"
    )


def test_a_server_that_is_no_longshore_is_told_as_such() -> None:
    async def run() -> None:
        page = httpx2.MockTransport(lambda _: httpx2.Response(200, text="<html>"))
        async with LongshoreClient("http://server", transport=page) as client:
            await client.me()

    with pytest.raises(Exception, match="is this a Longshore server"):
        anyio.run(run)


def test_an_error_in_another_thread_of_the_portal_is_raised_as_itself(client: Client) -> None:
    with pytest.raises(RequestError):
        client.job("..")
    assert client.me().tenant == "acme"


def test_a_notebook_shows_a_job_as_it_is_now_or_as_it_was(provider: Any, client: Client) -> None:
    job = client.job(JOB_ID)
    provider.finish()
    assert "SUCCEEDED" in job._repr_html_()
    provider.fail("GET", "/v1/jobs/", status=500)
    assert "SUCCEEDED" in job._repr_html_()
