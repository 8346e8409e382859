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

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal

from longshore.bridge import Bridge
from longshore.embedded import open_embedded
from longshore.handles import JobHandle
from longshore.models import LOCAL, AnnouncedInput, InlineInput, Job, JobRequest, Workflow
from longshore.stores.abc import JobQuery


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
        submission = self.bridge.call(lambda it: it.host.service.submit(LOCAL, request, key=key))
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
        self.bridge.call(lambda it: it.host.service.job(LOCAL, job_id))
        return JobHandle(self.bridge, job_id)

    def jobs(self, query: JobQuery | None = None) -> tuple[Job, ...]:
        """Return a page of jobs, newest first."""
        return self.bridge.call(lambda it: it.host.service.jobs(LOCAL, query or JobQuery()))

    def places(self, job_id: str) -> dict[str, str]:
        """Return where a job's bytes lie: its outputs, its log and its manifest, by name."""
        return self.bridge.call(lambda it: it.host.service.places(LOCAL, job_id))

    def place(self, job: Job) -> int | None:
        """Return how many jobs wait before this one, where it waits for a slot."""
        return self.bridge.call(lambda it: it.host.service.queue.place(job))


def _bytes(content: str | bytes | Path) -> bytes:
    return content.encode() if isinstance(content, str) else bytes(content)
