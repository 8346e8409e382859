"""A load generator for HTTP/1.1 keep-alive: one process, one loop, as little work as possible.

Closed loop: each connection sends its next request when the answer to the last one is there. Run
as ``python _load.py HOST PORT CONNECTIONS SECONDS``, with the requests as JSON lines of
[text, ...] on standard input (sent round robin); it prints one JSON object.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import uvloop


@attrs.frozen
class Load:
    """What came back: answers by status, their latencies in seconds, and the time it took."""

    statuses: dict[str, int]
    latencies: list[float]
    seconds: float

    @property
    def rate(self) -> float:
        """Answers of 2xx per second."""
        return sum(n for status, n in self.statuses.items() if status[0] == "2") / self.seconds


def offer(port: int, requests: list[str], *, connections: int = 32, seconds: float = 4.0) -> Load:
    """Offer ``requests`` from another process; return what came back."""
    command = [sys.executable, str(Path(__file__)), "127.0.0.1", str(port)]
    done = subprocess.run(
        [*command, str(connections), str(seconds)],
        input=json.dumps(requests),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return Load(**json.loads(done.stdout))


def request(method: str, path: str, *, token: str = "", body: str = "", headers: str = "") -> str:
    """Return the text of a request."""
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}"
    if token:
        head += f"authorization: Bearer {token}\r\n"
    if body:
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return f"{head}\r\n{body}"


class _Connection(asyncio.Protocol):
    """Sends, waits for the whole answer, sends again; waits as long as ``Retry-After`` says."""

    def __init__(self, run: "_Run") -> None:
        self.run = run
        self.buffer = b""
        self.sent_at = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        if time.perf_counter() < self.run.until:
            self.sent_at = time.perf_counter()
            self.transport.write(self.run.next())
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, gap, rest = self.buffer.partition(b"\r\n\r\n")
        if not gap:
            return
        at = head.lower().find(b"content-length: ")
        length = int(head[at + 16 : at + 28].split(b"\r\n")[0])
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        status = head[9:12].decode()
        self.run.statuses[status] += 1
        self.run.latencies.append(time.perf_counter() - self.sent_at)
        if status in {"429", "503"}:
            after = head.lower().find(b"retry-after: ")
            wait = float(head[after + 13 : after + 20].split(b"\r\n")[0])
            self.run.loop.call_later(wait, self.send)
        else:
            self.send()

    def connection_lost(self, _: Exception | None) -> None:
        self.run.open -= 1
        if not self.run.open:
            self.run.done.set()


class _Run:
    def __init__(self, requests: list[str], seconds: float, connections: int) -> None:
        self.requests = [one.encode() for one in requests]
        self.loop = asyncio.get_running_loop()
        self.until = time.perf_counter() + seconds
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.open = connections
        self.done = asyncio.Event()
        self.number = 0

    def next(self) -> bytes:
        self.number += 1
        return self.requests[self.number % len(self.requests)]


async def _main(host: str, port: int, connections: int, seconds: float) -> None:
    began = time.perf_counter()
    run = _Run(json.load(sys.stdin), seconds, connections)
    for _ in range(connections):
        await run.loop.create_connection(lambda: _Connection(run), host, port)
    await run.done.wait()
    result = Load(dict(run.statuses), run.latencies, time.perf_counter() - began)
    json.dump(attrs.asdict(result), sys.stdout)


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
