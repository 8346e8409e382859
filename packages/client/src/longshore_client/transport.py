"""One server, spoken to over HTTP: requests, their repetition, and what their failures mean."""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2

from longshore_client.errors import LongshoreError, RequestError, ServerError
from longshore_client.problems import error_from, error_of
from longshore_client.retrying import Retry, Trial
from longshore_client.session import Json

Query = Mapping[str, str | int | Sequence[str]]

#: seconds; a server says at least that it lives (a comment in a stream) every 15
CONNECT_LIMIT, ANSWER_LIMIT, SILENCE_LIMIT = 10.0, 30.0, 45.0
_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})


def path(*segments: str) -> str:
    """Return the path of the API of these segments; each is data and cannot lead elsewhere."""
    return "/v1/" + "/".join(_segment(one) for one in segments)


def _segment(text: str) -> str:
    if text in {"", ".", ".."}:
        raise RequestError(f"{text!r} is no name or id")
    return quote(text, safe="")


def server_url(text: str) -> str:
    """Return the address of a server as it is compared and stored.

    Raises:
        RequestError: it is no http or https address, or holds a password.
    """
    try:
        url = httpx2.URL(text.strip())
    except httpx2.InvalidURL as exc:
        raise RequestError(f"{text!r} is no address of a server: {exc}") from exc
    if url.scheme not in {"http", "https"} or not url.host:
        raise RequestError(
            f"{text!r} is no address of a server", hint="it looks like https://compute.example"
        )
    if url.userinfo or url.query or url.fragment:
        raise RequestError(
            "the address of a server has no password, query or fragment",
            hint="the token is given apart",
        )
    return str(url).rstrip("/")


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request to be sent; ``url`` is absolute, and ``bearer`` whether our token goes with it.

    Requests that were signed for us carry no token: they lead to storages, which are not the
    server and must not learn it.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    bearer: bool = False
    body: Any = None
    content: Any = None
    query: Query | None = None
    limit: float = ANSWER_LIMIT


class Transport:
    """The connections to one server. Closed by whoever made it."""

    def __init__(
        self,
        server: str,
        token: str | None,
        *,
        retry: Retry | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.server = server_url(server)
        self.retry = retry or Retry()
        self._token = token
        self._known = False
        self._http = httpx2.AsyncClient(
            verify=verify,
            transport=transport,
            limits=httpx2.Limits(max_keepalive_connections=20),
            headers={"User-Agent": "longshore-client", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def trial(self, *, repeatable: bool = True) -> Trial:
        """Begin a piece of work that may take several tries."""
        return Trial(self.retry, repeatable=repeatable)

    async def pause(self, trial: Trial, error: LongshoreError) -> None:
        """Return when the work is to be tried again. Raises ``error`` when it is not."""
        await trial.pause(error, known=self._known)

    def api(self, method: str, route: str, **more: Any) -> Exchange:
        """Return a request to the server's API, with the token."""
        headers = {"Accept": "application/json", **more.pop("headers", {})}
        return Exchange(
            method=method, url=self.server + route, headers=headers, bearer=True, **more
        )

    def signed(self, request: Json, **more: Any) -> Exchange:
        """Return a request that the server signed for us: exactly its method, URL and headers."""
        url = str(httpx2.URL(self.server + "/").join(str(request["url"])))
        headers = httpx2.Headers(request.get("headers"))
        headers.update(more.pop("headers", None))
        return Exchange(method=str(request["method"]), url=url, headers=headers, **more)

    async def json(
        self, method: str, route: str, body: Any = None, *, repeatable: bool | None = None,
        **more: Any,
    ) -> Any:  # fmt: skip
        """Return the JSON that the API answers, after as many tries as it takes.

        Args:
            method: of HTTP.
            route: see ``path``.
            body: sent as JSON.
            repeatable: whether the same request twice does no more than once; known of GET, PUT
                and DELETE.
            more: ``query``, ``headers``, ``limit``.

        Raises:
            LongshoreError: what the server says, or why it was not reached.
        """
        exchange = self.api(method, route, body=body, **more)
        return decoded(await self.ask(exchange, repeatable=repeatable))

    async def ask(self, exchange: Exchange, *, repeatable: bool | None = None) -> httpx2.Response:
        """Return the answer, read, after as many tries as it takes. Raises as ``json`` does."""
        if repeatable is None:
            repeatable = exchange.method in _REPEATABLE
        trial = self.trial(repeatable=repeatable)
        while True:
            try:
                async with self.open(exchange) as response:
                    await response.aread()
                    return response
            except LongshoreError as error:
                await self.pause(trial, error)

    @asynccontextmanager
    async def open(self, exchange: Exchange) -> AsyncIterator[httpx2.Response]:
        """Send a request once, and give the answer with its body still to be read.

        What fails while the body is read, inside the ``async with``, is translated as well.

        Raises:
            LongshoreError: no answer, or one of 4xx or 5xx.
        """
        host = _host(exchange.url)
        try:
            async with self._http.stream(
                exchange.method,
                exchange.url,
                params=exchange.query,
                headers=self._headers(exchange),
                json=exchange.body,
                content=exchange.content,
                timeout=httpx2.Timeout(exchange.limit, connect=CONNECT_LIMIT, pool=None),
            ) as response:
                self._known = True
                if response.is_error:
                    await response.aread()
                    raise error_of(response)
                yield response
        except (httpx2.TransportError, httpx2.InvalidURL) as exc:
            raise error_from(exc, host) from exc

    def _headers(self, exchange: Exchange) -> dict[str, str]:
        headers = dict(exchange.headers)
        if exchange.bearer and self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers


def decoded(answer: httpx2.Response) -> Any:
    """Return the JSON of an answer that was read; None where it has no body.

    Raises:
        ServerError: it is no JSON.
    """
    if not answer.content:
        return None
    try:
        return answer.json()
    except (ValueError, RecursionError) as exc:
        raise ServerError(
            f"{answer.request.url} answers what is no JSON", hint="is this a Longshore server?"
        ) from exc


def _host(url: str) -> str:
    try:
        return httpx2.URL(url).netloc.decode("ascii", "replace")
    except httpx2.InvalidURL:
        return url
