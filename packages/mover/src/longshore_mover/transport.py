"""``http:`` and ``https:`` URLs of a plan, by ``longshore.staging``'s port for them."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from longshore.errors import ChecksumMismatch
from longshore.transfer import SignedRequest, SignedUpload, TransferPlan, UploadReceipt
from longshore_mover.fetching import Fetching, Report
from longshore_mover.line import Line
from longshore_mover.patience import Patience
from longshore_mover.renewal import Renewal
from longshore_mover.sending import Sending, Sent

#: how long a storage may be away before a transfer fails
OUTAGE = timedelta(minutes=60)
#: connections of one transfer
CONNECTIONS = 4


class HttpTransport:
    """Moves bytes by signed requests of HTTP; see ``longshore.staging.Transport``.

    Large objects are moved by several connections. What has arrived is not moved again by this
    object, whatever happened in between. Memory does not grow with size. No redirect is followed,
    no proxy is used, and no message holds a URL. ``plan`` and ``newer`` are as in ``Renewal``;
    ``scratch`` is a directory for parts that are too large for memory, ``sent`` what is known
    to have arrived.
    """

    def __init__(
        self,
        plan: TransferPlan | None = None,
        *,
        outage: timedelta = OUTAGE,
        newer: Callable[[], TransferPlan] | None = None,
        patience: Patience | None = None,
        renewal: Renewal | None = None,
        scratch: Path | None = None,
        sent: Sent | None = None,
        report: Report = lambda *_: None,
    ) -> None:
        self.patience = patience or Patience(outage.total_seconds())
        renewal = renewal or Renewal(plan, newer)
        self._lines = [Line(self.patience, renewal) for _ in range(CONNECTIONS)]
        self._scratch = scratch
        self._report = report
        self._sent: Sent = {} if sent is None else sent

    def fetch(
        self, request: SignedRequest, into: BinaryIO, *, size: int, sha256: str | None
    ) -> None:
        """Write the object to ``into``; see ``Transport.fetch``."""
        for last in (False, True):
            fetching = Fetching(request, into, size, self._report)
            digest = fetching.run(self._lines, hashed=sha256 is not None)
            if sha256 is None or digest == sha256.lower():
                return
            if last:  # the same again: it was not the way here that changed a byte
                raise ChecksumMismatch(f"sha256 {digest} instead of {sha256}")

    def send(self, upload: SignedUpload, source: BinaryIO, *, max_size: int) -> UploadReceipt:
        """Send ``source``; see ``Transport.send``."""
        sending = Sending(upload, max_size, self._sent, scratch=self._scratch, report=self._report)
        return sending.run(self._lines, source)

    def end_by(self, end: float | None) -> None:
        """Let every transfer end by ``end`` of the monotonic clock, with ``StorageUnavailable``.

        By 0 those that go on end at once, also from within a signal's handler; None takes it back.
        """
        self.patience.end_by(end)
        if self.patience.left() <= 0:
            for line in self._lines:
                line.connection.cut()

    def close(self) -> None:
        """Let go of the connections; the next transfer makes others."""
        for line in self._lines:
            line.connection.close()
