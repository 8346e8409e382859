"""Fetch outputs: by ranges, several at once, resumed after a break, checked before they appear."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2

from longshore_client.errors import (
    Broken,
    ChecksumMismatch,
    Denied,
    Expired,
    LongshoreError,
    NotFound,
    ServerError,
)
from longshore_client.parallel import each
from longshore_client.partfile import PartFile, Segment, open_part
from longshore_client.session import Advance, Json
from longshore_client.transport import Transport, path

PARALLEL = 4
#: bytes that are written at once, and bytes after which it is noted how far a segment is
_CHUNK, _NOTED = 1024**2, 8 * 1024**2
#: what storages say of a URL that has expired, and of an object that is no longer there
_TOO_OLD = (Expired, NotFound)


class Location:
    """The signed URL of an output: asked for when it is needed, and kept as long as it is good."""

    def __init__(self) -> None:
        self.url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Download:
    """An output of a job, as the server lists it. ``size`` in bytes, ``sha256`` in hex."""

    transport: Transport
    job_id: str
    name: str
    size: int
    sha256: str
    location: Location = field(default_factory=Location, repr=False, compare=False)

    @classmethod
    def of(cls, transport: Transport, job_id: str, item: Json) -> "Download":
        """Return the download of an item of the list of outputs.

        Raises:
            ServerError: its name would lead elsewhere.
        """
        name = str(item["name"])
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise ServerError(f"{name!r} is no name of an output")
        return cls(
            transport=transport,
            job_id=job_id,
            name=name,
            size=int(item["size"]),
            sha256=str(item["sha256"]),
        )

    async def save(self, into: Path, progress: Advance) -> Path:
        """Store the output in the directory ``into`` under its name, and return its path.

        The file appears whole, with the checksum that the server names, or not at all. What a
        broken try fetched lies in ``NAME.part`` and is not fetched again.

        Raises:
            ChecksumMismatch: the bytes are not those that the job made.
            Conflict: another process is fetching the same file.
            LongshoreError: what the server says, or why it was not reached.
            OSError: it cannot be written.
        """
        target = into / self.name
        await self.store(target, progress)
        return target

    async def store(self, target: Path, progress: Advance) -> None:
        """Store the output as the file ``target``; else as ``save``."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_part(target, self.size, self.sha256) as part:
            progress(part.got)
            await self._fill(part, progress)
            try:
                await anyio.to_thread.run_sync(part.finish, target)
            except ChecksumMismatch:
                progress(-part.got)
                if not part.was_resumed:
                    part.discard()
                    raise
                part.forget()
                # what an earlier process left was not what it said: once, from the beginning
                await self._fill(part, progress)
                await anyio.to_thread.run_sync(part.finish, target)

    async def _fill(self, part: PartFile, progress: Advance) -> None:
        missing = [segment for segment in part.segments if not segment.is_whole]
        try:
            await each(missing, partial(self._fetch, part, progress), min(PARALLEL, len(missing)))
        finally:
            part.note()

    async def _fetch(self, part: PartFile, progress: Advance, segment: Segment) -> None:
        noted = segment.got
        async with aclosing(self.chunks(segment.at, segment.end)) as chunks:
            async for chunk in chunks:
                await anyio.to_thread.run_sync(part.write, segment, chunk)
                progress(len(chunk))
                if segment.got - noted >= _NOTED:
                    noted = segment.got
                    await anyio.to_thread.run_sync(part.note)

    async def whole(self) -> AsyncGenerator[bytes, None]:
        """Yield all bytes, and check them at the end.

        Raises:
            ChecksumMismatch: they were not those that the job made.
            LongshoreError: what the server says, or why it was not reached.
        """
        sha256 = hashlib.sha256()
        async with aclosing(self.chunks(0, self.size)) as chunks:
            async for chunk in chunks:
                sha256.update(chunk)
                yield chunk
        if sha256.hexdigest() != self.sha256:
            raise ChecksumMismatch(f"{self.name} is not what was stored", hint="fetch it again")

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from ``start`` up to ``end``, over as many connections as it takes."""
        trial = self.transport.trial()
        while start < end:
            kept = self.location.url
            try:
                async with self._open(start, end) as response:
                    async for chunk in response.aiter_raw(_CHUNK):
                        piece = chunk[: end - start]
                        start += len(piece)
                        trial.progressed()
                        yield piece
                if start < end:
                    raise Broken(f"{self.name} ended {end - start} bytes too early")
            except LongshoreError as error:
                self.location.url = None
                # a URL that was good before may be too old now, and nothing else: ask for another
                if kept is None or not isinstance(error, _TOO_OLD):
                    await self.transport.pause(trial, error)

    async def _locate(self) -> str:
        """Return where the server says that the bytes are."""
        asked = self.transport.api("GET", path("jobs", self.job_id, "outputs", self.name))
        async with self.transport.open(asked) as redirect:
            location: str | None = redirect.headers.get("location")
            if not redirect.is_redirect or not location:
                raise ServerError(f"the server does not say where {self.name} is")
        self.location.url = location
        return location

    @asynccontextmanager
    async def _open(self, start: int, end: int) -> AsyncIterator[httpx2.Response]:
        """Give the answer that holds these bytes."""
        transport = self.transport
        wanted = {"Range": f"bytes={start}-{end - 1}"}
        url = self.location.url or await self._locate()
        signed = transport.signed({"method": "GET", "url": url}, headers=wanted)
        try:
            async with transport.open(signed) as response:
                _check_range(response, start)
                yield response
        except Denied as exc:
            raise Expired(f"the download was refused: {exc.message}") from exc


def _check_range(response: httpx2.Response, start: int) -> None:
    said = response.headers.get("content-range", "bytes 0-")
    if response.status_code not in {200, 206} or not said.startswith(f"bytes {start}-"):
        raise ServerError(f"{response.request.url.host} gives other bytes than those asked for")
