"""Longshore for programs that block: submit a job, wait for it, read what it made.

```python
from pathlib import Path
from longshore import Longshore

with Longshore.open() as longshore:
    job = longshore.run("wordcount", inputs={"text": Path("book.txt")})
    job.wait()
    print(job.outputs["counts"].read_bytes())
```
"""

import hashlib
import os
import tempfile
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import anyio
import anyio.to_thread
import attrs
from anyio.from_thread import BlockingPortal, start_blocking_portal

from longshore.embedded import TENANT, Embedded, open_embedded
from longshore.errors import ChecksumMismatch, JobFailed, NotFound
from longshore.models import (
    AnnouncedInput,
    InlineInput,
    Job,
    JobEvent,
    JobRequest,
    JobState,
    Product,
    Workflow,
)
from longshore.stores.abc import JobQuery

T = TypeVar("T")
_CHUNK = 1024**2
#: told how many bytes were carried since the last call
Advance = Callable[[int], None]


def _silent(_: int) -> None:
    """Report no progress."""


class Bridge:
    """From a program that blocks to the event loop of its embedded service."""

    def __init__(self, portal: BlockingPortal, embedded: Embedded) -> None:
        self._portal = portal
        self.embedded = embedded
        self._waiting: set[anyio.CancelScope] = set()

    def call(self, ask: Callable[[Embedded], Awaitable[T]]) -> T:
        """Return what ``ask`` returns there."""

        async def answer() -> T:
            return await ask(self.embedded)

        return self._portal.call(answer)

    def stream(self, begin: Callable[[Embedded], AsyncIterator[T]]) -> Iterator[T]:
        """Yield what the iterator that ``begin`` returns yields there."""
        iterator = begin(self.embedded)
        missing = object()

        async def following() -> Any:
            with anyio.CancelScope() as scope:
                self._waiting.add(scope)
                try:
                    return await anext(iterator, missing)
                finally:
                    self._waiting.discard(scope)
            return missing

        async def close() -> None:
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()

        try:
            while (item := self._portal.call(following)) is not missing:
                yield item
        finally:
            self._portal.call(close)

    def end_streams(self) -> None:
        """End what still follows in other threads: closing would wait for it otherwise."""

        def cancel() -> None:
            for scope in self._waiting:
                scope.cancel()

        self._portal.call(cancel)

    def engage(self) -> None:
        """Have this program supervise, if nobody else does."""
        self._portal.call(self.embedded.engage)


@attrs.frozen
class Output:
    """A committed output of a job."""

    product: Product
    _job_id: str
    _bridge: Bridge

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes."""
        yield from self._bridge.stream(
            lambda it: it.host.service.read_output(TENANT, self._job_id, self.product.name)
        )

    def read_bytes(self) -> bytes:
        """Return all bytes."""
        return b"".join(self.chunks())

    def save(self, into: Path, progress: Advance = _silent) -> Path:
        """Store the output in the directory ``into`` under its name, and return its path.

        The file appears whole, with the checksum of the manifest, or not at all.

        Raises:
            ChecksumMismatch: the bytes are not those that the job made.
            OSError: it cannot be written.
        """
        into.mkdir(parents=True, exist_ok=True)
        target = into / self.product.name
        sha256 = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=into, prefix=".longshore-", delete=False) as draft:
            try:
                for chunk in self.chunks():
                    sha256.update(chunk)
                    draft.write(chunk)
                    progress(len(chunk))
                self._check(sha256.hexdigest())
                draft.close()
                Path(draft.name).chmod(0o644)
                Path(draft.name).replace(target)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise
        return target

    def _check(self, sha256: str) -> None:
        if sha256 != self.product.sha256:
            raise ChecksumMismatch(f"output {self.product.name!r} is not what was stored")


class JobHandle:
    """A job of an open ``Longshore``."""

    def __init__(self, bridge: Bridge, job_id: str) -> None:
        self._bridge = bridge
        self.id = job_id

    @property
    def job(self) -> Job:
        """The job as it is now."""
        return self._bridge.call(lambda it: it.host.service.job(TENANT, self.id))

    @property
    def state(self) -> JobState:
        """The job's state now."""
        return self.job.state

    @property
    def outputs(self) -> Mapping[str, Output]:
        """What the job made, by name; empty until it is final."""
        job = self.job
        products = () if job.purged else job.products
        return {one.name: Output(one, self.id, self._bridge) for one in products}

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

    def put_input(self, name: str, source: Path, progress: Advance = _silent) -> Job:
        """Send the file, or for an archive the directory, ``source`` as the input ``name``.

        Raises:
            NotFound: the workflow has no such input.
            DataRefused: more than the workflow allows, or a directory with special files.
            RequestInvalid: an env input with lines or names that are not allowed.
            OSError: it cannot be read.
        """
        with _sendable(source) as file:
            return self._bridge.call(
                lambda it: it.host.service.put_input(TENANT, self.id, name, _read(file, progress))
            )

    def start(self) -> Job:
        """Queue the job, whose inputs are there; repeatable.

        Raises:
            InputsMissing: they are not.
        """
        job = self._bridge.call(lambda it: it.host.service.start(TENANT, self.id))
        self._bridge.engage()
        return job

    def wait(self, timeout: float | None = None) -> Job:
        """Return the job when it is final.

        Raises:
            TimeoutError: it is not, after ``timeout`` seconds.
        """

        async def end(it: Embedded) -> Job:
            with anyio.fail_after(timeout):
                async for _ in it.host.service.follow(TENANT, self.id):
                    pass
            return await it.host.service.job(TENANT, self.id)

        self._bridge.engage()
        return self._bridge.call(end)

    def result(self, timeout: float | None = None) -> Mapping[str, Output]:
        """Wait, and return the outputs of a job that succeeded.

        Raises:
            JobFailed: the job FAILED or was CANCELED; the error says why.
            TimeoutError: it is not final after ``timeout`` seconds.
        """
        job = self.wait(timeout)
        if job.state is not JobState.SUCCEEDED:
            why = job.reason
            raise JobFailed(
                f"job {job.id} {job.state}" + (f": {why.message}" if why else ""),
                reason_code=why.code if why else "",
                hint=why.hint if why else "",
            )
        return self.outputs

    def cancel(self) -> Job:
        """Ask for the job's end; durable when it returns, and repeatable."""
        job = self._bridge.call(lambda it: it.host.service.cancel(TENANT, self.id))
        self._bridge.engage()
        return job

    def events(self, after: int = 0, *, follow: bool = False) -> Iterator[JobEvent]:
        """Yield the job's events above ``after``; following ends after the final one."""
        if not follow:
            yield from self._bridge.call(
                lambda it: it.host.service.events(TENANT, self.id, after=after)
            )
            return
        self._bridge.engage()
        yield from self._bridge.stream(
            lambda it: it.host.service.follow(TENANT, self.id, after=after)
        )

    def logs(self, start: int = 0, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the log from byte ``start`` on; following ends when the job is final."""
        if follow:
            self._bridge.engage()
        yield from self._bridge.stream(
            lambda it: it.host.logs.read(TENANT, self.id, start=start, follow=follow)
        )


class Longshore:
    """An embedded service, used from a program that blocks. Made by ``Longshore.open``."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge

    @classmethod
    @contextmanager
    def open(
        cls,
        state: Path | str | None = None,
        *,
        config: Path | str | None = None,
        settings: Mapping[str, Any] | None = None,
        workflows: Sequence[Workflow] = (),
    ) -> Iterator["Longshore"]:
        """Open the service whose state is in the directory ``state``.

        Leaving the ``with`` block ends no job: unfinished ones go on in a process of their own.

        Args:
            state: the directory; ``$LONGSHORE_STATE``, else ``$XDG_STATE_HOME/longshore``.
            config: a TOML file of settings; the environment overrides it.
            settings: settings as a mapping, instead of the file and the environment.
            workflows: offered besides those that are shipped or that the settings name.

        Raises:
            SettingsInvalid, WorkflowInvalid: mistakes, all of them.
            StoreUnavailable: the directory cannot be used.
        """
        home = Path(state).expanduser().absolute() if state else None
        opened = open_embedded(
            home, config=Path(config) if config else None, table=settings, workflows=workflows
        )
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(opened) as embedded,
        ):
            bridge = Bridge(portal, embedded)
            try:
                yield cls(bridge)
            finally:
                bridge.end_streams()

    @property
    def home(self) -> Path:
        """The state directory."""
        return self.bridge.embedded.home

    def workflows(self) -> tuple[Workflow, ...]:
        """Return the workflows that are offered, by id."""
        return self.bridge.call(lambda it: it.host.service.workflows())

    def workflow(self, workflow_id: str) -> Workflow:
        """Return a workflow that is offered.

        Raises:
            NotFound: there is none of that name.
        """
        return self.bridge.call(lambda it: it.host.service.workflow(workflow_id))

    def submit(self, request: JobRequest, *, key: str | None = None) -> JobHandle:
        """Keep a job; it is durable when this returns. See ``JobService.submit``."""
        submission = self.bridge.call(lambda it: it.host.service.submit(TENANT, request, key=key))
        self.bridge.engage()
        return JobHandle(self.bridge, submission.job.id)

    def run(
        self,
        workflow: str,
        *,
        inputs: Mapping[str, Path | str | bytes] | None = None,
        parameters: Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> JobHandle:
        """Submit a job with its inputs, start it, and return at once.

        ``inputs`` are paths, or the content itself as bytes or text. The same ``key`` gives the
        same job.

        Raises:
            NotFound, RequestInvalid, DataRefused: what is wrong with the request.
            OSError: an input cannot be read.
        """
        given = dict(inputs or {})
        paths = {name: it for name, it in given.items() if isinstance(it, Path)}
        for path in paths.values():
            path.stat()  # a missing file is said before a job is made
        request = JobRequest(
            workflow=workflow,
            parameters=parameters or {},
            resources=resources or {},
            inputs={
                name: AnnouncedInput() if isinstance(it, Path) else InlineInput(content=_bytes(it))
                for name, it in given.items()
            },
        )
        job = self.submit(request, key=key)
        if paths:
            for name, path in paths.items():
                job.put_input(name, path)
            job.start()
        return job

    def job(self, job_id: str) -> JobHandle:
        """Return a job that was submitted before.

        Raises:
            NotFound: there is none.
        """
        self.bridge.call(lambda it: it.host.service.job(TENANT, job_id))
        return JobHandle(self.bridge, job_id)

    def jobs(self, query: JobQuery | None = None) -> tuple[Job, ...]:
        """Return a page of jobs, newest first."""
        return self.bridge.call(lambda it: it.host.service.jobs(TENANT, query or JobQuery()))

    def places(self, job_id: str) -> dict[str, str]:
        """Return where a job's bytes lie: its outputs, its log and its manifest, by name."""
        return self.bridge.call(lambda it: it.host.service.places(TENANT, job_id))

    def place(self, job: Job) -> int | None:
        """Return how many jobs wait before this one, where it waits for a slot."""
        return self.bridge.call(lambda it: it.host.service.queue_place(job))


def _bytes(content: str | bytes | Path) -> bytes:
    return content.encode() if isinstance(content, str) else bytes(content)


@contextmanager
def _sendable(source: Path) -> Iterator[BinaryIO]:
    """Open a file as it is, and a directory as an archive."""
    if not source.is_dir():
        with source.open("rb") as file:
            yield file
        return
    from longshore.staging.packing import pack  # noqa: PLC0415 - archives at first use

    directory = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with tempfile.TemporaryFile() as packed:
            packed.writelines(pack(directory))
            packed.seek(0)
            yield packed
    finally:
        os.close(directory)


async def _read(file: BinaryIO, progress: Advance) -> AsyncIterator[bytes]:
    while chunk := await anyio.to_thread.run_sync(file.read, _CHUNK):
        progress(len(chunk))
        yield chunk
