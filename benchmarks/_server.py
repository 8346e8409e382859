"""A ``longshore serve`` of its own for a benchmark, and its peers on the same server."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

_PATIENCE = 30.0
#: a job that keeps the one slot, so that nothing else runs beside what is measured
BLOCKING = {"id": "block", "version": "1", "title": "wait", "command": ["/bin/sleep", "600"]}
#: a job without inputs
SMALL = {
    "id": "small",
    "version": "1",
    "title": "small",
    "command": ["/bin/true"],
    "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}},
}


@attrs.frozen
class Served:
    """A running service: an administrator's and a consumer's token."""

    port: int
    process: "subprocess.Popen[bytes]"
    admin: str
    consumer: str
    state: Path

    def call(self, method: str, path: str, body: Any = None, *, admin: bool = False) -> Any:
        """Send one request; return the JSON of its answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method, data=data
        )
        request.add_header("Authorization", f"Bearer {self.admin if admin else self.consumer}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
            return json.loads(answer.read() or b"null")

    def another_token(self) -> str:
        """Return a token of a tenant of its own."""
        return _consumer(self, tenant="globex")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def serve(settings: Mapping[str, str] | None = None, *, blocked: bool = True) -> Iterator[Served]:
    """Start a service with limits off; with ``blocked`` its one slot is taken."""
    with tempfile.TemporaryDirectory(prefix="longshore-bench-") as folder:
        port = free_port()
        environment = os.environ | {
            "LONGSHORE_LIMITS__REQUESTS_PER_SECOND": "0",
            "LONGSHORE_BACKENDS__LOCAL__ISOLATION": "none",
            "LONGSHORE_BACKENDS__LOCAL__SLOTS": "1",
            **(settings or {}),
        }
        log = Path(folder, "log")
        command = [str(Path(sys.executable).with_name("longshore")), "serve"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--state", f"{folder}/state", "--port", str(port)],
                stdout=subprocess.DEVNULL,
                stderr=output,
                env=environment,
            )
        try:
            admin = _token(log, process)
            served = Served(port, process, admin, "", Path(folder, "state"))
            served = attrs.evolve(served, consumer=_consumer(served))
            for workflow in (BLOCKING, SMALL):
                served.call("PUT", f"/v1/workflows/{workflow['id']}", workflow, admin=True)
            if blocked:
                job = served.call("POST", "/v1/jobs", {"workflow": "block"})
                while served.call("GET", f"/v1/jobs/{job['id']}")["state"] != "RUNNING":
                    time.sleep(0.05)
            yield served
            if blocked:
                served.call("POST", f"/v1/jobs/{job['id']}/cancel")
        finally:
            process.terminate()
            process.wait(30)


def _token(log: Path, process: "subprocess.Popen[bytes]") -> str:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("admin token"):
                return line.rpartition(" ")[2]
        time.sleep(0.02)
    raise SystemExit(f"the service did not start:\n{log.read_text()}")


def _consumer(served: Served, tenant: str = "acme") -> str:
    asked = {"tenant": tenant, "workflows": ["*"]}
    agreement = served.call("POST", "/v1/agreements", asked, admin=True)
    issued = served.call("POST", f"/v1/agreements/{agreement['id']}/tokens", {}, admin=True)
    return str(issued["token"])


@contextmanager
def serve_app(app: str) -> Iterator[int]:
    """Serve the ASGI application ``module:name`` of this folder with the same server; its port."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--http", "httptools", "--loop", "uvloop"]
    command += ["--no-access-log", "--log-level", "error", "--port", str(port), app]
    process = subprocess.Popen(command, cwd=Path(__file__).parent)
    try:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(30)
