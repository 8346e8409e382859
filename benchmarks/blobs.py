"""How fast bytes go up to the local storage and down from it, beside a bare server of sockets.

The peer is as little as can be: ``recv_into`` and ``write``, or ``sendfile``; no signature, no
checksum, no commit. A second one also computes the sha256 of what comes, as ours must; on two
processors, of which the client needs one, that is most of what ours costs. The client of all is
curl. They run in turns, each in a process of its own, and the median of the ratios of the turns
counts. Meanwhile a further process asks our server for ``/livez`` a hundred times a second.

    python benchmarks/blobs.py [--size "1 GiB"] [--rounds 5] [--directory DIR] [--json FILE]
"""

import argparse
import hashlib
import http.client
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import uvicorn
from _table import percentile, show

from longshore.blobs import BlobUrls, Grant, load_secret, sign
from longshore.collector import collect_rarely
from longshore.quantities import format_size, parse_size
from longshore.storages.local import LocalStorage
from longshore.transfer import UploadReceipt
from longshore_api.blobs import Blobs
from longshore_api.connection import Connection

KEY = "benchmark/tenant/job/inputs/large"
OURS, BARE, HASHING = "ours", "bare server", "bare server with sha256"
MIB = 1024**2
LATER = 2**33
#: (ours is at least this share of the peer, /livez answers within this many ms at the 99th of 100)
SHARE, LIVEZ_P99 = 0.8, 20.0
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


def peer(listening: socket.socket, directory: Path, *, hashed: bool = False) -> None:
    """Serve one file without anything that is not needed."""
    while True:
        connection, _ = listening.accept()
        known = (connection, directory / "file", hashed)
        threading.Thread(target=answer, args=known, daemon=True).start()


def hashing_peer(listening: socket.socket, directory: Path) -> None:
    """Serve one file, and compute the sha256 of what comes."""
    peer(listening, directory, hashed=True)


def answer(connection: socket.socket, path: Path, hashed: bool) -> None:  # noqa: FBT001 - of a thread
    with connection, connection.makefile("rb", buffering=0) as lines:
        head = b""
        while b"\r\n\r\n" not in head:
            head += lines.read(1) or sys.exit("the client left")
        if head.startswith(b"GET"):
            with path.open("rb") as file:
                size, at = path.stat().st_size, 0
                connection.sendall(HEADERS % size)
                while at < size:
                    at += os.sendfile(connection.fileno(), file.fileno(), at, size - at)
            return
        left = int(head.lower().partition(b"content-length:")[2].split()[0])
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        buffer, digest = memoryview(bytearray(MIB)), hashlib.sha256()
        with path.open("wb", buffering=0) as file:
            while left:
                got = connection.recv_into(buffer)
                file.write(buffer[:got])
                if hashed:
                    digest.update(buffer[:got])
                left -= got
        connection.sendall(HEADERS % 0)


def ours(listening: socket.socket, directory: Path) -> None:
    """Serve the storage in ``directory`` as the service does."""
    storage = LocalStorage(directory, None, urls(directory))
    blobs = Blobs(storage)

    async def app(
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        if scope["path"] != "/livez":
            await blobs(scope, receive, send)
            return
        length = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(
        app, http=Connection, loop="none", ws="none", lifespan="off", log_level="warning"
    )
    collect_rarely()
    anyio.run(uvicorn.Server(config).serve, [listening], backend_options={"use_uvloop": True})


def urls(directory: Path) -> BlobUrls:
    return BlobUrls(secret=load_secret(directory / "secret.key"), public="")


@attrs.frozen
class Running:
    """A server in a process of its own."""

    process: Any
    port: int

    @property
    def cpu(self) -> float:
        """Return the seconds of a processor that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @property
    def peak(self) -> int:
        """Return the most memory that it ever had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@contextmanager
def running(serve: Callable[[socket.socket, Path], None], directory: Path) -> Iterator[Running]:
    directory.mkdir()
    context = multiprocessing.get_context("spawn")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = context.Process(target=serve, args=(listening, directory), daemon=True)
        process.start()
        try:
            yield Running(process, listening.getsockname()[1])
        finally:
            process.terminate()
            process.join()


def probe(port: int, ended: Any, found: Any) -> None:
    """Ask for /livez a hundred times a second until told; give the times in ms to ``found``."""
    times = []
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while not ended.wait(0.01):
        begun = time.perf_counter()
        connection.request("GET", "/livez")
        connection.getresponse().read()
        times.append(1000 * (time.perf_counter() - begun))
    found.send(times)


@contextmanager
def probing(port: int, times: list[float]) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    ended = context.Event()
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=probe, args=(port, ended, there), daemon=True)
    process.start()
    try:
        yield
    finally:
        ended.set()
        times += here.recv()
        process.join()


def curl(*arguments: str) -> float:
    """Return bytes per second."""
    asked = [
        "curl",
        "-sS",
        "-f",
        "-o",
        "/dev/null",
        "-w",
        "%{size_upload} %{size_download} %{time_total}",
    ]
    out = subprocess.run([*asked, *arguments], check=True, capture_output=True, text=True).stdout
    up, down, seconds = (float(text) for text in out.split())
    return (up + down) / seconds


@attrs.define
class Turn:
    """What one server did in one turn: MiB/s, seconds of its processor."""

    up: float = 0.0
    down: float = 0.0
    cpu: float = 0.0
    commit: float = 0.0


def turn_of_peer(server: Running, source: Path) -> Turn:
    url = f"http://127.0.0.1:{server.port}/"
    before = server.cpu
    up = curl("-T", str(source), url)
    return Turn(up=up / MIB, down=curl(url) / MIB, cpu=server.cpu - before)


def turn_of_ours(server: Running, source: Path, directory: Path) -> Turn:
    base, signing = f"http://127.0.0.1:{server.port}", urls(directory).secret
    storage = LocalStorage(directory, None, urls(directory))
    size = source.stat().st_size
    ticket = anyio.run(lambda: storage.prepare_upload(KEY, max_size=size))
    upload = Grant(method="PUT", key=KEY, expires=LATER, upload=ticket.upload_id, size=size)
    before = server.cpu
    up = curl("-T", str(source), base + sign(signing, upload))
    begun = time.perf_counter()
    anyio.run(storage.commit, ticket, UploadReceipt(size=size))
    commit = time.perf_counter() - begun
    down = curl(base + sign(signing, Grant(method="GET", key=KEY, expires=LATER)))
    return Turn(up=up / MIB, down=down / MIB, cpu=server.cpu - before, commit=commit)


def measure(size: int, rounds: int, directory: Path) -> dict[str, Any]:
    """Return what was found, by name."""
    source = directory / "source"
    with source.open("wb") as file:
        file.truncate(size)  # a hole: to read it costs the client the same in every turn
    times: list[float] = []
    turns: dict[str, list[Turn]] = {OURS: [], BARE: [], HASHING: []}
    with (
        running(peer, directory / "peer") as bare,
        running(hashing_peer, directory / "hashing") as hashing,
        running(ours, directory / "ours") as server,
    ):
        anyio.run(_until_it_listens, server.port)
        small = directory / "small"
        small.write_bytes(bytes(16 * MIB))
        turn_of_ours(server, small, directory / "ours")
        base = server.peak
        for _ in range(rounds):
            with probing(server.port, times):
                turns[OURS].append(turn_of_ours(server, source, directory / "ours"))
            shutil.rmtree(directory / "ours" / "objects" / "benchmark")
            turns[BARE].append(turn_of_peer(bare, source))
            (directory / "peer" / "file").unlink()
            turns[HASHING].append(turn_of_peer(hashing, source))
            (directory / "hashing" / "file").unlink()
        rise = server.peak - base

    def ratio(name: str, other: str) -> float:
        pairs = zip(turns[OURS], turns[other], strict=True)
        ratios: list[float] = [getattr(one, name) / getattr(two, name) for one, two in pairs]
        return statistics.median(ratios)

    return {
        "turns": {name: [attrs.asdict(one) for one in each] for name, each in turns.items()},
        "up": ratio("up", BARE),
        "up_hashed": ratio("up", HASHING),
        "down": ratio("down", BARE),
        "livez_p99_ms": percentile(times, 0.99),
        "memory_rise_mib": max(0, rise) / MIB,
    }


async def _until_it_listens(port: int) -> None:
    with anyio.fail_after(30):
        stream = await anyio.connect_tcp("127.0.0.1", port)
    await stream.aclose()


def report(found: dict[str, Any], size: int) -> None:
    rows = []
    for name, each in found["turns"].items():
        mine = [Turn(**one) for one in each]
        columns = ("up", "down", "cpu", "commit")
        rows.append(
            [name, *(statistics.median(getattr(one, each) for one in mine) for each in columns)]
        )
    rows.append(["ours / bare", found["up"], found["down"], "", ""])
    rows.append(["ours / bare with sha256", found["up_hashed"], "", "", ""])
    title = f"{format_size(size)} over loopback, {os.cpu_count()} processors"
    show(title, ["", "up MiB/s", "down MiB/s", "server CPU s", "commit s"], rows)
    print(f"  /livez meanwhile, p99: {found['livez_p99_ms']:.1f} ms")
    print(f"  memory of the server: + {found['memory_rise_mib']:.0f} MiB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=parse_size, default=1024 * MIB)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="on the disk to measure")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="longshore-blobs-", dir=options.directory))
    try:
        found = measure(options.size, options.rounds, directory)
    finally:
        shutil.rmtree(directory)
    report(found, options.size)
    if options.json:
        options.json.write_text(json.dumps(found))
    missed = [name for name in ("up", "down") if found[name] < SHARE]
    if found["livez_p99_ms"] > LIVEZ_P99:
        missed.append("livez")
    if missed:
        print(f"  below the target: {', '.join(missed)}")


if __name__ == "__main__":
    main()
