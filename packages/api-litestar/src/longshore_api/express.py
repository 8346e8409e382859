"""The shorter way to the routes that are asked for most: the same handlers, less machinery.

Litestar's request path costs several times what these handlers do (docs/decisions). A route that
is here is still a route of the application: whatever is unusual about a request goes that way.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from litestar import Response

from longshore_api.bodies import check_sent, decode, read_body
from longshore_api.cycle import send_whole
from longshore_api.gate import App, Receive, Scope, Send
from longshore_api.requests import check_access
from longshore_api.routes.jobs import get_job, submit_job
from longshore_api.schemas.jobs import NewJob

_JOBS = "/v1/jobs"
_JOB = f"{_JOBS}/"
#: the headers that the handlers look at, and the most characters that are taken here
_WANTED: Mapping[bytes, int] = MappingProxyType(
    {
        b"content-length": 19,
        b"content-type": 1000,
        b"if-none-match": 1000,
        b"prefer": 100,
        b"idempotency-key": 255,
    }
)
_LONGEST_ID = 64

Headers = Mapping[bytes, str]
Handle = Callable[[Scope, Receive, Headers], Awaitable[Response[Any]]]


class Express:
    """Answers the plain forms of two requests, and hands the rest to ``app``."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        handle = _find(scope) if scope["type"] == "http" else None
        sent = None if handle is None else _plain_headers(scope)
        if handle is None or sent is None:
            await self._app(scope, receive, send)
            return
        response = await handle(scope, receive, sent)
        headers = [(b"content-type", b"application/json")] if response.content else []
        headers += [(name.encode(), value.encode()) for name, value in response.headers.items()]
        status = response.status_code or 200
        await send_whole(scope, send, status, headers, response.content)


def _find(scope: Scope) -> Handle | None:
    path: str = scope["path"]
    if not path.startswith(_JOBS) or scope["query_string"]:
        return None
    method = scope["method"]
    if method == "GET" and path.startswith(_JOB):
        job_id = path[len(_JOB) :]
        return _get_job if job_id and "/" not in job_id and len(job_id) <= _LONGEST_ID else None
    return _submit_job if method == "POST" and path == _JOBS else None


def _plain_headers(scope: Scope) -> Headers | None:
    """Return the headers that count; None where they are for the framework to judge."""
    found = dict[bytes, str]()
    for name, value in scope["headers"]:
        if name in _WANTED:
            if name in found or not 0 < len(value) <= _WANTED[name]:
                return None
            found[name] = value.decode("latin-1")
    return found


async def _get_job(scope: Scope, _: Receive, headers: Headers) -> Response[Any]:
    state = scope["state"]
    scope["path_template"] = "/v1/jobs/{job_id}"
    check_access(state["caller"], get_job)
    return await get_job.fn(  # type: ignore[no-any-return]  # a handler's function is any callable
        job_id=scope["path"][len(_JOB) :],
        caller=state["caller"],
        provider=state["provider"],
        none_match=headers.get(b"if-none-match"),
        prefer=headers.get(b"prefer"),
    )


async def _submit_job(scope: Scope, receive: Receive, headers: Headers) -> Response[Any]:
    state = scope["state"]
    scope["path_template"] = _JOBS
    check_access(state["caller"], submit_job)
    provider, caller = state["provider"], state["caller"]
    hold = partial(provider.bodies.hold, caller.token)
    body = await read_body(receive, provider.limits.body, headers.get(b"content-length"), hold)
    check_sent(body, headers.get(b"content-type"))
    return await submit_job.fn(  # type: ignore[no-any-return]  # as above
        data=decode(body, NewJob),
        caller=caller,
        provider=provider,
        key=headers.get(b"idempotency-key"),
    )
