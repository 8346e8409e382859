"""Which pages of other origins a browser may let use the service, and what they may see of it.

A plain ASGI layer in front of the gate, so that it covers the API, the bytes and every error. No
cookie is ever allowed: a page has to bring its token, so it gets no right in a browser that it had
not outside of one.
"""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from longshore.errors import Problem, SettingsInvalid
from longshore_api.cycle import WHOLE
from longshore_api.gate import App, Message, Receive, Scope, Send

ANY = "*"
#: what pages may send and may see; a browser knows a handful of harmless headers besides
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
SENT = (
    *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "If-Range"),
    *("Last-Event-ID", "Prefer", "Range", "X-Request-Id"),
)
SEEN = (
    *("Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Location", "Retry-After"),
    *("RateLimit-Limit", "RateLimit-Policy", "RateLimit-Remaining", "RateLimit-Reset"),
    *("WWW-Authenticate", "X-Request-Id"),
)
#: seconds for which a browser need not ask again; a changed setting is heeded after that
_REMEMBERED = 600
_HOST = re.compile(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]")
_USUAL_PORT = {"http": 80, "https": 443}
_BEGINNINGS = frozenset({"http.response.start", WHOLE})
_VARY = (b"vary", b"Origin")
_SEEN = (b"access-control-expose-headers", ", ".join(SEEN).encode())
_PREFLIGHT = (
    (b"access-control-allow-methods", ", ".join(METHODS).encode()),
    (b"access-control-allow-headers", ", ".join(SENT).encode()),
    (b"access-control-max-age", b"%d" % _REMEMBERED),
)


def check_origins(origins: Sequence[str]) -> str:
    """Return the origins as one text.

    Raises:
        SettingsInvalid: what is not written as browsers write it, which would never be met.
    """
    wrong = [origin for origin in origins if origin != ANY and not _is_origin(origin)]
    if wrong:
        said = f"{', '.join(wrong)}: an origin is as https://portal.example, without a slash behind"
        raise SettingsInvalid("the settings have mistakes", [Problem("service.origins", said)])
    return ", ".join(origins)


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = parts.netloc.removesuffix(f":{port}")
    is_usual = port == _USUAL_PORT.get(parts.scheme)
    return (
        text == f"{parts.scheme}://{parts.netloc}"
        and parts.scheme in _USUAL_PORT
        and _HOST.fullmatch(host) is not None
        and not is_usual
    )


def allow_origins(app: App, origins: Sequence[str]) -> App:
    """Return ``app`` for pages of ``origins``, too; itself where there are none."""
    return Cors(app, origins) if origins else app


class Cors:
    """Tells browsers that pages of ``origins`` may use ``app``; for other pages nothing changes."""

    def __init__(self, app: App, origins: Sequence[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.encode() for origin in origins)
        self._is_any = ANY in origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # of one who may keep the answer and give it to others, also where there is no origin
        more: list[tuple[bytes, bytes]] = [] if self._is_any else [_VARY]
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if len(origins) == 1 and (self._is_any or origins[0] in self._origins):
            allowed = ANY.encode() if self._is_any else origins[0]
            more.append((b"access-control-allow-origin", allowed))
            if scope["method"] == "OPTIONS" and _asks(scope):
                headers = [*more, *_PREFLIGHT]
                await send({"type": "http.response.start", "status": 204, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
            more.append(_SEEN)

        async def answer(message: Message) -> None:
            if message["type"] in _BEGINNINGS:
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        await self._app(scope, receive, answer)


def _asks(scope: Scope) -> bool:
    """Say whether a browser asks what it may send, before it sends it."""
    return any(name == b"access-control-request-method" for name, _ in scope["headers"])
