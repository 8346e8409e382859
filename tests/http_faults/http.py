"""A small client for tests that break things: it says what came, also when that is a half."""

import http.client
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import attrs

#: what a request ends with when the server is killed meanwhile
BROKEN = (ConnectionError, http.client.HTTPException, TimeoutError, OSError)
_PATIENCE = 30.0


@attrs.frozen
class Answer:
    """An answer, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Client:
    """One connection, which is made anew when it breaks. For one thread."""

    def __init__(self, port: int, token: str = "", *, patience: float = _PATIENCE) -> None:
        self.token = token
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)

    def ask(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; ``body`` is bytes, or what becomes JSON. Raises one of ``BROKEN``."""
        named = {"authorization": f"Bearer {self.token}"} if self.token else {}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            named["content-type"] = "application/json"
        try:
            self._connection.request(method, target, body, {**named, **(headers or {})})
            answer = self._connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        except BaseException:
            self._connection.close()
            raise

    def get(self, target: str, **headers: str) -> Answer:
        """Send a GET."""
        return self.ask("GET", target, headers=headers)

    def post(self, target: str, body: Any = None, **headers: str) -> Answer:
        """Send a POST."""
        return self.ask("POST", target, body, headers)

    def put(self, url: str, body: bytes) -> Answer:
        """Send bytes to a signed URL."""
        parts = urlsplit(url)
        return self.ask("PUT", f"{parts.path}?{parts.query}", body)

    @property
    def local_port(self) -> int:
        """The port at this end; another one means another connection."""
        connected = self._connection.sock
        return connected.getsockname()[1] if connected else 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
