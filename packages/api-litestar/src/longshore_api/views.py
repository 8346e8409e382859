"""Jobs as the bytes of their JSON, made once for every change of a job."""

from collections import OrderedDict

import attrs
import msgspec

from longshore.models import Job, JobState
from longshore.service import JobService
from longshore.wire import job_to_wire

_MOST = 4096


@attrs.frozen
class JobView:
    """A job's answer: ``body`` is JSON, ``etag`` changes when it does."""

    seq: int
    place: int | None
    body: bytes
    etag: bytes


class JobViews:
    """The views that were asked for last."""

    def __init__(self, service: JobService) -> None:
        self._queue = service.queue
        self._kept: OrderedDict[str, JobView] = OrderedDict()

    async def show(self, job: Job) -> JobView:
        """Return the view of ``job`` as it is."""
        place = None
        if job.state is JobState.QUEUED:
            place = await self._queue.place(job)
        kept = self._kept.get(job.id)
        if kept is not None and kept.seq == job.seq and kept.place == place:
            return kept
        body = msgspec.json.encode(job_to_wire(job, place=place))
        view = JobView(job.seq, place, body, etag_of(job, place))
        self._kept[job.id] = view
        self._kept.move_to_end(job.id)
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return view


def etag_of(job: Job, place: int | None = None) -> bytes:
    """Return the entity tag: the number of the job's last event, with its place where it waits."""
    return b'"%d"' % job.seq if place is None else b'"%d.%d"' % (job.seq, place)


def names_seq(tags: str, seq: int) -> bool:
    """Say whether an ``If-Match`` names the job as of its event ``seq``."""
    wanted = [tag.strip() for tag in tags.split(",")]
    return "*" in wanted or any(
        tag.strip('"').partition(".")[0] == str(seq) for tag in wanted if tag.startswith('"')
    )
