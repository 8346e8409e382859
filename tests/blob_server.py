"""Serves the blobs of a storage, and nothing else.

Usage: blob_server.py ROOT DESCRIPTOR [plain] [asyncio] [stall=SECONDS] [unsigned]

``plain`` is a server that lends no sockets, ``asyncio`` one without uvloop. ``unsigned`` takes away
what protects: any signature is good.
"""

import resource
import socket
import sys
from pathlib import Path
from typing import Any

import anyio
import uvicorn

from longshore import blobs as core
from longshore.blobs import BlobUrls, load_secret
from longshore.errors import LongshoreError
from longshore.storages.local import LocalStorage
from longshore_api.blobs import Blobs
from longshore_api.blobs.app import STALL
from longshore_api.bodies import Disconnected
from longshore_api.connection import Connection
from longshore_api.problems import to_answer


class Answering:
    """What the gate does: errors are problems."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/livez":
            await _answer(send, 200, [(b"content-length", b"0")], b"")
            return
        try:
            await self._blobs(scope, receive, send)
        except Disconnected:
            pass
        except LongshoreError as exc:
            await _answer(send, *to_answer(exc, "1"))


async def _answer(send: Any, status: int, headers: list[Any], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def main(root: Path, descriptor: int, options: list[str]) -> None:
    if "unsigned" in options:
        core.hmac.compare_digest = lambda *_: True  # type: ignore[attr-defined]  # the control
    stall = STALL
    for option in options:
        if option.startswith("stall="):
            stall = STALL.resolution * int(1e6 * float(option.removeprefix("stall=")))
    urls = BlobUrls(secret=load_secret(root / "secret.key"), public="")
    blobs = Blobs(LocalStorage(root / "storage", None, urls), stall=stall)
    config = uvicorn.Config(
        Answering(blobs),
        http="httptools" if "plain" in options else Connection,
        loop="none",
        ws="none",
        lifespan="off",
        log_level="warning",
    )
    with socket.socket(fileno=descriptor) as listening:
        await uvicorn.Server(config).serve([listening])


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    options = sys.argv[3:]
    anyio.run(
        main,
        Path(sys.argv[1]),
        int(sys.argv[2]),
        options,
        backend_options={"use_uvloop": "asyncio" not in options},
    )
