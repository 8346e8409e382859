"""In front of every route: who asks, how much they may ask, and what is said when it goes wrong.

A plain ASGI layer, as every request pays for it. It knows no route but those that need no token.
"""

import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from math import ceil
from typing import Any

from longshore.errors import LongshoreError
from longshore_api.bodies import Disconnected
from longshore_api.cycle import WHOLE
from longshore_api.limiting import Allowance, Crowd, Place
from longshore_api.logging_setup import REQUEST_ID
from longshore_api.problems import to_answer
from longshore_api.provider import Provider

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: answered without a token
OPEN = frozenset({"/livez", "/readyz", "/openapi.json", "/docs"})
OPEN_BELOW = ("/docs/", "/v1/blobs/")
#: the messages that have the headers of an answer
_BEGINNINGS = frozenset({"http.response.start", WHOLE})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
_BEARER = b"bearer "
#: ids of requests: random for the process, then counted
_PROCESS = secrets.token_hex(6).encode()
_numbers = itertools.count(0x1000)
_log = logging.getLogger("longshore.api")


def is_open(path: str) -> bool:
    """Say whether ``path`` is answered without a token."""
    return path in OPEN or path.startswith(OPEN_BELOW)


class Gate:
    """Lets requests through to ``app`` with ``caller``, ``provider`` and ``request_id`` in state.

    Every error of what is behind it comes out as a problem document.
    """

    def __init__(self, app: App, provider: Provider) -> None:
        self._app = app
        self._provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        answer = _Answer(receive, send, self._provider.crowd)
        state = scope["state"]
        authorization = None
        for name, value in scope["headers"]:
            if name == b"authorization":  # of two, nobody knows which one a proxy has looked at
                authorization = value if authorization is None else b""
            elif name == b"x-request-id" and _REQUEST_ID.match(value):
                answer.request_id = value
        state["provider"] = self._provider
        state["request_id"] = answer.request_id.decode()
        REQUEST_ID.set(answer.request_id)  # this task is this request's alone
        scope["path"] = path = self._provider.url.strip(scope["path"])
        try:
            if is_open(path):
                await self._app(scope, receive, answer)
                return
            await self._admit(state, authorization, answer)
            with self._provider.crowd.join() as answer.place:
                await self._app(scope, answer.receive, answer)
        except Disconnected:
            answer.status = 499
        except Exception as exc:  # noqa: BLE001 - whatever it is, the caller gets a problem
            await answer.fail(exc, scope)
        finally:
            self._provider.tally.count(scope, answer.status, time.perf_counter() - began)

    async def _admit(
        self, state: MutableMapping[str, Any], authorization: bytes | None, answer: "_Answer"
    ) -> None:
        if authorization is None or authorization[: len(_BEARER)].lower() != _BEARER:
            authorization = _BEARER
        token = authorization[len(_BEARER) :].strip().decode("latin-1")
        state["caller"] = caller = await self._provider.access.authenticate(token)
        if self._provider.limiter is not None:
            limiter = self._provider.limiter
            answer.policy = b"%d;w=%d" % (limiter.burst, limiter.burst / limiter.rate)
            answer.allowance = limiter.take(caller.token)


class _Answer:
    """The ``send`` of a request: adds what every answer has, and knows whether one has begun."""

    __slots__ = (
        *("_crowd", "_receive", "_send"),
        *("allowance", "place", "policy", "request_id", "status"),
    )

    def __init__(self, receive: Receive, send: Send, crowd: Crowd) -> None:
        self._receive = receive
        self._send = send
        self._crowd = crowd
        self.status = 0
        self.place: Place | None = None
        self.request_id = b"%s%x" % (_PROCESS, next(_numbers))
        self.policy = b""
        self.allowance: Allowance | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] in _BEGINNINGS:
            self.status = message["status"]
            if self.place is not None:
                self.place.leave()  # what takes long from here is the client's reading
            headers = message["headers"] = list(message.get("headers", ()))
            headers.append((b"x-request-id", self.request_id))
            if self.policy:
                left = self.allowance or Allowance(0, 1)
                headers += (
                    (b"ratelimit-policy", self.policy),
                    (b"ratelimit-limit", self.policy.partition(b";")[0]),
                    (b"ratelimit-remaining", b"%d" % left.remaining),
                    (b"ratelimit-reset", b"%d" % ceil(left.reset)),
                )
        await self._send(message)

    async def receive(self) -> Message:
        """Wait for the client, who takes nobody's place with a body that comes slowly."""
        if self.status:  # it has left its place for good
            return await self._receive()
        with self._crowd.stand_aside():
            return await self._receive()

    async def fail(self, error: Exception, scope: Scope) -> None:
        """Answer with a problem, unless an answer has begun already; that one is cut off."""
        if not isinstance(error, LongshoreError) or not error.is_request:
            known = isinstance(error, LongshoreError)
            _log.log(
                logging.WARNING if known else logging.ERROR,
                "a request cannot be answered",
                extra={"method": scope["method"], "path": scope["path"], "why": str(error)},
                exc_info=None if known else error,
            )
        if self.status:
            raise error
        status, headers, body = to_answer(error, self.request_id.decode())
        await self({"type": "http.response.start", "status": status, "headers": headers})
        is_head = scope["method"] == "HEAD"
        await self._send({"type": "http.response.body", "body": b"" if is_head else body})
