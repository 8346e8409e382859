"""Jobs and their outputs, as a program with an event loop holds them."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path

import anyio
import httpx2

from longshore_client import streams, uploads
from longshore_client.downloads import Download
from longshore_client.errors import JobFailed, NotFound, RateLimited
from longshore_client.models import Event, Job
from longshore_client.session import Advance, Json
from longshore_client.sources import Given, open_source
from longshore_client.transport import ANSWER_LIMIT, Transport, decoded, path

#: seconds that a server is asked to hold its answer until the job changes
_LONG_POLL = 20
#: seconds between questions to a server that does not
_LOOK = 0.5


def silent(_: int) -> None:
    """Report no progress."""


class Output:
    """An output of a job, by its name; what it is, the server is asked when it is read."""

    def __init__(self, transport: Transport, job_id: str, name: str) -> None:
        self._transport = transport
        self._job_id = job_id
        self.name = name

    def __repr__(self) -> str:
        return f"Output({self.name!r}, job={self._job_id!r})"

    async def about(self) -> Json:
        """Return ``name``, ``size``, ``sha256`` and ``mediaType``.

        Raises:
            NotFound: the job did not make it, or not yet.
        """
        items = await listed(self._transport, self._job_id)
        for item in items:
            if item["name"] == self.name:
                return item
        made = ", ".join(str(item["name"]) for item in items) or "none"
        raise NotFound(f"job {self._job_id} has no output {self.name!r}", hint=f"it has {made}")

    async def _download(self) -> Download:
        return Download.of(self._transport, self._job_id, await self.about())

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes; their checksum is compared at the end.

        Raises:
            NotFound: the job did not make it, or not yet.
            ChecksumMismatch: they were not those that the job made.
        """
        async with aclosing((await self._download()).whole()) as chunks:
            async for chunk in chunks:
                yield chunk

    async def read_bytes(self) -> bytes:
        """Return all bytes. Raises as ``chunks`` does."""
        return b"".join([chunk async for chunk in self.chunks()])

    async def save(self, into: Path | str, progress: Advance = silent) -> Path:
        """Store the output in the directory ``into`` under its name, and return its path.

        The file appears whole, with the checksum that the server names, or not at all; what a
        broken try fetched is kept beside it and not fetched again.

        Raises:
            NotFound: the job did not make it, or not yet.
            ChecksumMismatch: the bytes are not those that the job made.
            OSError: it cannot be written.
        """
        return await (await self._download()).save(Path(into), progress)


class Outputs:
    """The outputs of a job: ``outputs[name]``, or ``await outputs.list()``."""

    def __init__(self, transport: Transport, job_id: str) -> None:
        self._transport = transport
        self._job_id = job_id

    def __getitem__(self, name: str) -> Output:
        return Output(self._transport, self._job_id, name)

    async def list(self) -> Mapping[str, Output]:
        """Return what the job made and what may be read, by name; empty before its end."""
        items = await listed(self._transport, self._job_id)
        return {str(item["name"]): self[str(item["name"])] for item in items}


async def listed(transport: Transport, job_id: str) -> list[Json]:
    """Return the items of the list of outputs."""
    answer = await transport.json("GET", path("jobs", job_id, "outputs"))
    return list(answer["items"])


class JobHandle:
    """A job of a ``LongshoreClient``."""

    def __init__(self, transport: Transport, job_id: str, last: Job | None = None) -> None:
        self._transport = transport
        self.id = job_id
        self._tag = ""
        #: the job as it was when it was last asked for
        self.last = last

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r}, {self.last.state if self.last else 'not asked for'})"

    def _repr_html_(self) -> str:
        return self.last._repr_html_() if self.last else ""

    @property
    def outputs(self) -> Outputs:
        """What the job makes."""
        return Outputs(self._transport, self.id)

    async def _act(self, action: str) -> Job:
        asked = self._transport.api("POST", path("jobs", self.id, action))
        return self._keep(await self._transport.ask(asked, repeatable=True))

    def _keep(self, answer: httpx2.Response) -> Job:
        self._tag = answer.headers.get("etag", "")
        self.last = Job.from_wire(decoded(answer))
        return self.last

    async def refresh(self) -> Job:
        """Return the job as it is now."""
        asked = self._transport.api("GET", path("jobs", self.id))
        return self._keep(await self._transport.ask(asked))

    async def put_input(self, name: str, given: Given, progress: Advance = silent) -> None:
        """Send ``given`` as the input ``name``: a file, a directory for an archive, or the content.

        Repeatable: what the server already has is not sent again.

        Raises:
            NotFound: the workflow has no such input.
            DataRefused: more than the workflow allows, or a directory with special files.
            Conflict: the job was started.
            OSError: it cannot be read.
        """
        with open_source(given) as source:
            await uploads.send(self._transport, self.id, name, source, progress=progress)

    async def start(self) -> Job:
        """Queue the job, whose inputs are there; repeatable.

        Raises:
            InputsMissing: they are not.
        """
        return await self._act("start")

    async def cancel(self) -> Job:
        """Ask for the job's end; durable when it returns, and repeatable."""
        return await self._act("cancel")

    async def delete(self) -> None:
        """Have the job's bytes removed; its record stays.

        Raises:
            Conflict: the job is not final.
        """
        await self._transport.json("DELETE", path("jobs", self.id))

    async def wait(self, timeout: float | None = None) -> Job:  # noqa: ASYNC109 - as the core's
        """Return the job when it is final.

        Raises:
            TimeoutError: it is not, after ``timeout`` seconds.
        """
        with anyio.fail_after(timeout):
            job = await self.refresh()
            while not job.is_final:
                job = await self._changed(job)
        return job

    async def _changed(self, job: Job) -> Job:
        """Return the job when the server says that it changed, or has held us long enough."""
        headers = {"Prefer": f"wait={_LONG_POLL}"}
        if self._tag:
            headers["If-None-Match"] = self._tag
        exchange = self._transport.api(
            "GET", path("jobs", self.id), headers=headers, limit=_LONG_POLL + ANSWER_LIMIT
        )
        began = anyio.current_time()
        try:
            answer = await self._transport.ask(exchange)
        except RateLimited:  # as many wait as may: then it is looked at now and then
            return await self.refresh()
        if answer.status_code != httpx2.codes.NOT_MODIFIED and self._keep(answer).raw != job.raw:
            return self.last or job
        if anyio.current_time() - began < _LOOK:  # a server, or a proxy, that does not hold answers
            await anyio.sleep(_LOOK)
        return job

    async def result(self, timeout: float | None = None) -> Mapping[str, Output]:  # noqa: ASYNC109 - as the core's
        """Wait, and return the outputs of a job that succeeded.

        Raises:
            JobFailed: the job FAILED or was CANCELED; the error says why.
            TimeoutError: it is not final after ``timeout`` seconds.
        """
        check(await self.wait(timeout))
        return await self.outputs.list()

    async def events(self, after: int = 0, *, follow: bool = False) -> AsyncGenerator[Event, None]:
        """Yield the job's events above ``after``; following ends after the final one."""
        async with aclosing(
            streams.events(self._transport, self.id, after, follow=follow)
        ) as events:
            async for event in events:
                yield Event.from_wire(event)

    async def logs(self, start: int = 0, *, follow: bool = False) -> AsyncGenerator[bytes, None]:
        """Yield the log from byte ``start`` on; following ends when it is complete."""
        async with aclosing(streams.log(self._transport, self.id, start, follow=follow)) as chunks:
            async for chunk in chunks:
                yield chunk


def check(job: Job) -> None:
    """Return if the job succeeded.

    Raises:
        JobFailed: it did not; the error says why.
    """
    if job.state == "SUCCEEDED":
        return
    why = job.reason
    raise JobFailed(
        f"job {job.id} {job.state}" + (f": {why.message}" if why else ""),
        reason_code=why.code if why else "",
        hint=why.hint if why else "",
    )
