"""Longshore over HTTP, for programs with an event loop.

```python
from pathlib import Path
from longshore_client import LongshoreClient

async with LongshoreClient("https://compute.example", token) as client:
    job = await client.run("wordcount", inputs={"text": Path("book.txt")})
    outputs = await job.result()
    print(await outputs["counts"].read_bytes())
```
"""

import ssl
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Self

import anyio
import anyio.to_thread
import httpx2

from longshore_client import uploads
from longshore_client.access import Agreements
from longshore_client.configfile import known_server
from longshore_client.handles import JobHandle, silent
from longshore_client.models import Caller, Job, Jobs, Workflow
from longshore_client.parallel import each
from longshore_client.retrying import Retry
from longshore_client.session import Advance, Json
from longshore_client.sources import Given, Source, inline, open_source
from longshore_client.transport import Transport, path

#: seconds for telling the server that a job will not get its inputs
_LAST_WORDS = 5.0
#: jobs of `map` that are waited for at a time: a server lets a token follow so many and no more
_WATCHED = 32


class LongshoreClient:
    """The workflows and jobs of one server. To be used in one ``async with`` block.

    Calls are repeated, with pauses, where that cannot do harm: see ``Retry``. Leaving the block
    ends no job.
    """

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        *,
        retry: Retry | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Prepare the connection; nothing is sent yet.

        Args:
            server: its address; else ``$LONGSHORE_SERVER``, else that of ``longshore login``.
            token: else ``$LONGSHORE_TOKEN``, else the one that ``longshore login`` kept for it.
            retry: how failed calls are repeated.
            verify: the certificates to trust, instead of the machine's.
            transport: something else than the network, for tests.

        Raises:
            RequestError: no server is known, or it has no address.
        """
        known = known_server(server, token)
        self._transport = Transport(
            known.url, known.token, retry=retry, verify=verify, transport=transport
        )
        self.agreements = Agreements(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()

    async def me(self) -> Caller:
        """Return whose token this is, and for what."""
        return Caller.from_wire(await self._transport.json("GET", path("me")))

    async def workflows(self) -> Sequence[Workflow]:
        """Return the workflows that the token may run."""
        page = await self._transport.json("GET", path("workflows"))
        return [Workflow.from_wire(one) for one in page["items"]]

    async def workflow(self, workflow_id: str) -> Workflow:
        """Return a workflow.

        Raises:
            NotFound: there is none of that name for this token.
        """
        return Workflow.from_wire(await self._transport.json("GET", path("workflows", workflow_id)))

    async def job(self, job_id: str) -> JobHandle:
        """Return a job that was submitted before.

        Raises:
            NotFound: there is none.
        """
        handle = JobHandle(self._transport, job_id)
        await handle.refresh()
        return handle

    async def jobs(
        self,
        *,
        state: str | Sequence[str] = (),
        workflow: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Jobs:
        """Return a page of jobs, newest first; ``cursor`` is the ``next`` of the page before."""
        query: dict[str, Any] = {"limit": limit}
        if state:
            query["state"] = [state] if isinstance(state, str) else list(state)
        query |= {key: it for key, it in (("workflow", workflow), ("cursor", cursor)) if it}
        page = await self._transport.json("GET", path("jobs"), query=query)
        return Jobs(tuple(Job.from_wire(one) for one in page["items"]), page.get("next"))

    async def submit(self, request: Json, *, key: str | None = None) -> JobHandle:
        """Make a job of a request as ``POST /v1/jobs`` takes it; it is durable when this returns.

        Args:
            request: ``workflow``, ``parameters``, ``inputs``, ``resources``, ``start``.
            key: the same key gives the same job, however often it is sent; one is made for you.
        """
        return self._handle(await submit(self._transport, request, key))

    def _handle(self, raw: Json) -> JobHandle:
        return JobHandle(self._transport, raw["id"], Job.from_wire(raw))

    async def run(
        self,
        workflow: str,
        *,
        inputs: Mapping[str, Given] | None = None,
        parameters: Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        key: str | None = None,
        progress: Advance = silent,
    ) -> JobHandle:
        """Submit a job with its inputs, start it, and return at once.

        Args:
            workflow: its id.
            inputs: paths of files, of a directory for an archive, or the content itself.
            parameters: as the workflow's schema has them.
            resources: within the workflow's bounds.
            key: the same key with the same inputs is the same job: a call that was cut short goes
                on where it was.
            progress: told how many bytes of inputs were sent.

        Raises:
            NotFound, Invalid, Denied, DataRefused: what is wrong with the request.
            OSError: an input cannot be read.
        """
        with ExitStack() as opened:
            request, sources = await _prepare(opened, inputs or {})
            request |= {"workflow": workflow, "parameters": dict(parameters or {})}
            if resources:
                request["resources"] = dict(resources)
            raw = await submit(self._transport, request, key)
            handle = self._handle(raw)
            try:
                await self._send(raw, sources, progress, resumes=key is not None)
                if raw["state"] == "CREATED":
                    await handle.start()
            except BaseException:
                if key is None:  # with a key, the same call goes on where this one ended
                    with suppress(Exception), anyio.move_on_after(_LAST_WORDS, shield=True):
                        await handle.cancel()
                raise
        return handle

    async def _send(
        self, raw: Json, sources: Mapping[str, Source], progress: Advance, *, resumes: bool
    ) -> None:
        # after a repeated key, only what the job still waits for is asked for, and sent
        for name, upload in (raw.get("uploads") or {}).items():
            if name in sources:
                send = partial(uploads.send, self._transport, raw["id"], name, sources[name])
                await send(upload=None if resumes else upload, progress=progress)

    async def map(
        self,
        workflow: str,
        inputs: Iterable[Mapping[str, Given]],
        *,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        concurrency: int = 8,
    ) -> AsyncIterator[JobHandle]:
        """Run a job for each of ``inputs``, and yield them in this order, each when it is final.

        Args:
            workflow: its id.
            inputs: of each job; ``{}`` where the parameters are what differs.
            parameters: of all jobs, or of each.
            concurrency: how many jobs are unfinished at a time.

        A job that fails is yielded as well: its ``result()`` says why. Who stops iterating leaves
        the jobs that were submitted running.
        """
        window: deque[JobHandle] = deque()
        going: set[str] = set()
        for one, values in _with_parameters(inputs, parameters):
            while len(going) >= concurrency:
                unfinished = [job for job in window if job.id in going]
                going -= {await _first_final(unfinished[:_WATCHED])}
                while window and window[0].id not in going:
                    yield window.popleft()
            window.append(await self.run(workflow, inputs=one, parameters=values))
            going.add(window[-1].id)
        for job in window:
            await job.wait()
            yield job


async def submit(transport: Transport, request: Json, key: str | None) -> Json:
    """Return the job that ``POST /v1/jobs`` makes, with its uploads.

    Without a key one is made, so that a request whose answer was lost can be sent again.
    """
    headers = {"Idempotency-Key": key or uuid.uuid4().hex}
    made: Json = await transport.json(
        "POST", path("jobs"), request, headers=headers, repeatable=True
    )
    return made


async def _prepare(
    opened: ExitStack, inputs: Mapping[str, Given]
) -> tuple[Json, dict[str, Source]]:
    """Return the inputs of a request, and what is to be uploaded of them."""
    said: Json = {}
    sources: dict[str, Source] = {}
    for name, given in inputs.items():
        text = inline(given)
        if text is not None:
            said[name] = text
            continue
        source = await anyio.to_thread.run_sync(opened.enter_context, open_source(given))
        said[name] = await anyio.to_thread.run_sync(source.announcement)
        sources[name] = source
    return {"inputs": said, "start": True}, sources


def _with_parameters(
    inputs: Iterable[Mapping[str, Given]],
    parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
) -> Iterable[tuple[Mapping[str, Given], Mapping[str, Any]]]:
    if isinstance(parameters, Sequence):
        return zip(inputs, parameters, strict=True)
    return ((one, parameters or {}) for one in inputs)


class _Final(Exception):
    """Ends the waiting for several jobs: one is final."""


async def _first_final(jobs: Sequence[JobHandle]) -> str:
    """Return the id of the job that is final first."""

    async def watch(job: JobHandle) -> None:
        await job.wait()
        raise _Final(job.id)

    try:
        await each(jobs, watch, len(jobs))
    except _Final as first:
        return str(first)
    return ""
