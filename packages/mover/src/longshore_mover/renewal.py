"""The requests of a plan that is replaced by newer ones while it is carried out."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from longshore.errors import NotFound, StorageUnavailable
from longshore.transfer import SignedRequest, TransferPlan
from longshore_mover.patience import Patience

#: a request that ends so soon is replaced where a newer one is there
_SOON = timedelta(minutes=5)
#: seconds between two looks for a newer plan
LOOK = 1.0
_NO_LONGER = "the request is no longer valid"


class Renewal:
    """Finds, for a request of any generation of a plan, the one of the newest.

    ``newer`` returns the plan as it is now, perhaps the same; None where there never is a newer.
    """

    def __init__(
        self,
        plan: TransferPlan | None = None,
        newer: Callable[[], TransferPlan] | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._plan = plan
        self._newer = newer if plan is not None else None
        self._clock = clock
        self._places: dict[str, object] = {}
        self._requests: dict[object, SignedRequest] = {}
        self._known = 0
        self._lock = threading.Lock()

    def current(self, request: SignedRequest) -> SignedRequest:
        """Return the request to send instead of ``request``, which it may be itself."""
        found = self._requests.get(self._places.get(request.url), request)
        if self._newer is not None and found.expires_at - self._clock() < _SOON:
            found = self._look(request)
        return found

    def wait(self, refused: SignedRequest, patience: Patience) -> None:
        """Return when there is a newer one than ``refused``, within the allowance.

        Raises:
            NotFound: there is none.
            StorageUnavailable: there was no time for it.
        """
        if self._newer is None:
            raise NotFound(_NO_LONGER)
        tries = 0
        while self._look(refused).url == refused.url:
            tries += 1
            try:
                patience.again(_NO_LONGER, tries, after=LOOK)
            except StorageUnavailable as exc:
                if patience.left() <= 0:
                    raise
                raise NotFound(f"{_NO_LONGER}, and no newer plan came: {exc.message}") from exc

    def _look(self, request: SignedRequest) -> SignedRequest:
        """Return what the newest plan has for ``request``."""
        if self._newer is None or self._plan is None:
            return request
        with self._lock:
            if not self._known:
                self._learn(self._plan)
            try:
                plan = self._newer()
            except (OSError, ValueError):  # it is just being replaced, or badly: look again later
                plan = self._plan
            if plan.generation > self._known:
                self._learn(plan)
            return self._requests.get(self._places.get(request.url), request)

    def _learn(self, plan: TransferPlan) -> None:
        for place, request in _requests(plan):
            self._places[request.url] = place
            self._requests[place] = request
        self._known = plan.generation


def _requests(plan: TransferPlan) -> Iterator[tuple[object, SignedRequest]]:
    """Yield every request with what it is for, which is the same in every generation."""
    for planned in plan.inputs:
        yield planned.name, planned.request
    for upload in (*(one.upload for one in plan.outputs), plan.log, plan.manifest):
        for number, request in enumerate(upload.parts):
            yield (upload.ticket_id, number), request
