"""The server is killed, is busy, or refuses a URL: the client goes on, and nothing is wrong."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support import until

pytestmark = pytest.mark.thorough

MIB = 1024**2


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Return a file that is sent in several parts."""
    path = tmp_path / "big"
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for n in range(150):
            file.write(n.to_bytes(4, "big") + block[4:])
    return path


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Once:
    """Does something once, when enough bytes went by."""

    def __init__(self, after: int, then: Callable[[], Any]) -> None:
        self._left = after
        self._then = then
        self.done: Any = None
        self.total = 0

    def __call__(self, count: int) -> None:
        self.total += count
        if self.done is None and self.total >= self._left:
            self.done = self._then()


@pytest.mark.kill
def test_an_upload_and_a_download_survive_a_server_that_is_killed(
    own_server: Any, big: Path, tmp_path: Path
) -> None:
    up = Once(70 * MIB, own_server.restart)
    down = Once(70 * MIB, own_server.restart)
    with own_server.client() as client:
        job = client.run("copy", inputs={"data": big}, progress=up)
        up.done.join()
        output = job.result(60)["data"]
        saved = output.save(tmp_path / "out", down)
        down.done.join()
    assert sha256(saved) == sha256(big)
    assert up.total == down.total == big.stat().st_size


@pytest.mark.kill
def test_following_survives_a_server_that_is_killed_or_stopped(
    own_server: Any, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with own_server.client() as client:
        job = client.run("talk", inputs={"gate": str(gate)})
        seen = b""
        events = job.events(follow=True)
        first = next(events)
        for chunk in job.logs(follow=True):
            seen += chunk
            if b"line 10\n" in seen and own_server.starts == 1:
                own_server.restart().join()
            if own_server.starts == 2 and b"line 200\n" in seen:
                own_server.stop()
                own_server.start()
                gate.touch()
        seqs = [first.seq, *(event.seq for event in events)]
    lines = seen.decode().splitlines()
    assert lines == [*(f"line {n}" for n in range(len(lines) - 1)), "end"]
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.kill
def test_waiting_survives_a_server_that_is_killed(own_server: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with own_server.client() as client:
        job = client.run("talk", inputs={"gate": str(gate)})
        restarted = own_server.restart()
        gate.touch()
        assert job.wait(60).state == "SUCCEEDED"
        restarted.join()


class Spoiled(httpx2.AsyncHTTPTransport):
    """Changes the signature of the first request to a signed URL, as time does."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self._method = method
        self.refused = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if "/v1/blobs/" in request.url.path and request.method == self._method and not self.refused:
            spoiled = request.url.copy_merge_params({"expires": "1700000000"})
            request = httpx2.Request(
                request.method, spoiled, headers=request.headers, stream=request.stream
            )
            answer = await super().handle_async_request(request)
            self.refused = answer.status_code
            return answer
        return await super().handle_async_request(request)


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_url_that_has_expired_is_asked_for_anew(server: Any, tmp_path: Path, method: str) -> None:
    (tmp_path / "data").write_bytes(b"abc" * 100_000)
    transport = Spoiled(method)
    with server.client(transport=transport) as client:
        output = client.run("copy", inputs={"data": tmp_path / "data"}).result(30)["data"]
        assert output.save(tmp_path / "out").read_bytes() == b"abc" * 100_000
    assert transport.refused == 403


@pytest.fixture(scope="module")
def slow_server(start_server: Callable[..., Any]) -> Any:
    """Return a server that lets a token ask ten times a second."""
    return start_server(rate=10, burst=5)


def test_who_asks_too_often_is_slowed_down_and_loses_nothing(slow_server: Any) -> None:
    counted: list[int] = []

    class Counting(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            answer = await super().handle_async_request(request)
            counted.append(answer.status_code)
            return answer

    with slow_server.client(transport=Counting()) as client:
        jobs = [client.run("copy", inputs={"data": f"{n}"}) for n in range(12)]
        assert len({job.id for job in jobs}) == 12
    assert 429 in counted
    assert counted.count(201) == 12


UPLOADING = """\
import sys
from pathlib import Path
from longshore_client import Client
url, token, file = sys.argv[1:]
done = 0
def tell(count):
    global done
    done += count
    print(done, flush=True)
with Client(url, token) as client:
    job = client.run("copy", inputs={"data": Path(file)}, key="killed", progress=tell)
    print(job.id)
"""
DOWNLOADING = """\
import sys
from pathlib import Path
from longshore_client import Client
url, token, job, into = sys.argv[1:]
with Client(url, token) as client:
    client.job(job).outputs["data"].save(Path(into), lambda count: print(count, flush=True))
"""


@pytest.fixture
def killed() -> Iterator[Callable[..., None]]:
    """Return a function that starts a program and kills it when it said enough bytes."""
    started: list[subprocess.Popen[bytes]] = []

    def run(program: str, *arguments: str, lines: int) -> None:
        argv = [sys.executable, "-c", program, *arguments]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline(), "it ended before it was killed"
        process.kill()
        process.wait()

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class Counting(httpx2.AsyncHTTPTransport):
    """Counts the bytes of blobs that are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.sent = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if "/v1/blobs/" in request.url.path:
            if request.method == "PUT":
                self.sent += int(request.headers["content-length"])
            else:
                first, last = request.headers["range"].removeprefix("bytes=").split("-")
                self.asked += int(last) - int(first) + 1
        return await super().handle_async_request(request)


@pytest.mark.kill
def test_a_client_that_is_killed_goes_on_where_it_was(
    server: Any, big: Path, tmp_path: Path, killed: Callable[..., None]
) -> None:
    size = big.stat().st_size
    killed(UPLOADING, server.url, server.token, str(big), lines=140)
    transport = Counting()
    with server.client(transport=transport) as client:
        job = client.run("copy", inputs={"data": big}, key="killed")
        assert transport.sent < size
        job.result(60)
        into = tmp_path / "out"
        killed(DOWNLOADING, server.url, server.token, job.id, str(into), lines=130)
        assert [path.name for path in into.iterdir()] == ["data.part"]
        saved = job.outputs["data"].save(into)
        assert transport.asked < size
    assert sha256(saved) == sha256(big)
    assert [path.name for path in into.iterdir()] == ["data"]


def test_the_server_that_comes_back_has_every_job(own_server: Any) -> None:
    with own_server.client() as client:
        first = [client.run("copy", inputs={"data": f"{n}"}).id for n in range(5)]
        own_server.restart().join()
        until(lambda: all(job.is_final for job in client.jobs()), "all jobs to end")
        assert [job.id for job in client.jobs(state="SUCCEEDED")] == first[::-1]
