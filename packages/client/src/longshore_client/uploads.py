"""Carry an input to where the server says: in parts, several at once, resumed after a break.

The server knows which parts it has. Whatever went wrong, the way on is the same: ask what is
missing, and send that. A storage other than our server is told the MD5 of each part, and refuses
other bytes; ours answers with a sha256.
"""

import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import anyio.to_thread

from longshore_client.errors import (
    Again,
    Broken,
    ChecksumMismatch,
    Denied,
    Expired,
    LongshoreError,
    NotFound,
    TooLarge,
)
from longshore_client.parallel import each
from longshore_client.session import Advance, Json
from longshore_client.sources import Source
from longshore_client.tags import MD5, SHA256, checksum_in, is_meaningless, method_for
from longshore_client.transport import Transport, path

PARALLEL = 4
_CHUNK = 1024**2
#: seconds; a part is answered when it has been written and its checksum made
_PART_LIMIT = 120.0


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of the file: ``request`` carries it, or ``etag`` is what the server has of it."""

    number: int
    start: int
    size: int
    request: Json
    etag: str = ""


async def send(
    transport: Transport,
    job_id: str,
    name: str,
    source: Source,
    *,
    upload: Json | None = None,
    progress: Advance,
) -> None:
    """Carry ``source`` to the input ``name`` and complete the upload; repeatable.

    Args:
        transport: to the server.
        job_id: of a job in the state CREATED.
        name: of the input.
        source: the bytes; those that the server already has are not sent again.
        upload: the server's upload request, where one is at hand.
        progress: called with bytes as they are sent.

    Raises:
        TooLarge: more bytes than the workflow takes.
        ChecksumMismatch: not the bytes that were announced.
        LongshoreError: what the server says, or why it was not reached.
    """
    await _Sending(transport, path("jobs", job_id, "inputs", name), source, progress).run(upload)


def layout(upload: Json, size: int, sent: Sequence[Json] = ()) -> list[Part]:
    """Return the parts of a file of ``size`` bytes, in order: sent ones, and those to be sent.

    Each begins where all before it end. The last may be shorter than the server allows, and those
    behind the file's end are not needed.

    Raises:
        TooLarge: the file is longer than all parts.
    """
    if "parts" not in upload:
        return [Part(number=1, start=0, size=size, request=upload)]
    parts: list[Part] = []
    start = 0
    for one in sorted((*sent, *upload["parts"]), key=lambda part: int(part["number"])):
        length = int(one["size"])
        if "url" in one:
            length = min(length, max(0, size - start))
        number, etag = int(one["number"]), str(one.get("etag", ""))
        parts.append(Part(number=number, start=start, size=length, request=one, etag=etag))
        start += length
    if size > start:
        raise TooLarge(f"{size} bytes are more than the {start} that the input takes")
    return [part for part in parts if part.size or part.number == 1]


class _Sending:
    """One upload, over all its tries."""

    def __init__(self, transport: Transport, route: str, source: Source, progress: Advance) -> None:
        self._transport = transport
        self._route = route
        self._source = source
        self._progress = progress
        self._trial = transport.trial()
        self._told = 0
        self._ours: set[int] = set()
        self._are_tags_checksums = True

    async def run(self, upload: Json | None) -> None:
        sent: list[Json] = []
        is_all_there = False
        while True:
            try:
                if upload is None:
                    about = await self._transport.json("GET", self._route)
                    if about["state"] == "received":
                        return self._tell(self._source.size)
                    upload, sent = about["upload"], about["sent"]
                    # and not a part of it is listed where only the completion's answer was lost
                    is_all_there = upload is None and not sent
                if not is_all_there:
                    await self._send_missing(upload or {"parts": []}, sent)
                await self._complete()
                return self._tell(self._source.size)
            except LongshoreError as error:
                await self._transport.pause(self._trial, error)
                upload = None

    async def _send_missing(self, upload: Json, sent: Sequence[Json]) -> None:
        parts = layout(upload, self._source.size, sent)
        there = [part for part in parts if part.etag]
        missing = [part for part in parts if not part.etag]
        other = await anyio.to_thread.run_sync(self._first_other, there)
        self._tell(sum(part.size for part in there))
        if other is not None and missing:  # the answer shows whether tags say anything
            await self._send(missing.pop(0))
        if other is not None and self._are_tags_checksums:
            raise ChecksumMismatch(
                f"part {other.number}, which was sent earlier, is not of the same file",
                hint="cancel the job and submit it anew",
            )
        await each(missing, self._send, min(PARALLEL, len(missing)), is_fatal=_is_fatal)

    def _first_other(self, there: Sequence[Part]) -> Part | None:
        """Return a part that an earlier process sent and that is not of this file, by its tag.

        Mixing both would make an input that nobody has.
        """
        for part in there:
            said = checksum_in(part.etag)
            if part.number not in self._ours and said is not None:
                digest = hashlib.new(said.method, usedforsecurity=False)
                self._read_into(digest, part)
                if digest.hexdigest() != said.value:
                    return part
                self._ours.add(part.number)  # as good as: it need not be read again
        return None

    def _read_into(self, digest: "hashlib._Hash", part: Part) -> None:
        for at in range(part.start, part.start + part.size, _CHUNK):
            digest.update(self._source.read(at, min(_CHUNK, part.start + part.size - at)))

    def _tell(self, total: int) -> None:
        """Bring the progress to ``total``: what a broken try sent may have to be sent again."""
        self._progress(total - self._told)
        self._told = total

    async def _send(self, part: Part) -> None:
        method = method_for(str(part.request["url"]))
        digest = hashlib.new(method, usedforsecurity=False)
        headers = {"Content-Length": str(part.size)}
        if method == MD5:  # said before the bytes, which are therefore read twice
            await anyio.to_thread.run_sync(self._read_into, digest, part)
            headers["Content-MD5"] = b64encode(digest.digest()).decode()
        exchange = self._transport.signed(
            part.request,
            headers=headers,
            content=self._content(part, digest if method == SHA256 else None),
            limit=_PART_LIMIT,
        )
        try:
            async with self._transport.open(exchange) as response:
                said = checksum_in(response.headers.get("etag", ""))
                if is_meaningless(response.headers):
                    self._are_tags_checksums = False
        except (Denied, NotFound) as exc:
            hint = exc.hint or "tell the provider if it stays so"
            raise Expired(f"the upload was refused: {exc.message}", hint=hint) from exc
        if said and self._are_tags_checksums:
            if said.method != method:
                digest = hashlib.new(said.method, usedforsecurity=False)
                await anyio.to_thread.run_sync(self._read_into, digest, part)
            if said.value != digest.hexdigest():
                raise Broken("the bytes were changed on their way")
        self._ours.add(part.number)
        self._trial.progressed()

    async def _content(self, part: Part, digest: "hashlib._Hash | None") -> AsyncIterator[bytes]:
        """Yield the bytes of a part as they are sent, and add them to ``digest``."""
        at, end = part.start, part.start + part.size
        while at < end:
            chunk = await anyio.to_thread.run_sync(self._read, at, min(_CHUNK, end - at), digest)
            if not chunk:
                raise ChecksumMismatch("the file became shorter while it was sent")
            at += len(chunk)
            yield chunk
            self._progress(len(chunk))
            self._told += len(chunk)

    def _read(self, at: int, size: int, digest: "hashlib._Hash | None") -> bytes:
        chunk = self._source.read(at, size)
        if digest is not None:
            digest.update(chunk)
        return chunk

    async def _complete(self) -> None:
        """Say that all is there; the server checks it, and the next try sends what is not."""
        body = {"size": self._source.size}
        try:
            await self._transport.json("POST", self._route + "/complete", body, repeatable=True)
        except NotFound as exc:
            raise Broken(f"the upload did not arrive: {exc.message}") from exc


def _is_fatal(error: Exception) -> bool:
    """Say whether no other part need be sent any more."""
    return not isinstance(error, LongshoreError) or error.again is Again.NEVER
