"""Does one thing over and over, each time in a process that is killed (SIGKILL) one step later.

Usage: killed_program.py WHAT ROOT [control]. Each try has a directory of its own, ROOT/<number>.
Prints the tickets as JSON lines; the last process is not killed, because its steps ran out.
"""

import hashlib
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs

from longshore.blobs import BlobUrls, Grant, Secret
from longshore.staging import FileTransport
from longshore.storages.arriving import ArrivingPart
from longshore.storages.local import LocalStorage
from longshore.transfer import Audience, SentPart, SignedUpload, UploadReceipt, UploadTicket

KEY = "instance/tenant/job/outputs/result"
PART_SIZE = 400_000
OLD, NEW = b"old\n" * 1000, b"the new result\n" * 100_000
STEPS = frozenset(
    {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.listdir"}
)


class Source(io.BytesIO):
    """Bytes in twenty pieces; reading each is a step."""

    def __init__(self, data: bytes, step: Callable[[], None]) -> None:
        super().__init__(data)
        self.step = step

    def readinto(self, buffer: Any) -> int:
        self.step()
        return super().readinto(memoryview(buffer)[: len(NEW) // 20])


async def prepare(storage: LocalStorage) -> tuple[UploadTicket, SignedUpload]:
    ticket = await storage.prepare_upload(KEY, max_size=10**8)
    hour = timedelta(hours=1)
    return ticket, await storage.sign_upload(ticket, audience=Audience.JOB, expires=hour)


def opened(root: Path) -> LocalStorage:
    urls = BlobUrls(secret=Secret(b"s" * 32), public="http://here")
    return LocalStorage(root, None, urls, part_size=PART_SIZE)


def arrive(storage: LocalStorage, ticket: UploadTicket, step: Callable[[], None]) -> None:
    for part, at in enumerate(range(0, len(NEW), ticket.part_size), start=1):
        data = NEW[at : at + ticket.part_size]
        grant = Grant(
            method="PUT",
            key=KEY,
            expires=2**33,
            upload=ticket.upload_id,
            part=part,
            at=at,
            size=len(data),
        )
        arriving = storage.arrive(grant)
        for start in range(0, len(data), 100_000):
            step()
            arriving.write(data[start : start + 100_000])
            arriving.hash(data[start : start + 100_000])
        arriving.finish()
        arriving.close()


async def prepared(storage: LocalStorage, what: str) -> tuple[UploadTicket, SignedUpload]:
    if what == "replace":
        ticket, signed = await prepare(storage)
        receipt = FileTransport().send(signed, io.BytesIO(OLD), max_size=10**8)
        await storage.commit(ticket, receipt)
    ticket, signed = await prepare(storage)
    if what == "commit-parts":
        arrive(storage, ticket, lambda: None)
    if what in {"commit", "replace"}:
        FileTransport().send(signed, io.BytesIO(NEW), max_size=10**8)
    return ticket, signed


def act(
    what: str, storage: LocalStorage, ticket: UploadTicket, signed: SignedUpload, steps: int
) -> None:
    left = steps

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in STEPS and str(storage._uploads.parent) in str(arguments[0]):
            step()

    async def new() -> AsyncIterator[bytes]:
        for start in range(0, len(NEW), 300_000):
            yield NEW[start : start + 300_000]

    sys.addaudithook(hook)
    if what == "send":
        FileTransport().send(signed, Source(NEW, step), max_size=10**8)
    elif what == "arrive":
        arrive(storage, ticket, step)
    elif what == "write":
        anyio.run(storage.write, KEY, new())
    else:
        anyio.run(storage.commit, ticket, UploadReceipt(size=len(NEW)))


def copying_rename(source: Path, target: Path) -> None:
    content = source.read_bytes()
    with target.open("wb", buffering=0) as file:
        file.write(content[:1000])
        list(target.parent.iterdir())  # a step
        file.write(content[1000:])
    source.unlink()


def counting_begin(self: ArrivingPart, upload: Path) -> None:
    begin(self, upload)
    data = NEW[self._grant.at :][: self._grant.size]
    tag = hashlib.sha256(data).hexdigest()
    self._parts.add(SentPart(number=self._number, size=len(data), tag=tag))


begin = ArrivingPart._begin


def main(what: str, root: Path, *, control: bool) -> None:
    if control:  # what protects is taken away: the name is given before the bytes are there
        Path.rename = copying_rename  # type: ignore[method-assign, assignment]  # the control
        ArrivingPart._begin = counting_begin  # type: ignore[method-assign]  # the other control
    for steps in range(1000):
        storage = opened(root / str(steps))
        ticket, signed = anyio.run(prepared, storage, what)
        print(json.dumps(attrs.asdict(ticket)), flush=True)  # noqa: T201 - how the test is told
        child = os.fork()
        if child == 0:
            act(what, storage, ticket, signed, steps)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if ended == 0:
            return
        if ended != -signal.SIGKILL:
            sys.exit(f"the process at step {steps} failed by itself")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), control="control" in sys.argv)
