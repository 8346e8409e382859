"""A job's events: a page of them, or a stream with resume."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from litestar import Request, Response
from litestar.params import HeaderParameter, Parameter

from longshore.models import Caller
from longshore.wire import event_to_wire
from longshore_api.answers import answer
from longshore_api.docs import errors
from longshore_api.errors import Malformed
from longshore_api.provider import Provider, tenant_of
from longshore_api.requests import GivenCaller, GivenProvider
from longshore_api.routes.jobs import READ, JobId
from longshore_api.routing import get
from longshore_api.schemas.jobs import EventPage
from longshore_api.streaming import StreamAnswer

PAGE = 1000
#: seconds of silence after which a stream says that it lives
PING_AFTER = 15.0
_STREAM = "text/event-stream"
#: the largest number that every reader of JSON has
_LAST = 2**53


@get("/v1/jobs/{job_id:str}/events", opt=READ,
     responses=errors(400, 401, 403, 404, 422, 429, 503))  # fmt: skip
async def list_events(
    job_id: JobId,
    request: Request[Any, Any, Any],
    caller: GivenCaller,
    provider: GivenProvider,
    after: Annotated[int, Parameter(ge=0, le=_LAST, description="only events behind this")] = 0,
    limit: Annotated[int, Parameter(ge=1, le=PAGE)] = PAGE,
    last_seen: Annotated[str | None, HeaderParameter(name="Last-Event-ID", max_length=20)] = None,
) -> Response[EventPage]:
    """List a job's events in order; with ``Accept: text/event-stream`` follow them to the end.

    The stream resumes behind ``Last-Event-ID`` and ends with the job.
    """
    if _STREAM in request.headers.get("accept", ""):
        seen = _seq(last_seen) if last_seen else after
        await provider.job(caller, job_id)
        return _stream(provider, caller, job_id, seen)
    found = await provider.service.events(tenant_of(caller), job_id, after=after, limit=limit)
    following = str(found[-1].seq) if len(found) == limit else None
    return answer({"items": [event_to_wire(event) for event in found], "next": following})


def _seq(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) > _LAST:
        raise Malformed(f"Last-Event-ID {text!r} is no number of an event")
    return int(text)


def _stream(provider: Provider, caller: Caller, job_id: str, after: int) -> StreamAnswer:
    return StreamAnswer(
        _frames(provider, job_id, after),
        media_type=f"{_STREAM}; charset=utf-8",
        stopping=provider.stopping,
        hold=provider.streams.hold(caller.token),
        ping=b": ping\n\n",
        ping_after=PING_AFTER,
    )


async def _frames(provider: Provider, job_id: str, after: int) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    async for event in provider.host.log.follow(job_id, after=after):
        yield provider.frames.frame(event)


ROUTES: tuple[Any, ...] = (list_events,)
