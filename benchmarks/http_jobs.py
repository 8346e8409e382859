"""Jobs over HTTP: accept, look at one, list all; a bare answer and FastAPI beside us.

Accept is durable (SQLite FULL) when it is answered; 32 connections, limits off, no job runs
meanwhile. The peers are served by the same server (uvicorn, httptools, uvloop) one after the other
in every round. Must: 8,000 accepts/s with p99 10 ms; GET 0.5x the bare answer and 1.8x FastAPI;
100,000 jobs listed in 0.6 s.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import anyio
from _load import request
from _server import Served, serve, serve_app
from _table import show
from _wrk import Pressed, generator, press

from longshore.clock import SystemClock
from longshore.deadlines import Limits
from longshore.eventlog import EventLog
from longshore.ids import new_id
from longshore.ledger import Ledger
from longshore.models import Job
from longshore.stores.sqlite import open_sqlite

_LISTED = 100_000
_KNOWN = 1000


def _ask(served: Served) -> list[str]:
    page = served.call("GET", f"/v1/jobs?limit={_KNOWN}")
    return [request("GET", f"/v1/jobs/{one['id']}", token=served.consumer) for one in page["items"]]


def _rounds(count: int, seconds: float) -> dict[str, list[Pressed]]:
    found: dict[str, list[Pressed]] = {"accept": [], "get": [], "bare": [], "fastapi": []}
    body = json.dumps({"workflow": "small", "parameters": {"n": 1}})
    with serve() as served, serve_app("_peers:bare") as bare, serve_app("_peers:fast") as fast:
        post = [request("POST", "/v1/jobs", token=served.consumer, body=body)]
        plain = [request("GET", "/v1/jobs/01m7z66wve5nq3rnfknzxk3f5k")]
        for _ in range(count):
            found["accept"].append(press(served.port, post, seconds=seconds))
            found["get"].append(press(served.port, _ask(served), seconds=seconds))
            found["bare"].append(press(bare, plain, seconds=seconds))
            found["fastapi"].append(press(fast, plain, seconds=seconds))
    return found


async def _fill(path: Path, tenant: str) -> None:
    clock = SystemClock()
    async with open_sqlite(path) as store:
        ledger = Ledger(store, EventLog(store), clock, Limits())

        async def some(numbers: range) -> None:
            for _ in numbers:
                now = clock.now()
                job = Job(
                    id=new_id(now), tenant=tenant, workflow="small", version="1",
                    backend="local", created_at=now, parameters={"n": 1},
                )  # fmt: skip
                await ledger.open(job, queue=True)

        async with anyio.create_task_group() as tasks:
            for _ in range(256):
                tasks.start_soon(some, range(_LISTED // 256 + 1))


def _list_all(served: Served) -> tuple[int, float]:
    """Read every page over one connection, as a client does; no page is decoded but its cursor."""
    import http.client  # noqa: PLC0415 - only here

    connection = http.client.HTTPConnection("127.0.0.1", served.port)
    headers = {"Authorization": f"Bearer {served.consumer}"}
    count, began = 0, time.perf_counter()
    cursor: str | None = ""
    while cursor is not None:
        connection.request("GET", f"/v1/jobs?limit=1000{cursor}", headers=headers)
        page = connection.getresponse().read()
        count += page.count(b'"createdAt"')
        tail = page[page.rindex(b'"next":') + 7 : -1]
        cursor = None if tail == b"null" else f"&cursor={json.loads(tail)}"
    return count, time.perf_counter() - began


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    found = _rounds(options.rounds, options.seconds)
    rates = {name: median(one.rate for one in loads) for name, loads in found.items()}
    p99 = {name: median(one.p99 * 1e3 for one in loads) for name, loads in found.items()}
    show(
        f"requests per second, 32 connections, by {generator()}",
        ("what", "per second", "p99 ms", "to bare", "to FastAPI"),
        [
            (name, rates[name], p99[name], rates[name] / rates["bare"],
             rates[name] / rates["fastapi"])
            for name in ("accept", "get", "bare", "fastapi")
        ],
    )  # fmt: skip
    with serve() as served:
        anyio.run(_fill, served.state / "state.db", "acme")
        times = []
        for _ in range(options.rounds):
            count, seconds = _list_all(served)
            times.append(seconds)
        show(
            "all jobs over HTTP, 1,000 a page", ("jobs", "seconds"), [(f"{count:,}", median(times))]
        )


if __name__ == "__main__":
    main()
