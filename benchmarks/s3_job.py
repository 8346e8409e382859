"""One large job on S3 by the command: how fast its bytes move, and which of them meet the service.

``longshore run`` sends a file, the worker copies it, and the copy comes back; the service, the S3
server, the job and the command are processes of this machine and share its processors. All
connections of the service, those that it takes and those that it opens, go through relays that
count. Beside it stands boto3, which sends and fetches the same bytes with nothing around them.

    python benchmarks/s3_job.py [--size "1 GiB"] [--directory DIR] [--json FILE]

Needs Go, to build the S3 server, and eight times the size on the disk.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import attrs
import boto3
from _server import Served, free_port, serve
from _table import show

from longshore.quantities import format_size, parse_size

S3 = Path(__file__).parent.parent / "testbed" / "s3"
BUCKET, KEYS = "bench", ("testbed", "testbed-secret")
MIB = 1024**2
_READ = 256 * 1024


class Relay:
    """Passes connections on to ``port`` and counts their bytes in both directions."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listening.getsockname()[1])
        self.moved = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            here, _ = self._listening.accept()
            there = socket.create_connection(("127.0.0.1", self._to))
            for ends in ((here, there), (there, here)):
                threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_READ):
                with self._lock:
                    self.moved += len(data)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


class Watch:
    """Looks for the most memory that each mover of a state directory ever had."""

    def __init__(self, state: Path) -> None:
        self._state = os.fsencode(state)
        self.peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            for entry in Path("/proc").iterdir():
                with suppress(OSError, ValueError):
                    said = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
                    if b"mover" in said and self._state in said + (entry / "environ").read_bytes():
                        self.peak = max(self.peak, peak_of(int(entry.name)))


def peak_of(pid: int) -> int:
    """Return the most memory that a process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@contextmanager
def s3_server(directory: Path) -> Iterator[int]:
    """Run the S3 server of the tests; give its port."""
    port = free_port()
    argv = [str(S3 / "up"), str(directory), f"127.0.0.1:{port}"]
    with (directory / "up.log").open("wb") as log:  # to a file: the server keeps a pipe open
        subprocess.run(argv, check=True, stdout=log, stderr=log)
    try:
        yield port
    finally:
        subprocess.run([str(S3 / "down"), str(directory)], check=True)


def client_of(port: int) -> Any:
    """Return boto3's client of the server."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=KEYS[0],
        aws_secret_access_key=KEYS[1],
    )


def settings(service: int, others: int) -> dict[str, str]:
    """Return the settings of a service that meets the server by the relay at port ``service``."""
    storage = {
        "plugin": "s3",
        "bucket": BUCKET,
        "endpoint": f"http://127.0.0.1:{service}",
        "public_endpoint": f"http://127.0.0.1:{others}",
        "job_endpoint": f"http://127.0.0.1:{others}",
        "access_key": KEYS[0],
        "secret_key": KEYS[1],
    }
    return {f"LONGSHORE_STORAGE__{name.upper()}": text for name, text in storage.items()}


def workflow(size: int) -> dict[str, Any]:
    file = {"kind": "file", "max_size": size}
    return {
        "id": "copy",
        "version": "1",
        "title": "copy",
        "command": ["/bin/cp", "{inputs.data}", "{outputs.data}"],
        "inputs": {"data": file},
        "outputs": {"data": file},
        "resources": {"memory": "1 GiB", "disk": 3 * size + 1024 * MIB, "walltime": "1h"},
    }


@attrs.frozen
class Ran:
    """When the command began and ended, in seconds of the clock, and its peak of memory."""

    begun: float
    ended: float
    peak: int


def run_command(server: str, token: str, source: Path, into: Path) -> Ran:
    """Run the job by the command as a process of its own."""
    argv = [str(Path(sys.executable).with_name("longshore")), "run", "copy"]
    argv += ["-i", f"data={source}", "-d", str(into)]
    environment = os.environ | {"LONGSHORE_SERVER": server, "LONGSHORE_TOKEN": token}
    with (into.parent / "command.log").open("w+b") as log:
        begun = time.time()
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        ended = time.time()
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        if process.returncode:
            raise SystemExit(f"the command failed:\n{log.read().decode()}")
    return Ran(begun, ended, usage.ru_maxrss * 1024)


def times_of(served: Served, ran: Ran) -> dict[str, float]:
    """Return how long each stage of the one job took, in seconds."""
    (job,) = served.call("GET", "/v1/jobs")["items"]
    events = served.call("GET", f"/v1/jobs/{job['id']}/events")["items"]
    at: dict[str, float] = {}
    for event in events:
        when = datetime.fromisoformat(event["at"]).timestamp()
        at.setdefault(event["type"], when)
        at.setdefault(str(event.get("state")), when)
    stages = {
        "checksum and submission": (ran.begun, at["JobCreated"]),
        "upload": (at["JobCreated"], at["InputReceived"]),
        "stage-in": (at["STAGING_IN"], at["RUNNING"]),
        "worker (cp)": (at["RUNNING"], at["STAGING_OUT"]),
        "stage-out": (at["STAGING_OUT"], at["SUCCEEDED"]),
        "download": (at["SUCCEEDED"], ran.ended),
        "in all": (ran.begun, ran.ended),
    }
    return {name: end - begin for name, (begin, end) in stages.items()}


def measure_peer(client: Any, source: Path, target: Path) -> dict[str, float]:
    """Return how long boto3 takes for the same bytes, in seconds."""
    found = {}
    begun = time.perf_counter()
    client.upload_file(str(source), BUCKET, "peer")
    found["upload"] = time.perf_counter() - begun
    begun = time.perf_counter()
    client.download_file(BUCKET, "peer", str(target))
    found["download"] = time.perf_counter() - begun
    client.delete_object(Bucket=BUCKET, Key="peer")
    target.unlink()
    return found


def fill(path: Path, size: int) -> None:
    """Write ``size`` bytes that no two parts have in common."""
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for number in range(-(-size // MIB)):
            file.write((number.to_bytes(8, "big") + block[8:])[: size - number * MIB])


def are_same(one: Path, other: Path) -> bool:
    return not subprocess.run(["cmp", "-s", str(one), str(other)], check=False).returncode


def measure(size: int, directory: Path) -> dict[str, Any]:
    """Return what was found, by name."""
    source, into = directory / "source", directory / "made"
    fill(source, size)
    (directory / "s3").mkdir()
    with s3_server(directory / "s3") as port:
        client_of(port).create_bucket(Bucket=BUCKET)
        peer = measure_peer(client_of(port), source, directory / "peer")
        to_s3 = Relay(port)
        with serve(settings(to_s3.port, port), blocked=False) as served:
            served.call("PUT", "/v1/workflows/copy", workflow(size), admin=True)
            front = Relay(served.port)
            before = to_s3.moved
            with Watch(served.state) as watch:
                ran = run_command(f"http://127.0.0.1:{front.port}", served.consumer, source, into)
            moved = {"front": front.moved, "to S3": to_s3.moved - before}
            times = times_of(served, ran)
            peaks = {
                "service": peak_of(served.process.pid),
                "command": ran.peak,
                "mover": watch.peak,
            }
    if not are_same(source, into / "data"):
        raise SystemExit("the result is not what was sent")
    return {"size": size, "seconds": times, "peer": peer, "moved": moved, "peaks": peaks}


def report(found: dict[str, Any]) -> None:
    size = found["size"] / MIB
    rows: list[list[object]] = []
    for name, seconds in found["seconds"].items():
        other = found["peer"].get(name)
        beside = [size / other, other / seconds] if other else ["", ""]
        # a worker that ends between two looks has no time of its own
        rows.append([name, seconds, size / seconds if seconds else "", *beside])
    title = f"a job of {format_size(found['size'])} on S3, {os.cpu_count()} processors"
    show(title, ["", "s", "MiB/s", "boto3 MiB/s", "ratio"], rows)
    for name, count in found["moved"].items():
        print(f"  through the service, {name}: {count:,} bytes")
    for name, peak in found["peaks"].items():
        print(f"  most memory of the {name}: {peak / MIB:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=parse_size, default=1024 * MIB)
    parser.add_argument("--directory", type=Path, help="on the disk to use")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="longshore-s3-job-", dir=options.directory))
    try:
        found = measure(options.size, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
