"""Requests written by the byte, and the jobs that they are about."""

from collections.abc import Sequence
from typing import Any

import httpx2
from tests.blobserving import Answer, Connection
from tests.inside import Inside
from tests.support import shell

Header = tuple[bytes, bytes]
#: says that it has begun, and goes on until the file is there whose name is its parameter
GATED = shell(
    'echo begun; until [ -e "$LS_PARAM_GATE" ]; do sleep 0.02; done; echo over',
    id="gated",
    parameters={"type": "object", "properties": {"gate": {"type": "string"}}},
)


class Raw:
    """One connection of a token, which goes on from request to request."""

    def __init__(self, inside: Inside, token: str) -> None:
        self._inside = inside
        self._token = token.encode()
        self._connection: Connection | None = None

    def head(self, method: bytes, target: bytes, headers: Sequence[Header] = ()) -> bytes:
        """Return the head of a request."""
        lines = [method + b" " + target + b" HTTP/1.1", b"host: x"]
        lines += [b"authorization: Bearer " + self._token]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join([*lines, b"", b""])

    def ask(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[Header] = (),
        body: bytes | None = None,
    ) -> Answer:
        """Send a request; a new connection is made where the last answer closed the old one."""
        if body is not None:
            headers = [*headers, (b"content-length", b"%d" % len(body))]
        return self.send(self.head(method, target, headers) + (body or b""), method)

    def send(self, request: bytes, method: bytes = b"GET") -> Answer:
        """Send bytes, and read the one answer to them."""
        if self._connection is None:
            self._connection = self._inside.connect()
        self._connection.send(request)
        answer = self._connection.answer(has_body=method != b"HEAD")
        if answer.headers.get("connection") == "close":
            self._connection = None
        return answer

    def is_usable(self) -> bool:
        """Say whether the connection takes another request."""
        return self._connection is not None and self.ask(b"GET", b"/v1/me").status == 200


def submitted(client: httpx2.Client, **more: Any) -> dict[str, Any]:
    """Return a new job that waits for its input."""
    asked = {"workflow": "copy", "inputs": {"text": {"upload": {"size": 3}}}, **more}
    answer = client.post("/v1/jobs", json=asked)
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()
    return job
