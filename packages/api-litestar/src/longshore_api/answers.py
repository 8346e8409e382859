"""What handlers return: bytes that are JSON already, or a value that becomes it."""

from typing import Any, TypeVar

import msgspec
from litestar import Response

from longshore.models import Job
from longshore_api.provider import Provider
from longshore_api.views import JobView

T = TypeVar("T")
_NOT_MODIFIED = 304


class Reply(Response[T]):
    """A response of JSON; made for every request, hence without what none of ours uses."""

    background = None
    cookies: list[Any] = []  # noqa: RUF012 - the framework's attribute; nobody adds to it
    encoding = "utf-8"
    media_type = "application/json"
    response_type_encoders: dict[Any, Any] = {}  # noqa: RUF012 - as above

    def __init__(self, content: Any, status_code: int, headers: dict[str, str]) -> None:
        self.content = content
        self.status_code = status_code
        self.headers = headers


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply[Any]:
    """Return an answer of JSON."""
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return Reply(body, status, headers or {})


async def job_answer(provider: Provider, job: Job, *, unless: str | None = None) -> Reply[Any]:
    """Return a job; 304 where ``unless``, an ``If-None-Match``, names how it is."""
    view = await provider.views.show(job)
    if unless is not None and view.etag.decode() in unless:
        return Reply(b"", _NOT_MODIFIED, _headers(view))
    return answer(view.body, headers=_headers(view))


def _headers(view: JobView) -> dict[str, str]:
    return {"etag": view.etag.decode(), "cache-control": "no-cache"}
