"""What the command needs of a provider, wherever it is: in this process or behind HTTP.

Requests and answers are the JSON of the wire as dictionaries, with its lowerCamelCase names, so
that the command and a session share no class. A package offers a session by an entry point:

```toml
[project.entry-points."longshore.sessions"]
embedded = "longshore.session:open_session"
```

The one that speaks HTTP, of this package, is chosen where a server is named.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from longshore_client.entrypoints import SESSIONS, find, load

Json = dict[str, Any]

#: the name of the session that this package offers
HTTP = "http"

#: called with the number of bytes carried since the last call; below 0 where they got lost
Advance = Callable[[int], None]

FINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELED"})


class Session(Protocol):
    """One consumer's view of a provider. Every method blocks; several threads may call.

    Closing the session ends what still follows in another thread: such an iterator stops or raises.

    An error that the caller should see is an exception with the attributes ``code`` (stable),
    ``message`` and ``hint``, and ``problems`` where single places are wrong; ``is_request`` is true
    where another request would help.
    """

    def workflows(self) -> list[Json]:
        """Return every workflow that may be run, as ``GET /v1/workflows`` lists them."""
        ...

    def workflow(self, workflow_id: str) -> Json:
        """Return one workflow.

        Of it are used: ``id``, ``title``, ``version``, ``description``; ``parameters``, a JSON
        Schema; ``inputs`` and ``outputs``, objects of names to ``kind``, ``required``, ``maxSize``,
        ``description``, ``names``; ``resources``.
        """
        ...

    def submit(self, request: Json, *, key: str | None = None) -> Json:
        """Make a job of ``request``; it is durable when this returns.

        The job has ``uploads``: the upload of every input that is not inline. A repeated ``key``
        gives the same job.
        """
        ...

    def put_input(self, job_id: str, name: str, path: Path, progress: Advance) -> None:
        """Carry the file at ``path`` to the input ``name`` and complete the upload."""
        ...

    def start(self, job_id: str) -> Json:
        """Start a job whose inputs are all there; return the job."""
        ...

    def job(self, job_id: str) -> Json:
        """Return the job as it is now."""
        ...

    def jobs(
        self,
        state: list[str] | None = None,
        workflow: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Json:
        """Return one page, newest first: ``items`` and ``next``, the cursor of the next page."""
        ...

    def events(self, job_id: str, after: int = 0, *, follow: bool = False) -> Iterator[Json]:
        """Yield the events with a ``seq`` above ``after``; following ends after the final one."""
        ...

    def logs(self, job_id: str, start: int = 0, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the log from byte ``start``; following ends when the log is complete."""
        ...

    def cancel(self, job_id: str) -> Json:
        """Ask for the job's end; return the job. Repeatable."""
        ...

    def outputs(self, job_id: str) -> list[Json]:
        """Return the readable outputs: name, size, sha256, mediaType."""
        ...

    def download(self, job_id: str, name: str, into: Path, progress: Advance) -> Path:
        """Store the output ``name`` in the directory ``into``; return the path of the file."""
        ...


class NoProvider(Exception):
    """No package offers a session."""

    code = "no-provider"
    message = "there is no provider to speak to"
    hint = "longshore login SERVER, or install the package longshore into the same environment"


class OpenSession(Protocol):
    """What an entry point of the group ``longshore.sessions`` names."""

    def __call__(self, *, state: str | None, config: str | None) -> AbstractContextManager[Session]:
        """Open a session; ``state`` and ``config`` are the options of the command."""
        ...


def open_session(
    *, state: str | None, config: str | None, server: str | None = None
) -> AbstractContextManager[Session]:
    """Open a session with ``server``, or the one that is installed; of several, the embedded one.

    Raises:
        NoProvider: no server is named, and no package offers a session.
    """
    offered = {name: value for name, value in find(SESSIONS).items() if name != HTTP}
    if server is not None:
        from longshore_client.httpsession import open_session as over_http  # noqa: PLC0415 - 150 ms

        return over_http(server=server)
    if not offered:
        raise NoProvider
    name = "embedded" if "embedded" in offered else next(iter(offered))
    factory: OpenSession = load(offered[name])
    return factory(state=state, config=config)
