"""Jobs' results as a file system of fsspec, to read: ``longshore://<job>/outputs/<name>``.

```python
import fsspec

with fsspec.open("longshore://01k9.../outputs/counts") as file:
    print(file.read(100))
```

fsspec finds it by the entry point ``fsspec.specs``; nothing else imports this module.
"""

import errno
import os
import tempfile
import weakref
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import anyio
from fsspec.asyn import AsyncFileSystem, sync
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractBufferedFile

from longshore_client.configfile import known_server
from longshore_client.entries import directory_entry, file_entry, job_entry
from longshore_client.errors import Denied, LongshoreError, NotFound, Unauthenticated
from longshore_client.models import Job
from longshore_client.places import FILES, Kind, Place, parse
from longshore_client.results import (
    LogResult,
    Result,
    copy,
    job_of,
    log_of,
    output_of,
    outputs_of,
)
from longshore_client.retrying import Retry
from longshore_client.session import Json
from longshore_client.transport import Transport, path as route

#: jobs that ``ls("longshore://")`` lists, and those of one request
MOST_JOBS, _PAGE = 1000, 500
#: requests at a time of calls for several files
_AT_ONCE = 16
#: outputs whose size and URL are remembered, for reading many ranges
_MOST_KEPT = 1024
_READING = ("block_size", "cache_type", "cache_options", "verify")
_ERRNO = ((NotFound, errno.ENOENT), (Unauthenticated, errno.EACCES), (Denied, errno.EACCES))


class LongshoreFileSystem(AsyncFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The jobs of one tenant: their outputs, and their logs.

    Args:
        server: its address; else ``$LONGSHORE_SERVER``, else that of ``longshore login``.
        token: else ``$LONGSHORE_TOKEN``, else the one that ``longshore login`` kept for it.
        retry: how failed calls are repeated.
        batch_size: requests at a time of calls for several files.
        reading: how files are read where ``open`` does not say it: its ``block_size``,
            ``cache_type``, ``cache_options`` and ``verify``; ``fsspec.open`` gives them here.

    What cannot be read is a FileNotFoundError with the reason; a token that is refused, or a log
    that is withheld, is a PermissionError; everything else is an OSError. Nothing can be written.

    Raises:
        RequestError: no server is known, or it has no address.
    """

    protocol = "longshore"

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        *,
        retry: Retry | None = None,
        batch_size: int = _AT_ONCE,
        **reading: Any,
    ) -> None:
        self._reading = {name: reading.pop(name) for name in _READING if name in reading}
        super().__init__(batch_size=batch_size, **reading)
        known = known_server(server, token)
        self._transport = Transport(known.url, known.token, retry=retry)
        self._kept: dict[str, Result] = {}
        if not self.asynchronous:
            closing = weakref.finalize(self, _close, self._loop, self._transport, os.getpid())
            closing.atexit = False

    @property
    def fsid(self) -> str:
        """Which server's jobs these are."""
        return f"longshore-{self._transport.server}"

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Return how to make it again; without the token where no password is wanted."""
        options: dict[str, Any] = super().to_dict(include_password=include_password)
        if not include_password:
            options.pop("token", None)
        return options

    def _bare(self, path: str) -> str:
        return str(self._strip_protocol(path))

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """Raise what goes wrong as the error of a file system."""
        try:
            yield
        except LongshoreError as error:
            if isinstance(error, Unauthenticated):  # a later call looks for a token anew
                self.clear_instance_cache()
            number = next((one for kind, one in _ERRNO if isinstance(error, kind)), errno.EIO)
            raise OSError(number, str(error), self.unstrip_protocol(path)) from error

    # what there is

    async def _info(self, path: str, **_: Any) -> Json:
        path = self._bare(path)
        with self._told(path):
            place = parse(path)
            if place.kind is Kind.JOB:
                return job_entry(await job_of(self._transport, place.job))
            if place.kind is Kind.OUTPUTS:
                await outputs_of(self._transport, place.job)
            elif place.kind in FILES:
                return (await self._look(place))[0]
            return directory_entry(place)

    async def _ls(
        self,
        path: str,
        detail: bool = True,  # noqa: FBT001, FBT002 - fsspec's
        limit: int = MOST_JOBS,
        state: str | Sequence[str] = (),
        workflow: str | None = None,
        **_: Any,
    ) -> list[Any]:
        """List a job, its outputs, or the newest ``limit`` jobs, of these states and workflow."""
        path = self._bare(path)
        with self._told(path):
            place = parse(path)
            if place.kind is Kind.ROOT:
                entries = await self._jobs(limit, {"state": state, "workflow": workflow})
            elif place.kind is Kind.JOB:
                entries = await self._job(place.job)
            elif place.kind is Kind.OUTPUTS:
                entries = await self._outputs(place.job)
            else:
                entries = [(await self._look(place))[0]]
        return entries if detail else [one["name"] for one in entries]

    async def _jobs(self, limit: int, selection: Json) -> list[Json]:
        found: list[Json] = []
        query: Json = {name: value for name, value in selection.items() if value}
        while len(found) < limit:
            query["limit"] = min(_PAGE, limit - len(found))
            page = await self._transport.json("GET", route("jobs"), query=query)
            found += [job_entry(Job.from_wire(one)) for one in page["items"]]
            if not page.get("next"):
                break
            query["cursor"] = page["next"]
        return found

    async def _job(self, job_id: str) -> list[Json]:
        job = await job_of(self._transport, job_id)
        entries = [directory_entry(Place(Kind.OUTPUTS, job_id))]
        if not job.raw.get("purged"):
            with suppress(Denied):  # then there is none for whoever asks
                entries.append((await self._look(Place(Kind.LOG, job_id)))[0])
        return entries

    async def _outputs(self, job_id: str) -> list[Json]:
        entries = []
        for item, result in await outputs_of(self._transport, job_id):
            place = Place(Kind.OUTPUT, job_id, str(item["name"]))
            self._keep(place, result)
            entries.append(file_entry(place, result, item))
        return entries

    async def _look(self, place: Place) -> tuple[Json, Result]:
        """Return a file as it is now."""
        if place.kind is Kind.LOG:
            log = await log_of(self._transport, place.job)
            return file_entry(place, log), log
        self._kept.pop(place.path, None)
        item, output = await output_of(self._transport, place.job, place.name)
        self._keep(place, output)
        return file_entry(place, output, item), output

    def _keep(self, place: Place, result: Result) -> None:
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[place.path] = result

    async def _walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,  # noqa: FBT001, FBT002 - fsspec's
        on_error: Any = "omit",
        **more: Any,
    ) -> AsyncGenerator[Any, None]:
        if on_error == "omit":  # what is not there; not everything that goes wrong
            on_error = _unless_missing
        if not topdown:  # which an older fsspec does not know
            more["topdown"] = False
        async for found in super()._walk(path, maxdepth=maxdepth, on_error=on_error, **more):
            yield found

    def checksum(self, path: str) -> int:
        """Return a number that is another one where the content is; of an output its sha256."""
        sha256 = self.info(path).get("sha256")
        return int(sha256, 16) if sha256 else int(super().checksum(path))

    def ukey(self, path: str) -> str:
        """Return a text that is another one where the content is."""
        return f"{self.checksum(path):064x}"

    # reading

    async def _result(self, path: str) -> Result:
        """Return the file at ``path``; IsADirectoryError where there is none, but a directory."""
        place = parse(path)
        if place.kind not in FILES:
            await self._info(path)
            said = "this is a directory"
            raise IsADirectoryError(errno.EISDIR, said, self.unstrip_protocol(path))
        return (await self._look(place))[1]

    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """Return a file, checked against its sha256; or a part of it."""
        path = self._bare(path)
        async with self._there(path):
            result = self._kept.get(path) or await self._result(path)
            if start is None and end is None:
                return b"".join([chunk async for chunk in result.chunks()])
            first, behind, _step = slice(start, end).indices(result.size)
            return await result.read(first, behind)

    async def _read(self, path: str, result: Result, start: int, end: int) -> bytes:
        async with self._there(path):
            return await result.read(start, min(end, result.size))

    @asynccontextmanager
    async def _there(self, path: str) -> AsyncGenerator[None, None]:
        """Say of a file that was found before, and is no longer there, why."""
        with self._told(path):
            try:
                yield
            except NotFound:
                if self._kept.pop(path, None) is not None:
                    await self._result(path)
                raise

    async def _get_file(
        self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **_: Any
    ) -> None:
        """Store a file, which appears whole and checked or not at all."""
        path = self._bare(rpath)
        with self._told(path):
            if parse(path).kind not in FILES:
                await anyio.Path(lpath).mkdir(parents=True, exist_ok=True)
                return
            result = await self._result(path)
            callback.set_size(result.size)
            if hasattr(lpath, "write"):
                await copy(result, lpath, callback.relative_update)
            else:
                await result.store(Path(lpath), callback.relative_update)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,  # noqa: ARG002, FBT001, FBT002 - fsspec's
        cache_options: Json | None = None,
        **more: Any,
    ) -> Any:
        """Return a file to read, by blocks of ``block_size`` bytes.

        Args:
            path: of an output or a log.
            mode: ``rb``; there is no other.
            block_size: of what is read ahead, 5 MiB where it is not given.
            autocommit: means nothing here.
            cache_options: of the cache.
            more: ``cache_type``, one of fsspec's caches, and ``verify``: fetch all of it into a
                temporary file first, and compare its sha256.
        """
        if mode != "rb":
            raise _read_only(path)
        given = {"block_size": block_size, "cache_options": cache_options, **more}
        chosen = {
            name: self._reading.get(name) if given.get(name) is None else given[name]
            for name in _READING
        }
        with self._told(path):
            result: Any = sync(self.loop, self._result, path)
            if chosen.pop("verify"):
                return self._verified(path, result)
        return ResultFile(self, path, result, **chosen)

    def _verified(self, path: str, result: Result) -> IO[bytes]:
        if isinstance(result, LogResult):
            raise ValueError(f"{self.unstrip_protocol(path)} has no checksum to verify")  # noqa: TRY004 - it is the option that is wrong
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            sync(self.loop, copy, result, file, lambda _: None)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file


async def _refuse(_: LongshoreFileSystem, *paths: Any, **__: Any) -> None:
    raise _read_only(paths[-1] if paths else "")


def _refuse_at_once(_: LongshoreFileSystem, path: str, *__: Any, **___: Any) -> None:
    raise _read_only(path)


for _name in ("_copy", "_cp_file", "_makedirs", "_mkdir", "_mv_file", "_pipe", "_pipe_file",
              "_put", "_put_file", "_rm", "_rm_file"):  # fmt: skip
    setattr(LongshoreFileSystem, _name, _refuse)
for _name in ("rmdir", "touch"):
    setattr(LongshoreFileSystem, _name, _refuse_at_once)


class ResultFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """An open file of a ``LongshoreFileSystem``."""

    def __init__(
        self,
        fs: LongshoreFileSystem,
        path: str,
        result: Result,
        *,
        cache_type: str | None = None,
        **options: Any,
    ) -> None:
        self._result = result
        super().__init__(
            fs, path, cache_type=cache_type or "readahead", size=result.size, **options
        )

    def _fetch_range(self, start: int, end: int) -> Any:
        read = self.fs._read  # noqa: SLF001 - the other half of this
        return sync(self.fs.loop, read, self.path, self._result, start, end)


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _read_only(path: Any) -> OSError:
    return OSError(errno.EROFS, "results of jobs can only be read (mode 'rb')", str(path))


def _close(loop: Any, transport: Transport, pid: int) -> None:
    """Close the connections of a file system that nobody has any more, from whatever thread."""
    if pid == os.getpid() and loop.is_running():
        loop.call_soon_threadsafe(lambda: loop.create_task(transport.close()))
