"""A bucket as storage. What is sent is a multipart upload: nothing can be read before its end."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import obstore
import obstore.exceptions
from botocore.exceptions import ClientError

from longshore.clock import Clock
from longshore.errors import DataRefused, NotFound, StorageUnavailable
from longshore.ids import new_id
from longshore.storages.abc import StorageBackend
from longshore.storages.objects import check_key
from longshore.transfer import (
    Audience,
    SentPart,
    SignedRequest,
    SignedUpload,
    StoredObject,
    UploadReceipt,
    UploadTicket,
)
from longshore_s3.credentials import CredentialSource
from longshore_s3.failing import NO_UPLOAD, NOTHING, code_of, told
from longshore_s3.parts import check, choose, part_size
from longshore_s3.signing import LONGEST, Credentials, Signer
from longshore_s3.writing import SHA256, Writing

#: in an object's metadata: the id of the ticket of the upload that made it
TICKET = "longshore-ticket"
_BATCH = 1000
_CHUNK = 1024**2


@attrs.frozen(kw_only=True)
class Bucket:
    """A bucket, the part of it that is ours, and who signs requests to it for whom."""

    name: str
    prefix: str
    signers: Mapping[Audience, Signer]


class S3Storage(StorageBackend):
    """Objects of one bucket below a prefix.

    Every upload is a multipart upload that carries its ticket's id as metadata. The commit
    compares what the server lists with the receipt, and then completes the upload; asked again, it
    finds the object with the id. The server verifies the MD5 of each part where its sender says
    it; a sha256 of the whole is its sender's word.
    """

    def __init__(
        self, bucket: Bucket, client: Any, reader: Any, source: CredentialSource, clock: Clock
    ) -> None:
        self._bucket = bucket
        self._client = client
        self._reader = reader
        self._source = source
        self._clock = clock
        self._before = f"{bucket.prefix}/" if bucket.prefix else ""

    async def sign_read(self, key: str, *, audience: Audience, expires: timedelta) -> SignedRequest:
        """Return the object's URL at the endpoint of ``audience``."""
        name = self._name(key)
        credentials, at, seconds = await self._valid(expires)
        signer = self._bucket.signers[audience]
        url = signer.sign(credentials, "GET", name, at=at, expires=seconds)
        return SignedRequest(method="GET", url=url, expires_at=at + timedelta(seconds=seconds))

    def part_size(self, max_size: int, *, least_part: int = 1) -> int:
        """Return the size of the parts of an upload; see ``SizesParts``."""
        return part_size(max_size, least_part)

    async def prepare_upload(self, key: str, *, max_size: int, least_part: int = 1) -> UploadTicket:
        """Begin a multipart upload; see ``StorageBackend``.

        Raises:
            TooLarge: no object of S3 is as large as ``max_size``.
        """
        name = self._name(key)
        size = part_size(max_size, least_part)
        fresh = new_id(self._clock.now())
        with self._told(f"open an upload to {key}"):
            begun = await self._client.create_multipart_upload(
                **self._place(name), **described(name, fresh)
            )
        return UploadTicket(
            id=fresh, key=key, upload_id=begun["UploadId"], max_size=max_size, part_size=size
        )

    async def sign_upload(
        self,
        ticket: UploadTicket,
        *,
        audience: Audience,
        expires: timedelta,
        sha256: str | None = None,  # noqa: ARG002 - S3 would verify it of a part, in ways that servers differ in
    ) -> SignedUpload:
        """Return a URL for each part."""
        credentials, at, seconds = await self._valid(expires)
        urls = self._bucket.signers[audience].sign_parts(
            credentials,
            self._name(ticket.key),
            ticket.upload_id,
            max(1, -(-ticket.max_size // ticket.part_size)),
            at=at,
            expires=seconds,
        )
        end = at + timedelta(seconds=seconds)
        none: Mapping[str, str] = {}
        return SignedUpload(
            ticket_id=ticket.id,
            part_size=ticket.part_size,
            parts=tuple(
                [SignedRequest(method="PUT", url=url, headers=none, expires_at=end) for url in urls]
            ),
            max_size=ticket.max_size,
        )

    async def sent(self, ticket: UploadTicket) -> tuple[SentPart, ...]:
        """Return what the server lists of the upload."""
        return tuple(await self._parts(ticket) or ())

    async def commit(self, ticket: UploadTicket, receipt: UploadReceipt) -> StoredObject:
        """Compare, complete and look at the object; see ``StorageBackend``."""
        parts = await self._parts(ticket)
        size: int | None = None
        if parts is not None:
            chosen = choose(parts, ticket, receipt)
            size = check(sum(one.size for one in chosen), ticket, receipt)
            await self._complete(ticket, chosen)
        found = await self._find(ticket.key)
        if found is None or found[1] != ticket.id:
            raise NotFound(f"nothing was uploaded to {ticket.key}, or the upload was aborted")
        stored = found[0]
        if size not in {None, stored.size}:
            raise StorageUnavailable(f"{ticket.key} has {stored.size} bytes instead of {size}")
        check(stored.size, ticket, receipt)
        return stored

    async def signer(self) -> str:
        """Return the access key that signs now; see ``NamesSigner``."""
        return (await self._source.get()).access_key

    async def rules(self) -> Sequence[Mapping[str, Any]]:
        """Return the bucket's lifecycle rules.

        Raises:
            ClientError: there are none, or they are not shown to us, or to nobody.
        """
        answer = await self._client.get_bucket_lifecycle_configuration(Bucket=self._bucket.name)
        found: Sequence[Mapping[str, Any]] = answer.get("Rules", ())
        return found

    async def _complete(self, ticket: UploadTicket, parts: Sequence[SentPart]) -> None:
        listed = [{"PartNumber": one.number, "ETag": f'"{one.tag}"'} for one in parts]
        with self._told(f"commit {ticket.key}"):
            try:
                await self._client.complete_multipart_upload(
                    **self._upload(ticket), MultipartUpload={"Parts": listed}
                )
            except ClientError as exc:
                # completed by an answer that was lost, or by another one just now, or aborted
                if code_of(exc) not in NO_UPLOAD | NOTHING:
                    raise

    async def abort(self, ticket: UploadTicket) -> None:
        """Abort the upload; see ``StorageBackend``."""
        with self._told(f"abort an upload to {ticket.key}"):
            try:
                await self._client.abort_multipart_upload(**self._upload(ticket))
            except ClientError as exc:
                if code_of(exc) not in NO_UPLOAD | NOTHING:
                    raise

    async def stat(self, key: str) -> StoredObject | None:
        """Return the object, or None when there is none."""
        found = await self._find(key)
        return found[0] if found else None

    async def read(self, key: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Yield the object's bytes; a connection that breaks goes on where it broke."""
        name, what = self._name(key), f"read {key}"
        if start:
            found = await self.stat(key)
            if found is None:
                raise NotFound(f"there is no object {key}")
            if start >= found.size:
                return
        with self._told(what):
            try:
                answer = await obstore.get_async(
                    self._reader, name, options={"range": {"offset": start}} if start else None
                )
            except (PermissionError, obstore.exceptions.BaseError):
                await self._find(key)  # which says what is wrong
                raise
            stream = aiter(answer.stream(min_chunk_size=_CHUNK))
        while True:
            with self._told(what):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            yield bytes(chunk)

    async def write(self, key: str, data: AsyncIterable[bytes]) -> StoredObject:
        """Send ``data``: in one request where it is small, else as an upload of ours."""
        name = self._name(key)
        fresh = new_id(self._clock.now())
        place = {**self._place(name), **described(name, fresh)}
        writing = Writing(self._client, place, lambda: self._told(f"write {key}"))
        try:
            size, digest = await writing.send(data)
        except StorageUnavailable:
            # a server that refuses bytes may close the connection first: this one it answers
            await self._find(key)
            raise
        found = await self._find(key)
        if found is None or found[1] != fresh or found[0].size != size:
            raise StorageUnavailable(f"cannot write {key}: it was replaced or deleted meanwhile")
        return attrs.evolve(found[0], sha256=digest)

    async def walk(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Yield what the server lists, which is in order of the keys."""
        async for page in self._pages(prefix):
            for one in page:
                yield StoredObject(
                    key=one["Key"].removeprefix(self._before),
                    size=one["Size"],
                    modified_at=one["LastModified"].astimezone(UTC),
                )

    async def delete(self, prefix: str) -> int:
        """Delete an object, or all below a prefix in batches; see ``StorageBackend``."""
        if prefix.endswith("/"):
            return sum([await self._delete_all(prefix, page) async for page in self._pages(prefix)])
        found = await self._find(prefix)
        if found is None:
            return 0
        with self._told(f"delete {prefix}"):
            await self._client.delete_object(**self._place(self._name(prefix)))
        return 1

    async def _delete_all(self, prefix: str, page: Sequence[Mapping[str, Any]]) -> int:
        objects = [{"Key": one["Key"]} for one in page]
        with self._told(f"delete {prefix}"):
            answer = await self._client.delete_objects(
                Bucket=self._bucket.name, Delete={"Objects": objects, "Quiet": True}
            )
        if errors := answer.get("Errors"):
            first = errors[0]
            raise StorageUnavailable(
                f"cannot delete {len(errors)} objects below {prefix}: {first.get('Code')}",
                hint="the credentials need the right s3:DeleteObject",
            )
        return len(objects)

    async def _pages(self, prefix: str) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        if not prefix.endswith("/"):
            raise DataRefused(f"{prefix!r} is no prefix", hint="a prefix ends in '/'")
        asked: dict[str, Any] = {
            "Bucket": self._bucket.name,
            "Prefix": f"{self._name(prefix.removesuffix('/'))}/",
            "MaxKeys": _BATCH,
        }
        while True:
            with self._told(f"list {prefix}"):
                answer = await self._client.list_objects_v2(**asked)
            if found := answer.get("Contents"):
                yield found
            if not answer.get("IsTruncated"):
                return
            asked["ContinuationToken"] = answer["NextContinuationToken"]

    async def _parts(self, ticket: UploadTicket) -> Sequence[SentPart] | None:
        """Return the parts of an upload by number; None where it is not open."""
        asked: dict[str, Any] = self._upload(ticket)
        found: list[SentPart] = []
        while True:
            with self._told(f"look up an upload to {ticket.key}"):
                try:
                    answer = await self._client.list_parts(**asked)
                except ClientError as exc:
                    if code_of(exc) in NO_UPLOAD | NOTHING:
                        return None
                    raise
            found += [
                SentPart(number=one["PartNumber"], size=one["Size"], tag=one["ETag"].strip('"'))
                for one in answer.get("Parts", ())
            ]
            if not answer.get("IsTruncated"):
                return found
            asked["PartNumberMarker"] = answer["NextPartNumberMarker"]

    async def _find(self, key: str) -> tuple[StoredObject, str] | None:
        """Return the object and the id of the ticket that made it."""
        name = self._name(key)
        with self._told(f"look up {key}"):
            try:
                found = await self._client.head_object(**self._place(name))
            except ClientError as exc:
                # an answer to HEAD has no body: is it the bucket that is not there, and why not?
                await self._client.list_objects_v2(Bucket=self._bucket.name, Prefix=name, MaxKeys=1)
                if code_of(exc) in NOTHING:
                    return None
                raise
        stored = StoredObject(
            key=key,
            size=found["ContentLength"],
            modified_at=found["LastModified"].astimezone(UTC),
            sha256=found["Metadata"].get(SHA256),
        )
        return stored, found["Metadata"].get(TICKET, "")

    async def _valid(self, expires: timedelta) -> tuple[Credentials, datetime, int]:
        """Return what signs, from when and for how many seconds: no longer than a session lives."""
        credentials = await self._source.get()
        at = self._clock.now().replace(microsecond=0)
        seconds = min(int(expires.total_seconds()), LONGEST)
        if credentials.expires_at is not None:
            seconds = min(seconds, int((credentials.expires_at - at).total_seconds()))
        if seconds < 1:
            raise StorageUnavailable(
                "cannot sign requests: the session token has expired",
                hint="renew the credentials of [storage]",
            )
        return credentials, at, seconds

    def _name(self, key: str) -> str:
        check_key(key)
        return self._before + key

    def _place(self, name: str) -> dict[str, Any]:
        return {"Bucket": self._bucket.name, "Key": name}

    def _upload(self, ticket: UploadTicket) -> dict[str, Any]:
        return {**self._place(self._name(ticket.key)), "UploadId": ticket.upload_id}

    def _told(self, what: str) -> AbstractContextManager[None]:
        return told(what, bucket=self._bucket.name, clock=self._clock)


def described(name: str, ticket_id: str) -> dict[str, Any]:
    """Return what is said of an object: which upload made it, and that no browser shows it."""
    return {
        "Metadata": {TICKET: ticket_id},
        "ContentType": "application/octet-stream",
        "ContentDisposition": f'attachment; filename="{name.rpartition("/")[2]}"',
    }
