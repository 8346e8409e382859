"""Peers of the HTTP benchmarks: the same answer, with nothing behind it."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

_JOB = (
    b'{"id":"01m7z66wve5nq3rnfknzxk3f5k","workflow":"small","version":"1","state":"QUEUED",'
    b'"reason":null,"exitCode":null,"attempt":1,"stopRequested":null,"progress":null,'
    b'"createdAt":"2026-11-21T13:54:52.910992Z","startedAt":null,"finishedAt":null,'
    b'"next":{"what":"start","by":"2026-11-28T13:54:52.916955Z"},"position":7,'
    b'"unconfirmed":false,"enforced":{},"purged":false}'
)
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_JOB))]


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Answer everything with the same bytes."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["method"] == "POST":
        await receive()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _JOB})


class Next(BaseModel):
    """What happens next."""

    what: str
    by: str


class Job(BaseModel):
    """A job."""

    id: str
    workflow: str
    version: str
    state: str
    exitCode: int | None = None  # noqa: N815 - the wire's
    attempt: int = 1
    createdAt: str  # noqa: N815 - the wire's
    next: Next | None = None
    position: int | None = None
    unconfirmed: bool = False
    enforced: dict[str, str] = {}
    purged: bool = False


fast = FastAPI()


@fast.get("/v1/jobs/{job_id}")
async def get_job(job_id: str) -> Job:
    """Answer with a job that is not looked up anywhere."""
    return Job(
        id=job_id,
        workflow="small",
        version="1",
        state="QUEUED",
        createdAt="2026-11-21T13:54:52.910992Z",
        next=Next(what="start", by="2026-11-28T13:54:52.916955Z"),
        position=7,
    )
