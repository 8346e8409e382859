"""For whoever operates the service, and whoever reads about it: health, numbers, documents."""

from typing import TYPE_CHECKING, Annotated, Any

import anyio.to_thread
from litestar import Request, Response
from litestar.params import FromPath, HeaderParameter

from longshore.models import Role
from longshore_api import docs_page
from longshore_api.answers import answer
from longshore_api.docs import errors
from longshore_api.errors import UnknownRoute
from longshore_api.openapi import make_document
from longshore_api.provider import Provider
from longshore_api.requests import ROLE, GivenProvider
from longshore_api.routing import get
from longshore_api.schemas.operation import Alive, Ready

if TYPE_CHECKING:
    from longshore_api.exposition import Exposition

ADMIN = {ROLE: (Role.ADMIN,)}
_NOT_MODIFIED = 304
_FOUND = 307
_NO_STORE = {"cache-control": "no-store"}

Encodings = Annotated[
    str, HeaderParameter(name="Accept-Encoding", max_length=1000, include_in_schema=False)
]
NoneMatch = Annotated[str | None, HeaderParameter(name="If-None-Match", max_length=1000)]


@get("/livez", security=[{}])
async def get_live() -> Response[Alive]:
    """Say that the process answers.

    Needs no token and asks nothing of any other part: restart what does not answer this.
    """
    return answer({"status": "ok"}, headers=_NO_STORE)


@get("/readyz", security=[{}], responses=errors(503))
async def get_ready(provider: GivenProvider) -> Response[Ready]:
    """Say whether store, storage and every backend answer.

    Needs no token. Each part is asked for real, at most once a second. Without one of them this is
    503, and ``checks`` says which it is; do not send requests here then.
    """
    found = await provider.readiness.require()
    return answer({"status": "ready", "checks": found.parts}, headers=_NO_STORE)


@get("/metrics", opt=ADMIN, media_type="text/plain", responses=errors(401, 403, 429, 503))
async def get_metrics(provider: GivenProvider) -> Response[str]:
    """Read the service's numbers in the text format of Prometheus; for administrators."""
    if provider.exposition is None:
        provider.exposition = await anyio.to_thread.run_sync(_make_exposition, provider)
    text, media_type = await provider.exposition.text()
    return Response(content=text, media_type=media_type, headers=_NO_STORE)


def _make_exposition(provider: Provider) -> "Exposition":
    from longshore_api.exposition import Exposition  # noqa: PLC0415 - takes 0.2 s to import

    return Exposition(provider)


@get("/openapi.json", security=[{}])
async def get_document(provider: GivenProvider, none_match: NoneMatch = None) -> Response[Any]:
    """Read this document. Needs no token."""
    if provider.document is None:  # made in a thread: it takes as long as many requests do
        made = await anyio.to_thread.run_sync(make_document, provider.url.base)
        provider.document = made
    document = provider.document
    headers = {"etag": document.etag, "cache-control": "no-cache"}
    if none_match is not None and document.etag in none_match:
        return Response(content=b"", status_code=_NOT_MODIFIED, headers=headers)
    return answer(document.body, headers=headers)


@get("/docs", include_in_schema=False)
async def get_page(
    request: Request[Any, Any, Any], accepted: Encodings = "", none_match: NoneMatch = None
) -> Response[bytes]:
    """Show the documentation of this API."""
    if request.scope["raw_path"].endswith(b"/"):  # from there its relative links lead nowhere
        return Response(content=b"", status_code=_FOUND, headers={"location": "../docs"})
    return _page("index.html", accepted, none_match)


@get("/docs/{name:str}", include_in_schema=False)
async def get_page_file(
    name: FromPath[str], accepted: Encodings = "", none_match: NoneMatch = None
) -> Response[bytes]:
    """Send a file of that page."""
    if name not in docs_page.FILES:
        raise UnknownRoute(f"there is no file {name!r}", hint="/docs is the page")
    return _page(name, accepted, none_match)


def _page(name: str, accepted: str, none_match: str | None) -> Response[bytes]:
    page = docs_page.load(name)
    content, headers = page.send(accepted)
    if none_match is not None and headers["etag"] in none_match:
        return Response(content=b"", status_code=_NOT_MODIFIED, headers=dict(page.headers))
    return Response(content=content, headers=headers, media_type=page.media_type)


ROUTES: tuple[Any, ...] = (
    get_live,
    get_ready,
    get_metrics,
    get_document,
    get_page,
    get_page_file,
)
