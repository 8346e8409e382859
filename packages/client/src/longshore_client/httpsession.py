"""The session of the `longshore` command with a server: the JSON of the wire, over HTTP."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from longshore_client import handles, streams, uploads
from longshore_client.bridge import Bridge, open_bridge
from longshore_client.client import submit
from longshore_client.configfile import known_server
from longshore_client.errors import Unauthenticated
from longshore_client.session import Advance, Json
from longshore_client.sources import open_source
from longshore_client.transport import Transport, path


@contextmanager
def open_session(*, server: str | None = None, token: str | None = None) -> Iterator["HttpSession"]:
    """Open a session with a server: the one that is given, or that ``longshore login`` kept.

    Raises:
        RequestError: there is none, or it has no address.
    """
    known = known_server(server, token)
    transport = Transport(known.url, known.token)
    with open_bridge() as bridge:
        try:
            yield HttpSession(bridge, transport)
        except Unauthenticated as exc:
            if known.token is None:
                exc.message = f"{known.url} wants a token, and none is known for it"
            exc.hint = f"longshore login {known.url}"
            raise
        finally:
            bridge.end_streams()
            bridge.call(transport.close)


class HttpSession:
    """What the command needs of a provider, from a server. Several threads may call."""

    def __init__(self, bridge: Bridge, transport: Transport) -> None:
        self._bridge = bridge
        self._transport = transport
        self._uploads: dict[tuple[str, str], Json] = {}

    def _json(self, method: str, *segments: str, **more: Any) -> Any:
        ask: Callable[[], Any] = partial(self._transport.json, method, path(*segments), **more)
        return self._bridge.call(ask)

    def me(self) -> Json:
        """Return whose token this is."""
        me: Json = self._json("GET", "me")
        return me

    # for administrators

    def agreements(self, *, limit: int = 50, cursor: str | None = None) -> Json:
        """Return a page of agreements, newest first."""
        return self._page("agreements", limit=limit, cursor=cursor)

    def create_agreement(self, body: Json) -> Json:
        """Make an agreement of a body as ``POST /v1/agreements`` takes it."""
        made: Json = self._json("POST", "agreements", body=body)
        return made

    def revoke_agreement(self, agreement_id: str) -> None:
        """Take an agreement back."""
        self._json("DELETE", "agreements", agreement_id)

    def tokens(self, agreement_id: str, *, limit: int = 50, cursor: str | None = None) -> Json:
        """Return a page of an agreement's tokens, newest first."""
        return self._page("agreements", agreement_id, "tokens", limit=limit, cursor=cursor)

    def create_token(self, agreement_id: str, body: Json) -> Json:
        """Issue a token; it is in the answer alone."""
        issued: Json = self._json("POST", "agreements", agreement_id, "tokens", body=body)
        return issued

    def revoke_token(self, agreement_id: str, token_id: str) -> None:
        """Take a token back."""
        self._json("DELETE", "agreements", agreement_id, "tokens", token_id)

    def _page(self, *segments: str, **selection: Any) -> Json:
        query = {name: value for name, value in selection.items() if value}
        page: Json = self._json("GET", *segments, query=query)
        return page

    # for consumers

    def workflows(self) -> list[Json]:
        """Return what is offered."""
        return list(self._json("GET", "workflows")["items"])

    def workflow(self, workflow_id: str) -> Json:
        """Return one workflow that is offered."""
        workflow: Json = self._json("GET", "workflows", workflow_id)
        return workflow

    def submit(self, request: Json, *, key: str | None = None) -> Json:
        """Make a job; its uploads are kept for ``put_input``, where they cannot be old ones."""
        job = self._bridge.call(partial(submit, self._transport, request, key))
        if key is None:
            for name, upload in (job.get("uploads") or {}).items():
                self._uploads[job["id"], name] = upload
        return job

    def put_input(self, job_id: str, name: str, path: Path, progress: Advance) -> None:
        """Send a file, or a directory as an archive."""
        upload = self._uploads.pop((job_id, name), None)
        with open_source(path) as source:
            send = partial(uploads.send, self._transport, job_id, name, source)
            self._bridge.call(partial(send, upload=upload, progress=progress))

    def start(self, job_id: str) -> Json:
        """Start a job whose inputs are there."""
        job: Json = self._json("POST", "jobs", job_id, "start", repeatable=True)
        return job

    def job(self, job_id: str) -> Json:
        """Return a job."""
        job: Json = self._json("GET", "jobs", job_id)
        return job

    def jobs(
        self,
        state: list[str] | None = None,
        workflow: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Json:
        """Return a page of jobs, newest first."""
        return self._page("jobs", state=state, workflow=workflow, limit=limit, cursor=cursor)

    def events(self, job_id: str, after: int = 0, *, follow: bool = False) -> Iterator[Json]:
        """Yield a job's events."""
        yield from self._bridge.stream(
            streams.events(self._transport, job_id, after, follow=follow)
        )

    def logs(self, job_id: str, start: int = 0, *, follow: bool = False) -> Iterator[bytes]:
        """Yield a job's log."""
        yield from self._bridge.stream(streams.log(self._transport, job_id, start, follow=follow))

    def cancel(self, job_id: str) -> Json:
        """Ask for a job's end."""
        job: Json = self._json("POST", "jobs", job_id, "cancel", repeatable=True)
        return job

    def outputs(self, job_id: str) -> list[Json]:
        """Return what a job made."""
        return self._bridge.call(partial(handles.listed, self._transport, job_id))

    def download(self, job_id: str, name: str, into: Path, progress: Advance) -> Path:
        """Store an output in a directory."""
        output = handles.Output(self._transport, job_id, name)
        return self._bridge.call(partial(output.save, into, progress))
