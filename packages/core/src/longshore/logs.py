"""The log of a job: live from its engine while it runs, from the storage afterwards.

The bytes at an offset are the same in both, so a reader goes from one to the other unnoticed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

from longshore.backends.abc import WorkflowBackend
from longshore.clock import Clock
from longshore.errors import Denied, NotFound
from longshore.keys import attempt_key
from longshore.lifecycle import JobState
from longshore.models import Job, LogRule, run_ref
from longshore.service import JobService
from longshore.storages.abc import StorageBackend

#: how often a follower looks for more
_LOOK_AGAIN = timedelta(milliseconds=200)
#: and at a worker that has said nothing for some seconds
_SELDOM = timedelta(seconds=1)
_NO_LOG = frozenset({JobState.CREATED, JobState.QUEUED})

FindBackend = Callable[[str], Awaitable[WorkflowBackend]]


class Logs:
    """Reads logs for consumers, as the workflow's release allows."""

    def __init__(
        self,
        service: JobService,
        storage: StorageBackend,
        find_backend: FindBackend,
        clock: Clock,
        instance: str,
    ) -> None:
        self._service = service
        self._storage = storage
        self._find_backend = find_backend
        self._clock = clock
        self._instance = instance

    async def read(
        self, tenant: str | None, job_id: str, *, start: int = 0, follow: bool = False
    ) -> AsyncIterator[bytes]:
        """Yield the log from byte ``start`` on; with ``follow`` until the job is final.

        Raises:
            NotFound: the tenant has no such job.
            Denied: the workflow does not show its log, or not yet.
        """
        pause = _LOOK_AGAIN
        while True:
            job, before = await self.check(tenant, job_id), start
            async for chunk in self._chunks(job, start):
                start += len(chunk)
                yield chunk
            if job.is_final or not follow:
                return
            pause = _LOOK_AGAIN if start > before else min(pause * 1.25, _SELDOM)
            await self._clock.sleep(pause)

    async def check(self, tenant: str | None, job_id: str) -> Job:
        """Return a job whose log may be read now; raises as ``read``."""
        job = await self._service.job(tenant, job_id)
        rule = (await self._service.workflow_of(job)).release.logs
        if rule is LogRule.NONE:
            raise Denied("this workflow keeps its log to the provider", reason="log-withheld")
        if rule is LogRule.AFTER_RELEASE and not job.is_final:
            raise Denied(
                "this workflow shows its log after the end only",
                reason="log-withheld",
                hint="ask again when the job is final",
            )
        return job

    async def _chunks(self, job: Job, start: int) -> AsyncIterator[bytes]:
        if not job.is_final:
            if job.state not in _NO_LOG:
                backend = await self._find_backend(job.backend)
                async for chunk in backend.logs(run_ref(job), start=start):
                    yield chunk
            return
        try:
            async for chunk in self._storage.read(
                attempt_key(self._instance, job, "log"), start=start
            ):
                yield chunk
        except NotFound:  # a job that never ran, or was purged, has none
            return
