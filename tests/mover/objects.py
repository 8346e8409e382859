"""Storages for the tests of the mover: one of a few lines in this process, and a real S3 server.

Both keep uploads apart from objects: nothing is readable before ``commit``.
"""

import hashlib
import json
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import attrs
from tests.answering import answering

from longshore.transfer import PlannedInput, SignedRequest, SignedUpload

MIB = 1024**2
HOUR = timedelta(hours=1)
TAG = "abc"


class Storage(Protocol):
    """What a test needs of a storage; ``url`` may be that of a proxy before it."""

    part_size: int
    generation: int

    def put(self, name: str, content: bytes) -> None:
        """Make an object."""

    def get(self, name: str) -> bytes | None:
        """Return what is readable now."""

    def sign_get(self, name: str) -> SignedRequest:
        """Sign a request for an object."""

    def open(self, name: str, max_size: int) -> str:
        """Begin an upload; return its id."""

    def sign_upload(self, upload: str, max_size: int) -> SignedUpload:
        """Sign the requests of an upload."""

    def sent_tags(self, upload: str) -> Sequence[str]:
        """Return the tags of the parts that have arrived."""

    def commit(self, upload: str, tags: Sequence[str]) -> None:
        """Make an object of an upload's parts."""


def signed(method: str, url: str, expires: timedelta = HOUR) -> SignedRequest:
    return SignedRequest(method=method, url=url, expires_at=datetime.now(UTC) + expires)


def planned(storage: Storage, name: str, content: bytes, **changes: Any) -> PlannedInput:
    """Return the plan of an input that is in the storage."""
    digest = hashlib.sha256(content).hexdigest()
    told = {"size": len(content), "sha256": digest, **changes}
    return PlannedInput(name=name, request=storage.sign_get(name), **told)


@attrs.define
class Upload:
    name: str
    parts: dict[int, bytes] = attrs.field(factory=dict[int, bytes])


class Objects:
    """Objects in memory, served over HTTP; requests of generations not in ``valid`` are refused."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, Upload] = {}
        self.part_size = MIB
        self.generation = 1
        self.valid = {1}
        self.has_ranges = True
        self.verifies = True
        self.asked: list[tuple[str, str]] = []
        self.at_upload: Callable[[str, int], object] = lambda *_: None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def put(self, name: str, content: bytes) -> None:
        self.objects[name] = content

    def get(self, name: str) -> bytes | None:
        return self.objects.get(name)

    def sign_get(self, name: str) -> SignedRequest:
        return signed("GET", f"{self.url}/objects/{name}?generation={self.generation}")

    def open(self, name: str, max_size: int) -> str:
        del max_size
        upload = uuid.uuid4().hex
        self.uploads[upload] = Upload(name)
        return upload

    def sign_upload(self, upload: str, max_size: int) -> SignedUpload:
        query = f"generation={self.generation}"
        count = max(1, -(-max_size // self.part_size))
        urls = (f"{self.url}/uploads/{upload}/{n + 1}?{query}" for n in range(count))
        parts = tuple(signed("PUT", url) for url in urls)
        return SignedUpload(
            ticket_id=upload, part_size=self.part_size, parts=parts, max_size=max_size
        )

    def sent_tags(self, upload: str) -> Sequence[str]:
        parts = self.uploads[upload].parts
        return [_md5(parts[number]).hex() for number in sorted(parts)]

    def commit(self, upload: str, tags: Sequence[str]) -> None:
        found = self.uploads.pop(upload)
        parts = [found.parts[n] for n in range(1, len(tags) + 1)]
        assert [_md5(part).hex() for part in parts] == list(tags)
        self.objects[found.name] = b"".join(parts)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


class _Handler(BaseHTTPRequestHandler):
    owner: Objects
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # a mover that was killed
            self.close_connection = True

    def do_GET(self) -> None:
        content = self.owner.objects.get(self._allowed())
        if content is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        head = {"ETag": f'"{_md5(content).hex()}"'}
        wanted = self.headers["Range"] if self.owner.has_ranges else None
        if wanted is None:
            self._answer(200, content, **head)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        piece = content[int(first) : int(last) + 1]
        if not piece:
            self._answer(416)
            return
        end = int(first) + len(piece) - 1
        head["Content-Range"] = f"bytes {first}-{end}/{len(content)}"
        self._answer(206, piece, **head)

    def do_PUT(self) -> None:
        name = self._allowed()
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if not name:
            return
        upload, _, number = name.partition("/")
        self.owner.at_upload(upload, int(number))
        if self.owner.verifies and self.headers["Content-MD5"] != b64encode(_md5(content)).decode():
            self._answer(400, b"<Error><Code>BadDigest</Code></Error>")
        elif upload not in self.owner.uploads:
            self._answer(404, b"<Error><Code>NoSuchUpload</Code></Error>")
        else:
            self.owner.uploads[upload].parts[int(number)] = content
            self._answer(200, ETag=f'"{_md5(content).hex()}"')

    def _allowed(self) -> str:
        parts = urlsplit(self.path)
        self.owner.asked.append((self.command, parts.path))
        if int(parse_qs(parts.query)["generation"][0]) in self.owner.valid:
            return parts.path.partition("/")[2].partition("/")[2]
        body = self.headers["Content-Length"]
        if body:
            self.rfile.read(int(body))
        self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        raise ConnectionError

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _handler(storage: Objects) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        owner = storage

    return Handler


@contextmanager
def served() -> Iterator[Objects]:
    """Serve an empty storage."""
    storage = Objects()
    with answering(storage.server):
        yield storage


@attrs.define
class S3Objects:
    """A bucket of a real server; ``signer`` is a client that has its own address for it."""

    client: Any
    bucket: str
    signer: Any
    part_size: int = 5 * MIB
    generation: int = 1
    prefix: str = attrs.field(factory=lambda: f"{uuid.uuid4().hex}/")
    names: dict[str, str] = attrs.field(factory=dict[str, str])

    def put(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=content)

    def get(self, name: str) -> bytes | None:
        try:
            found = self.client.get_object(Bucket=self.bucket, Key=self.prefix + name)
        except self.client.exceptions.NoSuchKey:
            return None
        content: bytes = found["Body"].read()
        return content

    def sign_get(self, name: str) -> SignedRequest:
        place = {"Bucket": self.bucket, "Key": self.prefix + name}
        return signed("GET", self.signer.generate_presigned_url("get_object", Params=place))

    def open(self, name: str, max_size: int) -> str:
        del max_size
        begun = self.client.create_multipart_upload(Bucket=self.bucket, Key=self.prefix + name)
        upload: str = begun["UploadId"]
        self.names[upload] = self.prefix + name
        return upload

    def sign_upload(self, upload: str, max_size: int) -> SignedUpload:
        place = {"Bucket": self.bucket, "Key": self.names[upload], "UploadId": upload}
        count = max(1, -(-max_size // self.part_size))
        urls = (
            self.signer.generate_presigned_url(
                "upload_part", Params={**place, "PartNumber": number + 1}
            )
            for number in range(count)
        )
        parts = tuple(signed("PUT", url) for url in urls)
        return SignedUpload(
            ticket_id=upload, part_size=self.part_size, parts=parts, max_size=max_size
        )

    def sent_tags(self, upload: str) -> Sequence[str]:
        place = {"Bucket": self.bucket, "Key": self.names[upload], "UploadId": upload}
        return [one["ETag"].strip('"') for one in self.client.list_parts(**place).get("Parts", [])]

    def commit(self, upload: str, tags: Sequence[str]) -> None:
        parts = [{"PartNumber": n + 1, "ETag": json.dumps(tag)} for n, tag in enumerate(tags)]
        self.client.complete_multipart_upload(
            Bucket=self.bucket,
            Key=self.names[upload],
            UploadId=upload,
            MultipartUpload={"Parts": parts},
        )
