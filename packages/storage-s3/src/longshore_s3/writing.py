"""Sending bytes through this process: all of them, or nothing."""

import base64
import hashlib
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any

import anyio
import anyio.to_thread
from botocore.exceptions import ClientError

from longshore_s3.failing import NO_UPLOAD, code_of
from longshore_s3.parts import PART_SIZE

#: in an object's metadata: what is in it, where that was known before it was sent
SHA256 = "longshore-sha256"
#: what fits is one request, which is whole or not there
_SMALL = 8 * 1024**2
#: parts that are on their way at a time
_AT_ONCE = 4
#: so many have one size, then as many twice the size: S3 takes 10,000
_SAME = 1000
_PATIENCE = 10.0

Told = Callable[[], AbstractContextManager[None]]


class Writing:
    """One object on its way. ``place`` is where, with what is said of it; ``told`` names errors."""

    def __init__(self, client: Any, place: Mapping[str, Any], told: Told) -> None:
        self._client = client
        self._place = dict(place)
        self._told = told
        self._digest = hashlib.sha256()
        self._size = 0

    async def send(self, data: AsyncIterable[bytes]) -> tuple[int, str]:
        """Send ``data``; return its size and sha256.

        What ``data`` raises is raised as it is, and nothing is stored.
        """
        buffer = bytearray()
        source = aiter(data)
        async for chunk in source:
            buffer += chunk
            if len(buffer) > _SMALL:
                await self._send_parts(buffer, source)
                break
        else:
            await self._send_small(bytes(buffer))
        return self._size, self._digest.hexdigest()

    async def _send_small(self, body: bytes) -> None:
        md5 = await self._count(body)
        said = {**self._place["Metadata"], SHA256: self._digest.hexdigest()}
        with self._told():
            await self._client.put_object(
                **{**self._place, "Metadata": said}, Body=body, ContentMD5=md5
            )

    async def _send_parts(self, buffer: bytearray, source: AsyncIterable[bytes]) -> None:
        with self._told():
            begun = await self._client.create_multipart_upload(**self._place)
        upload = {name: self._place[name] for name in ("Bucket", "Key")}
        upload["UploadId"] = begun["UploadId"]
        try:
            parts = await self._all_parts(upload, buffer, source)
            with self._told():
                await self._complete(upload, parts)
        except BaseException:
            # what remains after that is left to the bucket's rule
            with anyio.move_on_after(_PATIENCE, shield=True), suppress(Exception):
                await self._client.abort_multipart_upload(**upload)
            raise

    async def _complete(self, upload: Mapping[str, Any], parts: Mapping[int, str]) -> None:
        listed = [{"PartNumber": number, "ETag": parts[number]} for number in sorted(parts)]
        try:
            await self._client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": listed}
            )
        except ClientError as exc:
            if code_of(exc) not in NO_UPLOAD:  # tried again after an answer that was lost
                raise

    async def _all_parts(
        self, upload: Mapping[str, Any], buffer: bytearray, source: AsyncIterable[bytes]
    ) -> Mapping[int, str]:
        done: dict[int, str] = {}
        room = anyio.Semaphore(_AT_ONCE)

        async def send(number: int, body: bytes, md5: str) -> None:
            try:
                with self._told():
                    answer = await self._client.upload_part(
                        **upload, PartNumber=number, Body=body, ContentMD5=md5
                    )
                done[number] = answer["ETag"]
            finally:
                room.release()

        async def begin() -> None:
            number = begun[0] = begun[0] + 1
            body = bytes(buffer[: _size_of(number)])
            del buffer[: len(body)]
            await room.acquire()
            tasks.start_soon(send, number, body, await self._count(body))

        begun = [0]
        try:
            async with anyio.create_task_group() as tasks:
                async for chunk in source:
                    buffer += chunk
                    while len(buffer) >= _size_of(begun[0] + 1):
                        await begin()
                while buffer:
                    await begin()
        except BaseExceptionGroup as group:
            raise _first(group) from None
        return done

    async def _count(self, body: bytes) -> str:
        """Count the next bytes in; return their Content-MD5."""

        def hashed() -> str:
            self._digest.update(body)
            # what the protocol wants; it protects from mistakes, not from people
            return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()

        self._size += len(body)
        return await anyio.to_thread.run_sync(hashed)


def _size_of(number: int) -> int:
    return PART_SIZE << ((number - 1) // _SAME)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
