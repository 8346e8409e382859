"""Jobs: submit, list, look, start, cancel, purge."""

from contextlib import aclosing
from typing import Annotated, Any

import anyio.to_thread
from litestar import Response, delete, post
from litestar.params import HeaderParameter, JSONBody, Parameter, QueryParameter

from longshore.background import background
from longshore.errors import PreconditionFailed
from longshore.models import Caller, InlineInput, Job as CoreJob, JobState, Role
from longshore.stores.abc import JobQuery
from longshore.wire import job_to_wire
from longshore_api.answers import answer, job_answer
from longshore_api.docs import errors
from longshore_api.errors import Malformed
from longshore_api.listing import encode_page
from longshore_api.provider import Provider, tenant_of
from longshore_api.requests import ROLE, SCOPE, GivenCaller, GivenProvider, check_scope
from longshore_api.routing import get
from longshore_api.schemas.jobs import Job, JobPage, NewJob, SubmittedJob
from longshore_api.streaming import watch_token
from longshore_api.uploads import uploads_to_wire
from longshore_api.views import etag_of, names_seq

#: most jobs of a page, and most seconds of a long poll
PAGE = 1000
LONGEST_WAIT = 60.0
_CREATED = 201

JobId = Annotated[str, Parameter(description="a job's id", max_length=64)]
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", max_length=1000)]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="the same key with the same body is the same job, however often it is sent",
    ),
]
READ = {SCOPE: "jobs:read", ROLE: (Role.CONSUMER, Role.ADMIN)}
STEER = {SCOPE: "jobs:write", ROLE: (Role.CONSUMER, Role.ADMIN)}
WRITE = {SCOPE: "jobs:write", ROLE: (Role.CONSUMER,)}
#: the scope of whoever sends bytes
SEND = "data:write"


@post("/v1/jobs", opt=WRITE, responses=errors(400, 401, 403, 404, 413, 415, 422, 429, 503))
async def submit_job(
    data: JSONBody[NewJob], caller: GivenCaller, provider: GivenProvider, key: IdempotencyKey = None
) -> Response[SubmittedJob]:
    """Submit a job; when this answers it is durable and is never lost.

    201 with the job and the uploads that it waits for; 200 for a repeated key. Inputs as text, and
    the requests that upload, are for tokens with ``data:write``.
    """
    request = data.to_core()
    if request.inputs and any(isinstance(it, InlineInput) for it in request.inputs.values()):
        check_scope(caller, SEND)
    done = await provider.service.submit(
        caller.tenant, request, key=key, agreement=caller.agreement, by=caller.token
    )
    uploads = done.uploads if SEND in caller.scopes else {}  # who has a URL may use it
    body = {**job_to_wire(done.job), "uploads": uploads_to_wire(uploads)}
    headers = {
        "location": provider.url(f"/v1/jobs/{done.job.id}"),
        "etag": etag_of(done.job).decode(),
    }
    return answer(body, _CREATED if done.is_new else 200, headers)


@get("/v1/jobs", opt=READ, responses=errors(400, 401, 403, 422, 429, 503))
async def list_jobs(
    caller: GivenCaller,
    provider: GivenProvider,
    states: Annotated[
        list[JobState] | None, QueryParameter(name="state", description="any of these")
    ] = None,
    workflow: Annotated[str | None, Parameter(max_length=255)] = None,
    limit: Annotated[int, Parameter(ge=1, le=PAGE)] = 50,
    cursor: Annotated[
        str | None, Parameter(description="``next`` of the page before", max_length=64)
    ] = None,
) -> Response[JobPage]:
    """List jobs, newest first."""
    query = JobQuery(states=tuple(states or ()), workflow=workflow, limit=limit, before=cursor)
    found = await provider.service.listing(tenant_of(caller), query)
    return answer(await anyio.to_thread.run_sync(encode_page, found, limit))


@get("/v1/jobs/{job_id:str}", opt=READ, responses=errors(401, 403, 404, 422, 429, 503))
async def get_job(
    job_id: JobId,
    caller: GivenCaller,
    provider: GivenProvider,
    none_match: Annotated[
        str | None, HeaderParameter(name="If-None-Match", max_length=1000)
    ] = None,
    prefer: Annotated[
        str | None,
        HeaderParameter(
            name="Prefer",
            max_length=100,
            description="``wait=10``: answer when the job changes, at the latest after 10 s",
        ),
    ] = None,
) -> Response[Job]:
    """Show a job."""
    job = await provider.job(caller, job_id)
    seconds = 0.0 if prefer is None else _wait(prefer)
    if seconds and not job.is_final:
        job = await _changed(provider, caller, job, seconds, none_match)
    return await job_answer(provider, job, unless=none_match)


@post("/v1/jobs/{job_id:str}/start", status_code=200, opt=WRITE,
      responses=errors(401, 403, 404, 409, 412, 422, 429, 503))  # fmt: skip
async def start_job(
    job_id: JobId, caller: GivenCaller, provider: GivenProvider, match: IfMatch = None
) -> Response[Job]:
    """Start a job whose inputs are there; what is missing is named. Repeatable."""
    seen = _expected(await provider.job(caller, job_id), match)
    job = await provider.service.start(caller.tenant, job_id, by=caller.token, expected=seen)
    return await job_answer(provider, job)


@post("/v1/jobs/{job_id:str}/cancel", status_code=200, opt=STEER,
      responses=errors(401, 403, 404, 412, 422, 429, 503))  # fmt: skip
async def cancel_job(
    job_id: JobId, caller: GivenCaller, provider: GivenProvider, match: IfMatch = None
) -> Response[Job]:
    """Ask for a job's end; durable when this answers. Repeatable."""
    seen, tenant = _expected(await provider.job(caller, job_id), match), tenant_of(caller)
    job = await provider.service.cancel(tenant, job_id, by=caller.token, expected=seen)
    return await job_answer(provider, job)


@delete("/v1/jobs/{job_id:str}", opt=STEER,
        responses=errors(401, 403, 404, 409, 412, 422, 429, 503))  # fmt: skip
async def purge_job(
    job_id: JobId, caller: GivenCaller, provider: GivenProvider, match: IfMatch = None
) -> None:
    """Delete the bytes of a job that has ended; its record and history stay. Repeatable."""
    seen, tenant = _expected(await provider.job(caller, job_id), match), tenant_of(caller)
    await provider.service.purge(tenant, job_id, by=caller.token, expected=seen)


def _expected(job: CoreJob, match: str | None) -> int | None:
    """Return the number that the job must still have when it is changed; None for any."""
    if match is None:
        return None
    if not names_seq(match, job.seq):
        raise PreconditionFailed(
            f"the job is at {etag_of(job).decode()}, not at {match}", hint="look at it again"
        )
    return None if match.strip() == "*" else job.seq


async def _changed(
    provider: Provider, caller: Caller, job: CoreJob, seconds: float, none_match: str | None
) -> CoreJob:
    """Return the job when it has changed, or as it is when the time is over.

    Raises:
        Unauthenticated: the token has expired or was revoked meanwhile.
    """
    # a proxy that compresses makes tags weak; here that is no difference
    if none_match is not None and not names_seq(none_match.replace("W/", ""), job.seq):
        return job
    with (
        provider.streams.hold(caller.token),
        provider.crowd.stand_aside(),
        provider.stopping.waiting(min(seconds, LONGEST_WAIT)),
    ):
        async with background() as tasks:
            tasks.start_soon(watch_token, provider.access, caller, tasks.cancel_scope)
            async with aclosing(provider.host.log.follow(job.id, after=job.seq)) as events:
                await anext(events, None)
    await provider.access.confirm(caller)
    return await provider.job(caller, job.id)


def _wait(prefer: str) -> float:
    for preference in prefer.split(","):
        name, _, value = preference.strip().partition("=")
        if name.strip().lower() == "wait":
            try:
                seconds = int(value.strip())
            except ValueError:
                seconds = -1
            if seconds < 0:
                raise Malformed(f"Prefer: wait={value[:20]} is no number of seconds")
            return float(seconds)
    return 0.0


ROUTES: tuple[Any, ...] = (submit_job, list_jobs, get_job, start_job, cancel_job, purge_job)
