"""Carry an input to where the server says: in parts, several at once, resumed after a break.

The server knows which parts it has. Whatever went wrong, the way on is the same: ask what is
missing, and send that.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import anyio.to_thread

from longshore_client.errors import (
    Broken,
    ChecksumMismatch,
    Denied,
    Expired,
    LongshoreError,
    NotFound,
    TooLarge,
)
from longshore_client.parallel import each
from longshore_client.session import Advance, Json
from longshore_client.sources import Source
from longshore_client.transport import Transport, path

PARALLEL = 4
_CHUNK = 1024**2
#: seconds; a part is answered when it has been written and its checksum made
_PART_LIMIT = 120.0
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?\Z')


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of the file: ``request`` carries it, or ``etag`` is what the server has of it."""

    number: int
    start: int
    size: int
    request: Json
    etag: str = ""


async def send(
    transport: Transport,
    job_id: str,
    name: str,
    source: Source,
    *,
    upload: Json | None = None,
    progress: Advance,
) -> None:
    """Carry ``source`` to the input ``name`` and complete the upload; repeatable.

    Args:
        transport: to the server.
        job_id: of a job in the state CREATED.
        name: of the input.
        source: the bytes; those that the server already has are not sent again.
        upload: the server's upload request, where one is at hand.
        progress: called with bytes as they are sent.

    Raises:
        TooLarge: more bytes than the workflow takes.
        ChecksumMismatch: not the bytes that were announced.
        LongshoreError: what the server says, or why it was not reached.
    """
    await _Sending(transport, path("jobs", job_id, "inputs", name), source, progress).run(upload)


def layout(upload: Json, size: int, sent: Sequence[Json] = ()) -> list[Part]:
    """Return the parts of a file of ``size`` bytes, in order: sent ones, and those to be sent.

    Each begins where all before it end. The last may be shorter than the server allows, and those
    behind the file's end are not needed.

    Raises:
        TooLarge: the file is longer than all parts.
    """
    if "parts" not in upload:
        return [Part(number=1, start=0, size=size, request=upload)]
    parts: list[Part] = []
    start = 0
    for one in sorted((*sent, *upload["parts"]), key=lambda part: int(part["number"])):
        length = int(one["size"])
        if "url" in one:
            length = min(length, max(0, size - start))
        number, etag = int(one["number"]), str(one.get("etag", ""))
        parts.append(Part(number=number, start=start, size=length, request=one, etag=etag))
        start += length
    if size > start:
        raise TooLarge(f"{size} bytes are more than the {start} that the input takes")
    return [part for part in parts if part.size or part.number == 1]


class _Sending:
    """One upload, over all its tries."""

    def __init__(self, transport: Transport, route: str, source: Source, progress: Advance) -> None:
        self._transport = transport
        self._route = route
        self._source = source
        self._progress = progress
        self._trial = transport.trial()
        self._told = 0
        self._ours: set[int] = set()

    async def run(self, upload: Json | None) -> None:
        sent: list[Json] = []
        while True:
            try:
                if upload is None:
                    about = await self._transport.json("GET", self._route)
                    if about["state"] == "received":
                        return self._tell(self._source.size)
                    upload, sent = about["upload"], about["sent"]
                await self._send_missing(upload or {"parts": []}, sent)
                return await self._complete()
            except LongshoreError as error:
                await self._transport.pause(self._trial, error)
                upload = None

    async def _send_missing(self, upload: Json, sent: Sequence[Json]) -> None:
        parts = layout(upload, self._source.size, sent)
        there = [part for part in parts if part.etag]
        await anyio.to_thread.run_sync(self._check, there)
        self._tell(sum(part.size for part in there))
        missing = [part for part in parts if not part.etag]
        await each(missing, self._send, min(PARALLEL, len(missing)))

    def _check(self, there: Sequence[Part]) -> None:
        """Look whether the parts that an earlier process sent are bytes of this file.

        Raises:
            ChecksumMismatch: one is not; mixing both would make an input that nobody has.
        """
        for part in there:
            tag = _SHA256.match(part.etag)
            if part.number in self._ours or tag is None:
                continue
            sha256 = hashlib.sha256()
            for at in range(part.start, part.start + part.size, _CHUNK):
                wanted = min(_CHUNK, part.start + part.size - at)
                sha256.update(self._source.read(at, wanted))
            if tag[1] != sha256.hexdigest():
                raise ChecksumMismatch(
                    f"part {part.number}, which was sent earlier, is not of the same file",
                    hint="cancel the job and submit it anew",
                )

    def _tell(self, total: int) -> None:
        """Bring the progress to ``total``: what a broken try sent may have to be sent again."""
        self._progress(total - self._told)
        self._told = total

    async def _send(self, part: Part) -> None:
        sha256 = hashlib.sha256()

        def read(at: int, wanted: int) -> bytes:
            chunk = self._source.read(at, wanted)
            sha256.update(chunk)
            return chunk

        async def content() -> AsyncIterator[bytes]:
            at = part.start
            while at < part.start + part.size:
                wanted = min(_CHUNK, part.start + part.size - at)
                chunk = await anyio.to_thread.run_sync(read, at, wanted)
                if not chunk:
                    raise ChecksumMismatch("the file became shorter while it was sent")
                at += len(chunk)
                yield chunk
                self._progress(len(chunk))
                self._told += len(chunk)

        exchange = self._transport.signed(
            part.request,
            headers={"Content-Length": str(part.size)},
            content=content(),
            limit=_PART_LIMIT,
        )
        try:
            async with self._transport.open(exchange) as response:
                tag = _SHA256.match(response.headers.get("etag", ""))
        except (Denied, NotFound) as exc:
            raise Expired(f"the upload was refused: {exc.message}") from exc
        if tag and tag[1] != sha256.hexdigest():
            raise Broken("the bytes were changed on their way")
        self._ours.add(part.number)
        self._trial.progressed()

    async def _complete(self) -> None:
        """Say that all is there; the server checks it, and the next try sends what is not."""
        body = {"size": self._source.size}
        try:
            await self._transport.json("POST", self._route + "/complete", body, repeatable=True)
        except NotFound as exc:
            raise Broken(f"the upload did not arrive: {exc.message}") from exc
