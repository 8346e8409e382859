"""Jobs and their outputs, as a program that blocks holds them."""

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread
import attrs

from longshore.bridge import Bridge
from longshore.embedded import Embedded
from longshore.errors import ChecksumMismatch, JobFailed, NotFound
from longshore.models import LOCAL, Job, JobEvent, JobState, Product

_CHUNK = 1024**2
#: told how many bytes were carried since the last call
Advance = Callable[[int], None]


def _silent(_: int) -> None:
    """Report no progress."""


@attrs.frozen
class Output:
    """A committed output of a job."""

    product: Product
    _job_id: str
    _bridge: Bridge

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes."""
        yield from self._bridge.stream(
            lambda it: it.host.service.read_output(LOCAL, self._job_id, self.product.name)
        )

    def read_bytes(self) -> bytes:
        """Return all bytes."""
        return b"".join(self.chunks())

    def save(self, into: Path, progress: Advance = _silent) -> Path:
        """Store the output in the directory ``into`` under its name, and return its path.

        The file appears whole, with the checksum of the manifest, or not at all.

        Raises:
            ChecksumMismatch: the bytes are not those that the job made.
            OSError: it cannot be written.
        """
        into.mkdir(parents=True, exist_ok=True)
        target = into / self.product.name
        sha256 = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=into, prefix=".longshore-", delete=False) as draft:
            try:
                for chunk in self.chunks():
                    sha256.update(chunk)
                    draft.write(chunk)
                    progress(len(chunk))
                self._check(sha256.hexdigest())
                draft.close()
                Path(draft.name).chmod(0o644)
                Path(draft.name).replace(target)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise
        return target

    def _check(self, sha256: str) -> None:
        if sha256 != self.product.sha256:
            raise ChecksumMismatch(f"output {self.product.name!r} is not what was stored")


class JobHandle:
    """A job of an open ``Longshore``."""

    def __init__(self, bridge: Bridge, job_id: str) -> None:
        self._bridge = bridge
        self.id = job_id

    @property
    def job(self) -> Job:
        """The job as it is now."""
        return self._bridge.call(lambda it: it.host.service.job(LOCAL, self.id))

    @property
    def state(self) -> JobState:
        """The job's state now."""
        return self.job.state

    @property
    def outputs(self) -> Mapping[str, Output]:
        """What the job made, by name; empty until it is final."""
        job = self.job
        products = () if job.purged else job.products
        return {one.name: Output(one, self.id, self._bridge) for one in products}

    def output(self, name: str) -> Output:
        """Return the output ``name``.

        Raises:
            NotFound: the job did not make it, or not yet.
        """
        outputs = self.outputs
        if name not in outputs:
            made = ", ".join(outputs) or "none"
            raise NotFound(f"job {self.id} has no output {name!r}", hint=f"it has {made}")
        return outputs[name]

    def put_input(self, name: str, source: Path, progress: Advance = _silent) -> Job:
        """Send the file, or for an archive the directory, ``source`` as the input ``name``.

        Raises:
            NotFound: the workflow has no such input.
            DataRefused: more than the workflow allows, or a directory with special files.
            RequestInvalid: an env input with lines or names that are not allowed.
            OSError: it cannot be read.
        """
        with _sendable(source) as file:
            return self._bridge.call(
                lambda it: it.host.service.put_input(LOCAL, self.id, name, _read(file, progress))
            )

    def start(self) -> Job:
        """Queue the job, whose inputs are there; repeatable.

        Raises:
            InputsMissing: they are not.
        """
        job = self._bridge.call(lambda it: it.host.service.start(LOCAL, self.id))
        self._bridge.engage()
        return job

    def wait(self, timeout: float | None = None) -> Job:
        """Return the job when it is final.

        Raises:
            TimeoutError: it is not, after ``timeout`` seconds.
        """

        async def end(it: Embedded) -> Job:
            job = await it.host.service.job(LOCAL, self.id)
            if job.is_final:  # also for who cannot wait at all
                return job
            with anyio.fail_after(timeout):
                async for _ in it.host.service.follow(LOCAL, self.id):
                    pass
            return await it.host.service.job(LOCAL, self.id)

        self._bridge.engage()
        return self._bridge.call(end)

    def result(self, timeout: float | None = None) -> Mapping[str, Output]:
        """Wait, and return the outputs of a job that succeeded.

        Raises:
            JobFailed: the job FAILED or was CANCELED; the error says why.
            TimeoutError: it is not final after ``timeout`` seconds.
        """
        job = self.wait(timeout)
        if job.state is not JobState.SUCCEEDED:
            why = job.reason
            raise JobFailed(
                f"job {job.id} {job.state}" + (f": {why.message}" if why else ""),
                reason_code=why.code if why else "",
                hint=why.hint if why else "",
            )
        return self.outputs

    def cancel(self) -> Job:
        """Ask for the job's end; durable when it returns, and repeatable."""
        job = self._bridge.call(lambda it: it.host.service.cancel(LOCAL, self.id))
        self._bridge.engage()
        return job

    def events(self, after: int = 0, *, follow: bool = False) -> Iterator[JobEvent]:
        """Yield the job's events above ``after``; following ends after the final one."""
        while not follow:
            page = self._bridge.call(partial(self._page, after))
            if not page:
                return
            yield from page
            after = page[-1].seq
        self._bridge.engage()
        yield from self._bridge.stream(
            lambda it: it.host.service.follow(LOCAL, self.id, after=after)
        )

    async def _page(self, after: int, it: Embedded) -> list[JobEvent]:
        return await it.host.service.events(LOCAL, self.id, after=after)

    def logs(self, start: int = 0, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the log from byte ``start`` on; following ends when the job is final."""
        if follow:
            self._bridge.engage()
        yield from self._bridge.stream(
            lambda it: it.host.logs.read(LOCAL, self.id, start=start, follow=follow)
        )


@contextmanager
def _sendable(source: Path) -> Iterator[BinaryIO]:
    """Open a file as it is, and a directory as an archive."""
    if not source.is_dir():
        with source.open("rb") as file:
            yield file
        return
    from longshore.staging.packing import pack  # noqa: PLC0415 - archives at first use

    directory = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with tempfile.TemporaryFile() as packed:
            packed.writelines(pack(directory))
            packed.seek(0)
            yield packed
    finally:
        os.close(directory)


async def _read(file: BinaryIO, progress: Advance) -> AsyncIterator[bytes]:
    while chunk := await anyio.to_thread.run_sync(file.read, _CHUNK):
        progress(len(chunk))
        yield chunk
