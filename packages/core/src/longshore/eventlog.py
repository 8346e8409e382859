"""The event log downstream: whoever reads gets every event of a job once, in order.

A follower replays from the store, then follows what is published, and drops by seq. What was
published is a hint only: a gap, a lag, or another process's event is read from the store.
"""

from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import anyio

from longshore.lifecycle import FINAL
from longshore.models import JobEvent
from longshore.stores.abc import Store

#: events a follower may be behind before it must read from the store again
_BUFFER = 256
_PAGE = 1000


class _Listener:
    """What was published for one follower and not taken yet."""

    __slots__ = ("events", "woken")

    def __init__(self) -> None:
        self.events: deque[JobEvent] = deque(maxlen=_BUFFER)  # one that is full loses the oldest
        self.woken = anyio.Event()

    async def take(self, patience: float) -> Sequence[JobEvent]:
        """Return what was published since the last call; nothing where nothing comes."""
        if not self.events:
            self.woken = anyio.Event()
            with anyio.move_on_after(patience):
                await self.woken.wait()
        taken = tuple(self.events)
        self.events.clear()
        return taken


class EventLog:
    """The followers of one process.

    ``poll`` is how often events of other processes are looked for.
    """

    def __init__(self, store: Store, *, poll: timedelta = timedelta(seconds=0.5)) -> None:
        self._store = store
        self._poll = poll.total_seconds()
        self._listeners: defaultdict[str, set[_Listener]] = defaultdict(set)

    def publish(self, events: Sequence[JobEvent]) -> None:
        """Hand events that are stored to the followers of this process; never waits."""
        if not events or events[0].job_id not in self._listeners:
            return
        for listener in self._listeners[events[0].job_id]:
            listener.events.extend(events)
            listener.woken.set()

    @contextmanager
    def _listen(self, job_id: str) -> Iterator[_Listener]:
        listener = _Listener()
        self._listeners[job_id].add(listener)
        try:
            yield listener
        finally:
            self._listeners[job_id].discard(listener)
            if not self._listeners[job_id]:
                del self._listeners[job_id]

    async def follow(self, job_id: str, *, after: int = 0) -> AsyncGenerator[JobEvent, None]:
        """Yield the job's events with a seq above ``after``, as they come, to its final state.

        Of a job that was final before, or that is unknown, it yields what there is and ends.

        Raises:
            StoreUnavailable: the events cannot be read now; follow again after the last seq seen.
        """
        with self._listen(job_id) as published:
            job = await self._store.job(job_id)
            is_over = job is None or job.is_final
            after = min(after, job.seq if job else 0)  # what is not there yet is not skipped
            while True:
                stored = await self._stored(job_id, after)
                for event in stored:
                    after = event.seq
                    yield event
                    if _is_last(event) and not is_over:
                        return
                if len(stored) == _PAGE:
                    continue
                if is_over:
                    return
                async for event in self._fresh(published, after):
                    after = event.seq
                    yield event
                    if _is_last(event):
                        return

    async def _stored(self, job_id: str, after: int) -> Sequence[JobEvent]:
        job = await self._store.job(job_id)  # is quick, and mostly says that nothing is new
        if job is None or job.seq <= after:
            return ()
        return await self._store.events(job_id, after=after, limit=_PAGE)

    async def _fresh(self, published: _Listener, after: int) -> AsyncIterator[JobEvent]:
        """Yield what is published after ``after`` without a gap, until nothing comes."""
        while taken := await published.take(self._poll):
            for event in taken:
                if event.seq == after + 1:
                    after = event.seq
                    yield event
                elif event.seq > after:  # the follower was too slow: the store has what it lacks
                    return


def _is_last(event: JobEvent) -> bool:
    return event.data.get("state") in FINAL
