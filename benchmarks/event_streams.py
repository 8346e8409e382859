"""From an event to its subscribers over HTTP: what server-sent events add to the event log.

A service in this process changes jobs, durably, so and so often; subscribers in another process
read the streams and compare the clock (one machine, one clock) with the time in each event. The
same is done for a follower inside the process: the difference is what HTTP adds. Must: p99 +2 ms at
2,000 events/s, and 10 ms for 100 subscribers.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import attrs
import uvloop
from _table import percentile, show

from longshore.background import background
from longshore.collector import collect_rarely
from longshore.embedded import open_embedded
from longshore.jobs import Step
from longshore.models import Job, JobRequest, Progress
from longshore.settings import parse_settings
from longshore_api import layers
from longshore_api.doorway import Doorway
from longshore_api.provider import Provider
from longshore_api.server import listen, make_server
from longshore_api.urls import PublicUrl

_TENANT = "acme"


@attrs.frozen
class Case:
    """``jobs`` change ``rate`` times a second in all; ``subscribers`` are spread over them."""

    name: str
    rate: int
    jobs: int
    subscribers: int


CASES = (
    Case("1 subscriber, 100 jobs", 2000, 100, 1),
    Case("100 subscribers, 100 jobs", 2000, 100, 100),
    Case("100 subscribers, 1 job", 20, 1, 100),
    Case("100 subscribers, 1 job", 200, 1, 100),
)


@asynccontextmanager
async def _service(home: Path) -> AsyncIterator[tuple[Provider, int, str]]:
    table = {"limits": {"requests_per_second": 0}, "backends": {"local": {"isolation": "none"}}}
    with listen(parse_settings({"service": {"port": 0}}).service) as listening:
        port = int(listening.getsockname()[1])
        url = PublicUrl(f"http://127.0.0.1:{port}", "")
        doorway = Doorway(url)
        server = make_server(parse_settings(table).service, doorway, listening)
        async with background() as tasks, open_embedded(home, table=table, detach=False) as opened:
            provider = layers.make_provider(opened.host, url, lambda: True)
            doorway.open(layers.make_service(provider))
            tasks.start_soon(server.run_to_end)
            agreement = await provider.access.create_agreement(
                tenant=_TENANT, workflows=["*"], by="bench"
            )
            issued = await provider.access.issue_token(agreement.id, by="bench")
            yield provider, port, issued.text
            server.should_exit = True
            await server.ended.wait()


async def _drive(provider: Provider, jobs: list[str], rate: int, seconds: float) -> None:
    """Change every job at an even pace, one change after the other."""

    async def change(job: str, first: float) -> None:
        for number in range(int(rate / len(jobs) * seconds)):
            await anyio.sleep_until(first + number * len(jobs) / rate)
            progress = {"progress": Progress(done=number, total=1e9)}
            step = Step(None, progress, "ProgressReported")
            await provider.host.ledger.change(job, partial(_always, step))

    now = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for place, job in enumerate(jobs):
            tasks.start_soon(change, job, now + place / rate)


def _always(step: Step, _: Job) -> Step:
    return step


async def _follow(provider: Provider, job: str, found: list[float]) -> None:
    async for event in provider.host.log.follow(job, after=1):
        latency = time.time() - event.at.timestamp()
        found.append(latency)


async def _measure(case: Case, seconds: float) -> tuple[list[float], list[float]]:
    with tempfile.TemporaryDirectory(prefix="longshore-bench-") as folder:
        async with _service(Path(folder)) as (provider, port, token):
            request = JobRequest(workflow="wordcount")
            made = [await provider.service.submit(_TENANT, request) for _ in range(case.jobs)]
            jobs = [one.job.id for one in made]
            collect_rarely()
            wanted = [jobs[n % case.jobs] for n in range(case.subscribers)]
            reader = await anyio.open_process(
                [sys.executable, __file__, "--read", str(port), token, *wanted],
                stderr=None,
                stdout=subprocess.PIPE,
            )
            output = cast("AsyncIterable[bytes]", reader.stdout)
            await anext(aiter(output))  # every stream has begun
            inside: list[float] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_follow, provider, jobs[0], inside)
                await _drive(provider, jobs, case.rate, seconds)
                tasks.cancel_scope.cancel()
            for job in jobs:
                await provider.service.cancel(_TENANT, job)
            text = b"".join([chunk async for chunk in output])
            await reader.wait()
            return inside, json.loads(text)


class _Subscriber(asyncio.Protocol):
    """Reads one stream: for each event the time from its stamp to its arrival."""

    def __init__(self, run: "_Readers", job: str) -> None:
        self.run = run
        self.job = job
        self.buffer = b""
        self.is_open = False

    def connection_made(self, transport: Any) -> None:
        head = f"GET /v1/jobs/{self.job}/events?after=1 HTTP/1.1\r\nhost: x\r\n"
        head += f"authorization: Bearer {self.run.token}\r\naccept: text/event-stream\r\n\r\n"
        transport.write(head.encode())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self.buffer += data
        if not self.is_open:
            self.is_open = True
            self.run.opened()
        *lines, self.buffer = self.buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"data: ") and b"ProgressReported" in line:
                at = datetime.fromisoformat(json.loads(line[6:])["at"])
                self.run.latencies.append(now - at.timestamp())
            elif line.startswith(b"event: JobCanceled"):
                self.run.closed()


class _Readers:
    def __init__(self, token: str, count: int) -> None:
        self.token = token
        self.latencies: list[float] = []
        self.waiting, self.running = count, count
        self.done = asyncio.Event()

    def opened(self) -> None:
        self.waiting -= 1
        if not self.waiting:
            print(flush=True)

    def closed(self) -> None:
        self.running -= 1
        if not self.running:
            self.done.set()


async def _read(port: int, token: str, jobs: list[str]) -> None:
    run = _Readers(token, len(jobs))
    loop = asyncio.get_running_loop()
    for job in jobs:
        await loop.create_connection(partial(_Subscriber, run, job), "127.0.0.1", port)
    await run.done.wait()
    json.dump(run.latencies, sys.stdout)


def main() -> None:
    """Measure, and print."""
    if sys.argv[1:2] == ["--read"]:
        uvloop.run(_read(int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    lines = []
    for case in CASES:
        options = {"use_uvloop": True}
        inside, outside = anyio.run(_measure, case, seconds, backend_options=options)
        there, here = (percentile(found, 0.99) * 1e3 for found in (outside, inside))
        lines.append((case.name, case.rate, len(outside), here, there, there - here))
    show(
        "milliseconds from the stamp of an event, p99",
        ("case", "events/s", "received", "in process", "over HTTP", "added"),
        lines,
    )


if __name__ == "__main__":
    main()
