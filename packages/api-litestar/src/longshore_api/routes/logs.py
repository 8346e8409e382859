"""A job's log: as it is, a range of it, or as it grows."""

from collections.abc import AsyncIterator
from contextlib import aclosing, nullcontext
from typing import Annotated, Any

from litestar import Response
from litestar.params import HeaderParameter, Parameter

from longshore.models import Caller, Role
from longshore_api.docs import errors
from longshore_api.errors import RangeNotSatisfiable
from longshore_api.provider import Provider, tenant_of
from longshore_api.ranges import ByteRange, parse_range
from longshore_api.requests import ROLE, SCOPE, GivenCaller, GivenProvider
from longshore_api.routes.jobs import JobId
from longshore_api.routing import get
from longshore_api.streaming import StreamAnswer

READ = {SCOPE: "jobs:read", ROLE: (Role.CONSUMER, Role.ADMIN)}
_TEXT = "text/plain; charset=utf-8"
#: nobody's browser may take a log for a page
_SAFE = {"x-content-type-options": "nosniff", "accept-ranges": "bytes"}
#: most bytes of one range: it is in memory until its length is known
_PIECE = 4 * 1024**2
_PARTIAL = 206


@get("/v1/jobs/{job_id:str}/logs", opt=READ, media_type="text/plain",
     responses=errors(401, 403, 404, 416, 422, 429, 503))  # fmt: skip
async def read_log(
    job_id: JobId,
    caller: GivenCaller,
    provider: GivenProvider,
    *,
    follow: Annotated[bool, Parameter(description="go on until the job has ended")] = False,
    start: Annotated[int, Parameter(ge=0, le=2**53, description="from this byte on")] = 0,
    span: Annotated[str | None, HeaderParameter(name="Range", max_length=100)] = None,
) -> Response[str]:
    """Read what the worker printed; kept after the job. A range is at most 4 MiB of it."""
    wanted = None if follow else parse_range(span)
    if wanted is not None:
        return await _piece(provider, caller, job_id, wanted)  # type: ignore[return-value]  # bytes of it
    tenant = tenant_of(caller)
    chunks = provider.logs.read(tenant, job_id, start=start, follow=follow)
    return StreamAnswer(
        _at_once(provider, tenant, job_id, chunks) if follow else chunks,
        media_type=_TEXT,
        stopping=provider.stopping,
        hold=provider.streams.hold(caller.token) if follow else nullcontext(),
        headers=[(name.encode(), value.encode()) for name, value in _SAFE.items()],
    )


async def _at_once(
    provider: Provider, tenant: str | None, job_id: str, chunks: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Yield nothing, then the chunks: the answer begins though none may come for long."""
    await provider.logs.check(tenant, job_id)
    yield b""
    async with aclosing(chunks) as open_chunks:  # type: ignore[type-var]  # a generator
        async for chunk in open_chunks:
            yield chunk


async def _piece(
    provider: Provider, caller: Caller, job_id: str, wanted: ByteRange
) -> Response[bytes]:
    first = max(wanted.first, 0)
    chunks = provider.logs.read(tenant_of(caller), job_id, start=first)
    if wanted.first < 0:  # the end of it: there is no way to the end but past the rest
        total, content = await _end(chunks, -wanted.first)
        first, whole = total - len(content), str(total)
    else:
        most = _PIECE if wanted.last is None else min(wanted.last + 1 - first, _PIECE)
        content, is_all = await _beginning(chunks, most)
        whole = str(first + len(content)) if is_all else "*"
    if not content:
        raise RangeNotSatisfiable("the log has no such bytes", size=first)
    last = first + len(content) - 1
    headers = {**_SAFE, "content-range": f"bytes {first}-{last}/{whole}"}
    return Response(content, status_code=_PARTIAL, headers=headers, media_type="text/plain")


async def _beginning(chunks: AsyncIterator[bytes], most: int) -> tuple[bytes, bool]:
    content = bytearray()
    async with aclosing(chunks) as open_chunks:  # type: ignore[type-var]  # a generator
        async for chunk in open_chunks:
            content += chunk
            if len(content) > most:
                return bytes(content[:most]), False
    return bytes(content), True


async def _end(chunks: AsyncIterator[bytes], most: int) -> tuple[int, bytes]:
    most = min(most, _PIECE)
    total, content = 0, bytearray()
    async for chunk in chunks:
        total += len(chunk)
        content += chunk
        del content[:-most]
    return total, bytes(content)


ROUTES: tuple[Any, ...] = (read_log,)
