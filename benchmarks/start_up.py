"""How long people wait: the first answer of a service that starts, and ``longshore --help``.

Beside them the start of the interpreter alone. Must: first /livez 600 ms, --help 130 ms.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from _server import free_port
from _table import show

_COMMAND = str(Path(sys.executable).with_name("longshore"))
_PATIENCE = 30.0
_ASK = b"GET /%s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def _answers(port: int, path: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as wire:
            wire.sendall(_ASK % path)
            return wire.recv(1024).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _start(paths: tuple[bytes, ...] = (b"livez", b"readyz")) -> list[float]:
    """Return seconds from the start of the process to the first 200 of each path."""
    with tempfile.TemporaryDirectory() as folder:
        port, found = free_port(), []
        environment = os.environ | {"LONGSHORE_BACKENDS__LOCAL__ISOLATION": "none"}
        began = time.perf_counter()
        process = subprocess.Popen(
            [_COMMAND, "serve", "--state", folder, "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        for path in paths:
            while not _answers(port, path) and time.perf_counter() - began < _PATIENCE:
                time.sleep(0.002)
            found.append(time.perf_counter() - began)
        process.terminate()
        process.wait(30)
    return found


def _run(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    starts = [_start() for _ in range(rounds)]
    python = median(_run(sys.executable, "-c", "pass") for _ in range(rounds))
    helped = median(_run(_COMMAND, "--help") for _ in range(rounds))
    show(
        "milliseconds, median",
        ("what", "ms"),
        [
            ("python -c pass", python * 1e3),
            ("longshore --help", helped * 1e3),
            ("first /livez", median(live for live, _ in starts) * 1e3),
            ("first /readyz", median(ready for _, ready in starts) * 1e3),
        ],
    )


if __name__ == "__main__":
    main()
