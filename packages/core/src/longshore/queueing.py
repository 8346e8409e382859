"""Where a job stands among those that wait for the same backend."""

from bisect import bisect_left
from datetime import datetime, timedelta

from longshore.clock import Clock
from longshore.models import Job, JobState
from longshore.stores.abc import Store

#: a queue that was read is good enough for this long
_LIFE = timedelta(seconds=1)
#: whoever waits behind so many learns no place
MOST = 10_000


class QueuePlaces:
    """The queues of all backends, each read once for everybody who asks within a second."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._queues: dict[str, tuple[datetime, list[str]]] = {}

    async def place(self, job: Job) -> int | None:
        """Return how many jobs are before this one.

        None where it does not wait for a slot, or more than ``MOST`` are before it.
        """
        if job.state is not JobState.QUEUED or job.dispatched:
            return None
        now = self._clock.now()
        read_at, waiting = self._queues.get(job.backend, (now, None))
        if waiting is None or now - read_at >= _LIFE or read_at > now:
            if waiting is not None:  # meanwhile others go on with what was read before
                self._queues[job.backend] = (now, waiting)
            waiting = await self._store.waiting_ids(job.backend, limit=MOST)
            self._queues[job.backend] = (now, waiting)
        place = bisect_left(waiting, job.id)
        return place if place < MOST else None
