"""The transport of a mover: it says what it moves, and keeps time for what matters most."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import BinaryIO

from longshore.staging import Transport
from longshore.transfer import SignedRequest, SignedUpload, TransferPlan, UploadReceipt
from longshore_mover.progress import Progress
from longshore_mover.transport import HttpTransport

#: of the time after SIGTERM, what is kept for the manifest: a share, and at most so many seconds
_SHARE, _MOST = 0.25, 5.0


class Carriage:
    """Moves what one plan names by ``inner``.

    After ``hurry`` everything ends in time for the manifest to be sent as well.
    """

    def __init__(self, inner: Transport, plan: TransferPlan, progress: Progress) -> None:
        self._inner = inner
        self._progress = progress
        # without what differs from one generation of a plan to the next
        self._inputs = {_object(one.request): one.name for one in plan.inputs}
        self._uploads = {one.upload.ticket_id: one.name for one in plan.outputs}
        self._uploads[plan.log.ticket_id] = "log"
        self._manifest = plan.manifest.ticket_id
        self._end: float | None = None
        self._kept = 0.0

    def fetch(
        self, request: SignedRequest, into: BinaryIO, *, size: int, sha256: str | None
    ) -> None:
        """See ``Transport.fetch``."""
        self._progress.begin("stage-in", self._inputs.get(_object(request), ""))
        self._inner.fetch(request, into, size=size, sha256=sha256)

    def send(self, upload: SignedUpload, source: BinaryIO, *, max_size: int) -> UploadReceipt:
        """See ``Transport.send``."""
        is_last = upload.ticket_id == self._manifest
        name = "manifest" if is_last else self._uploads.get(upload.ticket_id, "")
        self._progress.begin("stage-out", name)
        if self._end is not None:
            self._end_by(self._end - (0.0 if is_last else self._kept))
        return self._inner.send(upload, source, max_size=max_size)

    def stop(self) -> None:
        """End what moves now; may be called by a signal's handler."""
        self._end_by(0.0)

    def hurry(
        self, grace: timedelta, since: float, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Let everything end within ``grace`` from ``since`` of the monotonic clock."""
        self._end = since + grace.total_seconds()
        self._kept = min(_MOST, max(0.0, self._end - now()) * _SHARE)

    def _end_by(self, end: float | None) -> None:
        # a local file is copied to its end
        if isinstance(self._inner, HttpTransport):
            self._inner.end_by(end)


def _object(request: SignedRequest) -> str:
    return request.url.partition("?")[0]
