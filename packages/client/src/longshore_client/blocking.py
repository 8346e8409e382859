"""Longshore over HTTP, for programs that block: notebooks, scripts.

```python
from pathlib import Path
from longshore_client import Client

with Client("https://compute.example", token) as client:
    job = client.run("wordcount", inputs={"text": Path("book.txt")})
    print(job.result()["counts"].read_bytes())
```

Everything is as in ``longshore_client.client``, whose docstrings say what fails and how; here each
call returns when it is done.
"""

import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx2

from longshore_client import handles
from longshore_client.bridge import Bridge, open_bridge
from longshore_client.client import LongshoreClient
from longshore_client.errors import LongshoreError, NotFound
from longshore_client.handles import silent
from longshore_client.models import Agreement, Caller, Event, Job, Jobs, Token, Workflow
from longshore_client.retrying import Retry
from longshore_client.session import Advance, Json
from longshore_client.sources import Given


class Output:
    """An output of a job. See ``longshore_client.handles.Output``."""

    def __init__(self, bridge: Bridge, output: handles.Output) -> None:
        self._bridge = bridge
        self._output = output
        self.name = output.name

    def __repr__(self) -> str:
        return repr(self._output)

    def about(self) -> Json:
        """Return ``name``, ``size``, ``sha256`` and ``mediaType``."""
        return self._bridge.call(self._output.about)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; their checksum is compared at the end."""
        yield from self._bridge.stream(self._output.chunks())

    def read_bytes(self) -> bytes:
        """Return all bytes."""
        return self._bridge.call(self._output.read_bytes)

    def save(self, into: Path | str, progress: Advance = silent) -> Path:
        """Store the output in the directory ``into`` under its name, and return its path."""
        return self._bridge.call(partial(self._output.save, into, progress))


class JobHandle:
    """A job of an open ``Client``. See ``longshore_client.handles.JobHandle``."""

    def __init__(self, bridge: Bridge, handle: handles.JobHandle) -> None:
        self._bridge = bridge
        self._handle = handle
        self.id = handle.id

    def __repr__(self) -> str:
        return repr(self._handle)

    def _repr_html_(self) -> str:
        with suppress(LongshoreError):  # then it is shown as it was when it was last asked for
            self._bridge.call(self._handle.refresh)
        return self._handle._repr_html_()

    @property
    def job(self) -> Job:
        """The job as it is now."""
        return self._bridge.call(self._handle.refresh)

    @property
    def state(self) -> str:
        """The job's state now."""
        return self.job.state

    @property
    def outputs(self) -> Mapping[str, Output]:
        """What the job made, by name; empty until it is final."""
        return self._wrapped(self._bridge.call(self._handle.outputs.list))

    def _wrapped(self, found: Mapping[str, handles.Output]) -> Mapping[str, Output]:
        return {name: Output(self._bridge, output) for name, output in found.items()}

    def output(self, name: str) -> Output:
        """Return the output ``name``.

        Raises:
            NotFound: the job did not make it, or not yet.
        """
        outputs = self.outputs
        if name not in outputs:
            made = ", ".join(outputs) or "none"
            raise NotFound(f"job {self.id} has no output {name!r}", hint=f"it has {made}")
        return outputs[name]

    def put_input(self, name: str, given: Given, progress: Advance = silent) -> None:
        """Send a file, a directory for an archive, or the content, as the input ``name``."""
        self._bridge.call(partial(self._handle.put_input, name, given, progress))

    def start(self) -> Job:
        """Queue the job, whose inputs are there; repeatable."""
        return self._bridge.call(self._handle.start)

    def cancel(self) -> Job:
        """Ask for the job's end; durable when it returns, and repeatable."""
        return self._bridge.call(self._handle.cancel)

    def delete(self) -> None:
        """Have the bytes of a final job removed; its record stays."""
        self._bridge.call(self._handle.delete)

    def wait(self, timeout: float | None = None) -> Job:
        """Return the job when it is final; TimeoutError when it is not after ``timeout`` s."""
        return self._bridge.call(partial(self._handle.wait, timeout))

    def result(self, timeout: float | None = None) -> Mapping[str, Output]:
        """Wait, and return the outputs of a job that succeeded; JobFailed says why it did not."""
        return self._wrapped(self._bridge.call(partial(self._handle.result, timeout)))

    def events(self, after: int = 0, *, follow: bool = False) -> Iterator[Event]:
        """Yield the job's events above ``after``; following ends after the final one."""
        yield from self._bridge.stream(self._handle.events(after, follow=follow))

    def logs(self, start: int = 0, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the log from byte ``start`` on; following ends when it is complete."""
        yield from self._bridge.stream(self._handle.logs(start, follow=follow))


class Agreements:
    """Who may run what. See ``longshore_client.access.Agreements``."""

    def __init__(self, bridge: Bridge, client: LongshoreClient) -> None:
        self._bridge = bridge
        self._agreements = client.agreements

    def create(
        self,
        tenant: str,
        workflows: Sequence[str],
        *,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        at_end: str | None = None,
    ) -> Agreement:
        """Let ``tenant`` run ``workflows`` (``["*"]``: all)."""
        more = {"valid_from": valid_from, "valid_until": valid_until}
        create = partial(self._agreements.create, tenant, workflows, at_end=at_end, **more)
        return self._bridge.call(create)

    def list(self) -> Sequence[Agreement]:
        """Return all agreements, newest first."""
        return self._bridge.call(self._agreements.list)

    def revoke(self, agreement_id: str) -> None:
        """End an agreement now."""
        self._bridge.call(partial(self._agreements.revoke, agreement_id))

    def issue_token(
        self,
        agreement_id: str,
        *,
        expires_at: datetime | None = None,
        scopes: Sequence[str] | None = None,
    ) -> Token:
        """Return a new token of an agreement; its ``secret`` is shown this once."""
        issue = partial(self._agreements.issue_token, agreement_id)
        return self._bridge.call(partial(issue, expires_at=expires_at, scopes=scopes))

    def tokens(self, agreement_id: str) -> Sequence[Token]:
        """Return the tokens of an agreement, without their secrets."""
        return self._bridge.call(partial(self._agreements.tokens, agreement_id))

    def revoke_token(self, agreement_id: str, token_id: str) -> None:
        """End a token now."""
        self._bridge.call(partial(self._agreements.revoke_token, agreement_id, token_id))


class Client:
    """The workflows and jobs of one server. To be used in one ``with`` block, or closed."""

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        *,
        retry: Retry | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Start the event loop behind; see ``LongshoreClient`` for the arguments."""
        self._client = LongshoreClient(
            server, token, retry=retry, verify=verify, transport=transport
        )
        self._opened = ExitStack()
        self._bridge = self._opened.enter_context(open_bridge())
        self._opened.callback(self._bridge.call, partial(self._client.__aexit__, None, None, None))
        self._opened.callback(self._bridge.end_streams)
        self.agreements = Agreements(self._bridge, self._client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections. No job ends."""
        self._opened.close()

    def me(self) -> Caller:
        """Return whose token this is, and for what."""
        return self._bridge.call(self._client.me)

    def workflows(self) -> Sequence[Workflow]:
        """Return the workflows that the token may run."""
        return self._bridge.call(self._client.workflows)

    def workflow(self, workflow_id: str) -> Workflow:
        """Return a workflow."""
        return self._bridge.call(partial(self._client.workflow, workflow_id))

    def job(self, job_id: str) -> JobHandle:
        """Return a job that was submitted before."""
        return self._handle(self._bridge.call(partial(self._client.job, job_id)))

    def _handle(self, handle: handles.JobHandle) -> JobHandle:
        return JobHandle(self._bridge, handle)

    def jobs(
        self,
        *,
        state: str | Sequence[str] = (),
        workflow: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Jobs:
        """Return a page of jobs, newest first."""
        ask = partial(self._client.jobs, state=state, workflow=workflow, limit=limit)
        return self._bridge.call(partial(ask, cursor=cursor))

    def submit(self, request: Json, *, key: str | None = None) -> JobHandle:
        """Make a job of a request as ``POST /v1/jobs`` takes it."""
        return self._handle(self._bridge.call(partial(self._client.submit, request, key=key)))

    def run(
        self,
        workflow: str,
        *,
        inputs: Mapping[str, Given] | None = None,
        parameters: Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        key: str | None = None,
        progress: Advance = silent,
    ) -> JobHandle:
        """Submit a job with its inputs, start it, and return at once."""
        run = partial(self._client.run, workflow, inputs=inputs, parameters=parameters)
        more = partial(run, resources=resources, key=key, progress=progress)
        return self._handle(self._bridge.call(more))

    def map(
        self,
        workflow: str,
        inputs: Iterable[Mapping[str, Given]],
        *,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        concurrency: int = 8,
    ) -> Iterator[JobHandle]:
        """Run a job for each of ``inputs``, and yield them in this order, each when it is final."""
        jobs = self._client.map(workflow, inputs, parameters=parameters, concurrency=concurrency)
        for handle in self._bridge.stream(jobs):
            yield self._handle(handle)
