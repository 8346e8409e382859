"""The embedded service for the ``longshore`` command: the JSON of the wire, no server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from longshore.errors import RequestInvalid
from longshore.facade import Longshore
from longshore.models import AnnouncedInput, InlineInput, JobRequest, JobState
from longshore.stores.abc import JobQuery
from longshore.wire import Json, event_to_wire, job_to_wire, outputs_to_wire, workflow_to_wire


@contextmanager
def open_session(*, state: str | None, config: str | None) -> Iterator["EmbeddedSession"]:
    """Open the embedded service; ``state`` is its directory, ``config`` a file of settings."""
    with Longshore.open(state, config=config) as longshore:
        yield EmbeddedSession(longshore)


class EmbeddedSession:
    """What the command needs of a provider, from the service in this process."""

    def __init__(self, longshore: Longshore) -> None:
        self._longshore = longshore

    def workflows(self) -> list[Json]:
        """Return what is offered."""
        return [workflow_to_wire(workflow) for workflow in self._longshore.workflows()]

    def workflow(self, workflow_id: str) -> Json:
        """Return one workflow that is offered."""
        return workflow_to_wire(self._longshore.workflow(workflow_id))

    def submit(self, request: Json, *, key: str | None = None) -> Json:
        """Make a job; its ``uploads`` are the names of the inputs that it waits for."""
        handle = self._longshore.submit(_request(request), key=key)
        job = handle.job
        waiting: Json = {}
        if job.state is JobState.CREATED:
            declared = self._longshore.workflow(job.workflow).inputs
            waiting = {name: {} for name in declared if name not in job.inputs}
        return {**job_to_wire(job), "uploads": waiting}

    def put_input(
        self, job_id: str, name: str, path: Path, progress: Callable[[int], None]
    ) -> None:
        """Send a file, or a directory as an archive."""
        self._longshore.job(job_id).put_input(name, path, progress)

    def start(self, job_id: str) -> Json:
        """Start a job whose inputs are there."""
        return job_to_wire(self._longshore.job(job_id).start())

    def job(self, job_id: str) -> Json:
        """Return a job, with its place where it waits."""
        job = self._longshore.job(job_id).job
        return job_to_wire(job, place=self._longshore.place(job))

    def jobs(
        self,
        state: list[str] | None = None,
        workflow: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Json:
        """Return a page of jobs, newest first."""
        if limit < 1:
            raise RequestInvalid(f"a page of {limit} jobs is none", hint="ask for at least one")
        try:
            states = tuple(JobState(name.upper()) for name in state or ())
        except ValueError as exc:
            known = ", ".join(JobState)
            raise RequestInvalid(f"{exc}", hint=f"the states are {known}") from exc
        query = JobQuery(states=states, workflow=workflow, limit=limit, before=cursor)
        found = self._longshore.jobs(query)
        following = found[-1].id if len(found) == limit else None
        return {"items": [job_to_wire(job) for job in found], "next": following}

    def events(self, job_id: str, after: int = 0, *, follow: bool = False) -> Iterator[Json]:
        """Yield a job's events."""
        for event in self._longshore.job(job_id).events(after, follow=follow):
            yield event_to_wire(event)

    def logs(self, job_id: str, start: int = 0, *, follow: bool = False) -> Iterator[bytes]:
        """Yield a job's log."""
        return self._longshore.job(job_id).logs(start, follow=follow)

    def cancel(self, job_id: str) -> Json:
        """Ask for a job's end."""
        return job_to_wire(self._longshore.job(job_id).cancel())

    def outputs(self, job_id: str) -> list[Json]:
        """Return what a job made."""
        return outputs_to_wire(self._longshore.job(job_id).job)

    def download(self, job_id: str, name: str, into: Path, progress: Callable[[int], None]) -> Path:
        """Store an output in a directory."""
        return self._longshore.job(job_id).output(name).save(into, progress)


def _request(request: Json) -> JobRequest:
    inputs: dict[str, Any] = {}
    for name, given in request.get("inputs", {}).items():
        if "text" in given:
            inputs[name] = InlineInput(content=given["text"].encode())
        else:
            inputs[name] = AnnouncedInput(**given.get("upload", {}))
    return JobRequest(
        workflow=request["workflow"],
        parameters=request.get("parameters", {}),
        inputs=inputs,
        resources=request.get("resources", {}),
        start=request.get("start", True),
    )
