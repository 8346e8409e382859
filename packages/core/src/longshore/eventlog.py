"""The event log downstream: whoever reads gets every event of a job once, in order.

A follower replays from the store, then follows what is published, and drops by seq. What was
published is a hint only: a gap, a lag, or another process's event is read from the store.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from longshore.lifecycle import FINAL
from longshore.models import JobEvent
from longshore.stores.abc import Store

#: events a follower may be behind before it must read from the store again
_BUFFER = 256
_PAGE = 1000

Listener = MemoryObjectSendStream[JobEvent]


class EventLog:
    """The followers of one process.

    ``poll`` is how often events of other processes are looked for.
    """

    def __init__(self, store: Store, *, poll: timedelta = timedelta(seconds=0.5)) -> None:
        self._store = store
        self._poll = poll.total_seconds()
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)

    def publish(self, events: Sequence[JobEvent]) -> None:
        """Hand events that are stored to the followers of this process; never waits."""
        if not events or events[0].job_id not in self._listeners:
            return
        for listener in self._listeners[events[0].job_id]:
            for event in events:
                try:
                    listener.send_nowait(event)
                except anyio.WouldBlock:
                    break  # the follower sees the gap and reads the store

    @contextmanager
    def _listen(self, job_id: str) -> Iterator[anyio.abc.ObjectReceiveStream[JobEvent]]:
        sender, receiver = anyio.create_memory_object_stream[JobEvent](_BUFFER)
        self._listeners[job_id].add(sender)
        try:
            yield receiver
        finally:
            self._listeners[job_id].discard(sender)
            if not self._listeners[job_id]:
                del self._listeners[job_id]
            sender.close()
            receiver.close()

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
                stored = await self._store.events(job_id, after=after, limit=_PAGE)
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

    async def _fresh(
        self, published: anyio.abc.ObjectReceiveStream[JobEvent], after: int
    ) -> AsyncIterator[JobEvent]:
        """Yield what is published after ``after`` without a gap, until nothing comes."""
        while True:
            event: JobEvent | None = None
            with anyio.move_on_after(self._poll):
                event = await published.receive()
            if event is None:
                return
            if event.seq <= after:
                continue
            if event.seq > after + 1:
                return
            after = event.seq
            yield event


def _is_last(event: JobEvent) -> bool:
    return event.data.get("state") in FINAL
