"""What a job leaves behind, to be read by ranges: its outputs and its log."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import IO

import anyio
import anyio.to_thread
import httpx2

from longshore_client import streams
from longshore_client.downloads import Download
from longshore_client.errors import NotFound, RequestError, ServerError
from longshore_client.handles import listed
from longshore_client.models import Job
from longshore_client.session import Advance, Json
from longshore_client.transport import Transport, path

_BEHIND_THE_END = 416
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")


class OutputResult:
    """An output of a job that has ended; it never changes, it can only be removed."""

    def __init__(self, download: Download) -> None:
        self._download = download
        self.size = download.size
        self.sha256: str | None = download.sha256

    async def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` up to ``end``; nobody can check those of a part."""
        async with aclosing(self._download.chunks(start, end)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield all bytes; at the end ChecksumMismatch, where they are not what the job made."""
        return self._download.whole()

    async def store(self, target: Path, progress: Advance) -> None:
        """Store it as the file ``target``, which appears whole and checked, or not at all."""
        await self._download.store(target, progress)


class LogResult:
    """The first ``size`` bytes of the log of a job, which may go on."""

    sha256: str | None = None

    def __init__(self, transport: Transport, job_id: str, size: int) -> None:
        self._transport = transport
        self._job_id = job_id
        self.size = size

    async def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` up to ``end``; the server gives some MiB at a time."""
        found = bytearray()
        while start + len(found) < end:
            piece = await _log_range(
                self._transport, self._job_id, f"{start + len(found)}-{end - 1}"
            )
            if piece is None or not piece.content or _range(piece)[0] != start + len(found):
                raise ServerError(f"the log of job {self._job_id} is shorter than it was")
            found += piece.content
        return bytes(found)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes."""
        left = self.size
        async with aclosing(streams.log(self._transport, self._job_id, follow=False)) as chunks:
            async for chunk in chunks:
                yield chunk[:left]
                left -= len(chunk[:left])
                if not left:
                    return

    async def store(self, target: Path, progress: Advance) -> None:
        """Store it as the file ``target``, which appears whole or not at all."""
        draft = anyio.Path(target.with_name(target.name + ".part"))
        try:
            async with await draft.open("wb") as file, aclosing(self.chunks()) as chunks:
                async for chunk in chunks:
                    await file.write(chunk)
                    progress(len(chunk))
            await draft.replace(target)
        except BaseException:
            target.with_name(draft.name).unlink(missing_ok=True)
            raise


Result = OutputResult | LogResult


async def copy(result: Result, file: IO[bytes], progress: Advance) -> None:
    """Write all of ``result`` into ``file``, whose holder drops it where this raises."""
    async with aclosing(result.chunks()) as chunks:
        async for chunk in chunks:
            await anyio.to_thread.run_sync(file.write, chunk)
            progress(len(chunk))


async def outputs_of(transport: Transport, job_id: str) -> list[tuple[Json, OutputResult]]:
    """Return the outputs of a job that may be read, each as the server lists it."""
    items = await listed(transport, job_id)
    return [(one, OutputResult(Download.of(transport, job_id, one))) for one in items]


async def output_of(transport: Transport, job_id: str, name: str) -> tuple[Json, OutputResult]:
    """Return an output.

    Raises:
        NotFound: it cannot be read, and why.
    """
    outputs = await outputs_of(transport, job_id)
    for item, result in outputs:
        if item["name"] == name:
            return item, result
    made = ", ".join(str(item["name"]) for item, _ in outputs) or "none"
    job = await job_of(transport, job_id)
    if job.raw.get("purged"):
        raise NotFound(f"the outputs of job {job_id} were removed")
    if not job.is_final:
        said = f"job {job_id} is {job.state}: its outputs can be read when it has ended"
        raise NotFound(said, hint="longshore status shows how far it is")
    why = f": {job.reason.message}" if job.reason else ""
    said = f"job {job_id}, which {job.state}{why}, has no output {name!r}"
    raise NotFound(said, hint=f"it has {made}")


async def log_of(transport: Transport, job_id: str) -> LogResult:
    """Return the log of a job, as long as it is now.

    Raises:
        NotFound: it was removed.
        Denied: it is not for the job's owner, or not yet.
    """
    last = await _log_range(transport, job_id, "-1")
    size = 0 if last is None else _range(last)[1]
    if not size and (await job_of(transport, job_id)).raw.get("purged"):
        raise NotFound(f"the log of job {job_id} was removed")
    return LogResult(transport, job_id, size)


async def job_of(transport: Transport, job_id: str) -> Job:
    """Return a job."""
    return Job.from_wire(await transport.json("GET", path("jobs", job_id)))


async def _log_range(transport: Transport, job_id: str, span: str) -> httpx2.Response | None:
    """Return what the server gives of a range of the log; None where there are no such bytes."""
    headers = {"Accept": "text/plain", "Range": f"bytes={span}"}
    asked = transport.api("GET", path("jobs", job_id, "logs"), headers=headers)
    try:
        return await transport.ask(asked)
    except RequestError as error:
        if error.status == _BEHIND_THE_END:
            return None
        raise


def _range(answer: httpx2.Response) -> tuple[int, int]:
    """Return the first byte of an answer, and how many there are in all (0: not said)."""
    said = _RANGE.match(answer.headers.get("content-range", ""))
    if said is None:
        raise ServerError(f"{answer.request.url.host} gives other bytes than those asked for")
    return int(said[1]), 0 if said[2] == "*" else int(said[2])
