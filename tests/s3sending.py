"""Sends signed requests as anybody could: the standard library's client, and no code of ours."""

import base64
import hashlib
import http.client
import ssl
from collections.abc import Mapping
from typing import BinaryIO
from urllib.parse import urlsplit

import attrs

from longshore.errors import ChecksumMismatch, NotFound, StorageUnavailable, TooLarge
from longshore.transfer import SignedRequest, SignedUpload, UploadReceipt


@attrs.frozen
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def send(
    method: str,
    url: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    connect: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Send one request, to the address ``connect`` where the URL's name is not to be looked up."""
    parts = urlsplit(url)
    host, port = connect or parts.hostname or "", parts.port
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=20, context=tls)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=20)  # type: ignore[assignment]  # the parent class
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, target, body, {"Host": parts.netloc, **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


class PlainTransport:
    """One request after the other; see ``longshore.staging.transport.Transport``."""

    def fetch(
        self, request: SignedRequest, into: BinaryIO, *, size: int, sha256: str | None
    ) -> None:
        answer = send(request.method, request.url, headers=request.headers)
        _raise_for(answer)
        into.write(answer.body)
        digest = hashlib.sha256(answer.body).hexdigest()
        if len(answer.body) != size or sha256 not in {None, digest}:
            raise ChecksumMismatch("not the bytes that were announced")

    def send(self, upload: SignedUpload, source: BinaryIO, *, max_size: int) -> UploadReceipt:
        data = source.read(max_size + 1)
        if len(data) > max_size:
            raise TooLarge("too much")
        step = upload.part_size
        chunks = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
        if len(chunks) > len(upload.parts):  # a sender that does not care for the plan's sizes
            chunks[len(upload.parts) - 1 :] = [b"".join(chunks[len(upload.parts) - 1 :])]
        tags: list[str] = []
        for part, chunk in zip(upload.parts, chunks, strict=False):
            md5 = base64.b64encode(hashlib.md5(chunk, usedforsecurity=False).digest()).decode()
            answer = send(part.method, part.url, chunk, {"Content-MD5": md5, **part.headers})
            _raise_for(answer)
            tags.append(answer.headers["etag"].strip('"'))
        return UploadReceipt(
            size=len(data), sha256=hashlib.sha256(data).hexdigest(), parts=tuple(tags)
        )


def _raise_for(answer: Answer) -> None:
    if answer.status in {403, 404}:
        raise NotFound(f"{answer.status}: {answer.body[:200]!r}")
    if answer.status not in {200, 206}:
        raise StorageUnavailable(f"{answer.status}: {answer.body[:200]!r}")
