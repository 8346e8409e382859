"""A small real HTTP server that speaks the wire and fails as it is told, byte by byte."""

import hashlib
import json
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.answering import answering

from longshore_client import Client, Retry

JOB_ID = "01k9x3v0c8e6h4y2t7r5w1q9za"
TOKEN = "ls_" + "t" * 43
PART = 1024 * 1024


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests of a method to a path that begins so."""

    method: str
    prefix: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    text: bytes = b""
    #: bytes of the request's body that are read, or of the answer's that are sent, before the cut
    cut: int | None = None
    times: int = 1
    #: called when it happens
    then: Callable[[], None] = lambda: None


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


class Provider:
    """What the server holds: one job, the parts of its input, an output, events and a log."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.keys: dict[str, str] = {}
        self.state = "CREATED"
        self.input_state = "missing"
        self.parts: dict[int, bytes] = {}
        self.size = PART
        self.single = False
        self.blob_base = ""
        self.blob_path = "/blobs/in"
        #: what is said of a part: its tag, and headers of the storage
        self.tag: Callable[[bytes], str] = lambda part: hashlib.sha256(part).hexdigest()
        self.blob_headers: dict[str, str] = {}
        self.output = b""
        self.claimed: str | None = None
        self.events: list[dict[str, Any]] = []
        self.log = b""
        self.workflows: list[dict[str, Any]] = [{"id": "copy", "title": "Copy"}]
        self.changed = threading.Condition()

    def fail(self, method: str, prefix: str, **more: Any) -> None:
        self.faults.append(Fault(method, prefix, **more))

    def fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and path.startswith(fault.prefix):
                fault.times -= 1
                fault.then()
                return fault
        return None

    def requests(self, method: str, prefix: str) -> list[Seen]:
        return [it for it in self.seen if it.method == method and it.path.startswith(prefix)]

    def job(self) -> dict[str, Any]:
        return {"id": JOB_ID, "workflow": "copy", "state": self.state, "exitCode": None}

    def finish(self, state: str = "SUCCEEDED") -> None:
        with self.changed:
            self.state = state
            self.events.append({"seq": len(self.events) + 1, "type": "JobEnded", "state": state})
            self.changed.notify_all()

    def upload(self, there: Collection[int] = ()) -> dict[str, Any] | None:
        if self.single:
            return self._request(1)
        count = max(1, -(-self.size // PART))
        missing = [number for number in range(1, count + 1) if number not in there]
        return {"parts": [{"number": n, "size": PART, **self._request(n)} for n in missing]}

    def _request(self, number: int) -> dict[str, Any]:
        headers = {"X-Signed": "yes"}
        url = f"{self.blob_base}{self.blob_path}/{number}"
        return {"method": "PUT", "url": url, "headers": headers}

    def outputs(self) -> list[dict[str, Any]]:
        sha256 = self.claimed or hashlib.sha256(self.output).hexdigest()
        return [{"name": "data", "size": len(self.output), "sha256": sha256, "mediaType": None}]


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    provider: Provider

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ValueError):  # cut by a fault, or by the client
            self.close_connection = True

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        self.provider.seen.append(seen)
        fault = self.provider.fault(self.command, self.path)
        if fault is not None and not fault.status:
            if self.command == "GET":
                self._route(seen, cut=fault.cut)
            else:
                self.rfile.read(min(length, fault.cut or 0))
            return self._drop()
        seen.body = self.rfile.read(length)
        if len(seen.body) < length:  # the client went away
            return self._drop()
        if fault is not None and fault.text:
            return self._bytes(fault.status, fault.text, **fault.headers)
        if fault is not None:
            return self._json(fault.status, fault.body, **fault.headers)
        return self._route(seen)

    do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - the names that http.server looks for

    def _drop(self) -> None:
        self.wfile.flush()
        self.connection.close()
        self.close_connection = True

    def _json(self, status: int, body: Any, **headers: str) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self._bytes(status, content, None, **headers)

    def _bytes(
        self, status: int, content: bytes, cut: int | None = None, /, **headers: str
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if cut is None else content[:cut])

    def _route(self, seen: Seen, cut: int | None = None) -> None:
        parts = urlsplit(seen.path)
        job = f"/v1/jobs/{JOB_ID}"
        if parts.path == "/v1/jobs" and seen.method == "POST":
            self._submit(seen)
        elif parts.path == f"{job}/events":
            self._events(seen, parse_qs(parts.query), cut)
        elif parts.path == f"{job}/logs":
            start = int(parse_qs(parts.query).get("start", ["0"])[0])
            self._bytes(200, self.provider.log[start:], cut)
        elif parts.path.startswith(("/blobs/", "/v1/blobs/")):
            self._blob(seen, cut)
        elif parts.path.startswith(f"{job}/inputs/"):
            self._input(seen)
        elif parts.path == f"{job}/outputs/data":
            self._json(307, None, Location=f"{self.provider.blob_base}/blobs/out?signature=x")
        else:
            self._plain(parts.path, job)

    def _submit(self, seen: Seen) -> None:
        provider = self.provider
        key = seen.headers["idempotency-key"]
        is_known = key in provider.keys
        provider.keys[key] = JOB_ID
        uploads = {"data": provider.upload()} if provider.input_state == "missing" else {}
        self._json(200 if is_known else 201, {**provider.job(), "uploads": uploads})

    def _plain(self, path: str, job: str) -> None:
        provider = self.provider
        if path in {f"{job}/start", f"{job}/cancel"}:
            provider.state = "QUEUED" if path.endswith("start") else "CANCELED"
        answers: dict[str, Any] = {
            "/v1/me": {"tenant": "acme", "role": "consumer", "workflows": ["copy"]},
            "/v1/workflows": {"items": provider.workflows, "next": None},
            "/v1/jobs": {"items": [provider.job()], "next": None},
            f"{job}/outputs": {"items": provider.outputs()},
        }
        self._json(200, answers.get(path, provider.job()), ETag='"1"')

    def _events(self, seen: Seen, query: dict[str, list[str]], cut: int | None) -> None:
        provider = self.provider
        after = int(query.get("after", ["0"])[0])
        if "event-stream" not in seen.headers.get("accept", ""):
            items = [event for event in provider.events if event["seq"] > after]
            return self._json(200, {"items": items, "next": None})
        after = int(seen.headers.get("last-event-id") or 0)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"retry: 1000\n\n: ping\n\n")
        for event in provider.events[after : None if cut is None else after + cut]:
            data = f"id: {event['seq']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"
            self.wfile.write(data.encode())
        return self._drop()

    def _input(self, seen: Seen) -> None:
        provider = self.provider
        if seen.path.endswith("/complete"):
            provider.input_state = "received"
            return self._json(200, provider.job())
        there = dict(provider.parts)  # other connections still bring parts
        sent = [
            {"number": n, "size": len(it), "etag": provider.tag(it)}
            for n, it in sorted(there.items())
        ]
        state = provider.input_state
        upload = provider.upload(there) if state == "missing" else None
        if state == "uploaded":  # the storage has made it one object, which has no parts
            sent = []
        return self._json(200, {"name": "data", "state": state, "sent": sent, "upload": upload})

    def _blob(self, seen: Seen, cut: int | None) -> None:
        provider = self.provider
        if seen.method == "PUT":
            number = int(seen.path.rsplit("/", 1)[1])
            provider.parts[number] = seen.body
            tag = f'"{provider.tag(seen.body)}"'
            return self._json(200, None, ETag=tag, **provider.blob_headers)
        first, last = seen.headers["range"].removeprefix("bytes=").split("-")
        content = provider.output[int(first) : int(last) + 1]
        whole = len(provider.output)
        said = f"bytes {first}-{last}/{whole}"
        return self._bytes(206, content, cut, Content_Range=said)


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def retry(self, **more: Any) -> Retry:
        return Retry(sleep=self.sleep, clock=lambda: self.now, chance=lambda: 0.0, **more)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider() -> Iterator[Provider]:
    """What the server at ``provider.url`` holds."""
    provider = Provider()
    handler = type("Bound", (Handler,), {"provider": provider})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    provider.url = provider.blob_base = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    with answering(server):
        yield provider


@pytest.fixture
def client(provider: Any, clock: Clock) -> Iterator[Client]:
    with Client(provider.url, TOKEN, retry=clock.retry()) as client:
        yield client


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a file of three and a half parts, no two alike."""
    path = tmp_path / "data"
    path.write_bytes(b"".join(bytes([n]) * PART for n in range(3)) + b"x" * (PART // 2))
    return path
