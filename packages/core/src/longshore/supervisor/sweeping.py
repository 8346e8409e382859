"""The sweeper: drops uploads that were begun and that no job will ever end.

A process that is killed between preparing an upload and keeping its ticket leaves one.
"""

import logging
from datetime import timedelta

import attrs

from longshore.clock import Clock
from longshore.errors import RetryError
from longshore.lifecycle import FINAL, JobState
from longshore.storages.abc import ListsUploads, StorageBackend
from longshore.stores.abc import JobQuery, Store

_DAY = timedelta(days=1)
_TRY_AGAIN = timedelta(minutes=10)
_UNFINISHED = tuple(state for state in JobState if state not in FINAL)
_log = logging.getLogger("longshore.storage")


class UploadSweeper:
    """Sweeps a storage that lists its uploads; others have rules of their own for them."""

    def __init__(self, store: Store, storage: StorageBackend, clock: Clock) -> None:
        self._store = store
        self._storage = storage
        self._clock = clock

    async def run(self) -> None:
        """Sweep now and every day, for ever."""
        while isinstance(self._storage, ListsUploads):
            pause = _DAY
            try:
                await self.sweep(self._storage)
            except RetryError as exc:
                _log.warning("uploads that no job knows stay: %s", exc)
                pause = _TRY_AGAIN
            except Exception:  # noqa: BLE001 - a plug-in's defect, and jobs are cared for beside it
                _log.exception("uploads that no job knows stay")
            await self._clock.sleep(pause)

    async def sweep(self, uploads: ListsUploads) -> None:
        """Drop every upload older than a day that is of no unfinished job."""
        # listed before the jobs: what is prepared meanwhile is not among them
        old = await uploads.unfinished(before=self._clock.now() - _DAY)
        known = await self._known() if old else set[str]()
        dropped = [one for one in old if one.upload_id not in known]
        for one in dropped:
            await self._storage.abort(one)
        if dropped:
            _log.info("%d uploads that no job knows are dropped", len(dropped))

    async def _known(self) -> set[str]:
        known: set[str] = set()
        query = JobQuery(states=_UNFINISHED, limit=1000)
        while page := await self._store.jobs(query):
            for job in page:
                known |= {one.ticket.upload_id for one in await self._store.transfers(job.id)}
            query = attrs.evolve(query, before=page[-1].id)
        return known
