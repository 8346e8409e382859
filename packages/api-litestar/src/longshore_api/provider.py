"""Everything that the handlers need of the service behind them."""

from typing import TYPE_CHECKING

from longshore.access import Access
from longshore.host import Host
from longshore.models import Caller, Job, Role
from longshore_api.frames import EventFrames
from longshore_api.limiting import Bodies, Crowd, RateLimiter, Streams
from longshore_api.metrics import Tally
from longshore_api.readiness import Readiness
from longshore_api.stopping import Stopping
from longshore_api.urls import PublicUrl
from longshore_api.views import JobViews

if TYPE_CHECKING:
    from collections.abc import Callable

    from longshore_api.exposition import Exposition
    from longshore_api.openapi import Document


class Provider:
    """A host, its limits, and what this process remembers of its callers."""

    def __init__(
        self, host: Host, url: PublicUrl, supervises: "Callable[[], bool]" = lambda: False
    ) -> None:
        self.host = host
        self.url = url
        self.service = host.service
        self.access: Access = host.access
        self.logs = host.logs
        self.clock = host.clock
        self.limits = host.settings.limits
        rate, burst = self.limits.requests_per_second, self.limits.burst
        self.limiter = RateLimiter(rate, burst) if rate else None
        self.streams = Streams(self.limits)
        at_once = self.limits.requests_at_once
        self.crowd = Crowd(at_once)
        self.bodies = Bodies(max(1, at_once // 2), at_once)
        self.tally = Tally()
        self.frames = EventFrames()
        self.views = JobViews(host.service)
        self.stopping = Stopping()
        self.readiness = Readiness(host)
        #: whether this process supervises
        self.supervises = supervises
        #: both made when they are asked for first
        self.exposition: Exposition | None = None
        self.document: Document | None = None

    async def job(self, caller: Caller, job_id: str) -> Job:
        """Return a job of the caller's tenant; an administrator sees all.

        Raises:
            NotFound: there is none, or it is somebody else's.
        """
        return await self.service.job(tenant_of(caller), job_id)


def tenant_of(caller: Caller) -> str | None:
    """Return whose jobs the caller sees; None is everybody's."""
    return None if caller.role is Role.ADMIN else caller.tenant
