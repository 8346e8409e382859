"""The shorter way to the routes that are asked for most: the same handlers, less machinery.

Litestar's request path costs several times what these handlers do (docs/decisions). A route that
is here is still a route of the application: whatever is unusual about a request goes that way.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from litestar import Response

from longshore_api.bodies import check_media_type, decode, read_body
from longshore_api.gate import App, Receive, Scope, Send
from longshore_api.requests import check_access
from longshore_api.routes.jobs import get_job, submit_job
from longshore_api.schemas.jobs import NewJob

_JOBS = "/v1/jobs"
_JOB = f"{_JOBS}/"
_KEY_LENGTH = 255

Handle = Callable[[Scope, Receive], Awaitable[Response[Any]]]


class Express:
    """Answers the plain forms of two requests, and hands the rest to ``app``."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        handle = _find(scope) if scope["type"] == "http" else None
        if handle is None:
            await self._app(scope, receive, send)
            return
        response = await handle(scope, receive)
        body: bytes = response.content
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        headers += [(name.encode(), value.encode()) for name, value in response.headers.items()]
        start = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": headers,
        }
        await send(start)
        await send({"type": "http.response.body", "body": body})


def _find(scope: Scope) -> Handle | None:
    path: str = scope["path"]
    if not path.startswith(_JOBS) or scope["query_string"]:
        return None
    method = scope["method"]
    if method == "GET" and path.startswith(_JOB) and "/" not in path[len(_JOB) :]:
        return _get_job
    return _submit_job if method == "POST" and path == _JOBS else None


async def _get_job(scope: Scope, _: Receive) -> Response[Any]:
    state = scope["state"]
    scope["path_template"] = "/v1/jobs/{job_id}"
    check_access(state["caller"], get_job)
    headers = _headers(scope)
    return await get_job.fn(  # type: ignore[no-any-return]  # a handler's function is any callable
        job_id=scope["path"][len(_JOB) :],
        caller=state["caller"],
        provider=state["provider"],
        none_match=headers.get(b"if-none-match"),
        prefer=headers.get(b"prefer"),
    )


async def _submit_job(scope: Scope, receive: Receive) -> Response[Any]:
    state = scope["state"]
    scope["path_template"] = _JOBS
    check_access(state["caller"], submit_job)
    headers = _headers(scope)
    body = await read_body(receive, state["provider"].limits.body)
    check_media_type(headers.get(b"content-type"))
    return await submit_job.fn(  # type: ignore[no-any-return]  # as above
        data=decode(body, NewJob),
        caller=state["caller"],
        provider=state["provider"],
        key=headers.get(b"idempotency-key"),
    )


def _headers(scope: Scope) -> MutableMapping[bytes, str]:
    return {name: value.decode("latin-1") for name, value in scope["headers"] if name in _WANTED}


_WANTED = frozenset({b"if-none-match", b"prefer", b"content-type", b"idempotency-key"})
