"""Which transport carries a plan: by the schemes of its URLs."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import BinaryIO, Protocol, cast

from longshore.errors import PluginError
from longshore.staging.transport import FileTransport, Transport
from longshore.transfer import SignedRequest, SignedUpload, TransferPlan, UploadReceipt

#: entry points: a scheme, and what makes its transport (``MakesTransport``)
GROUP = "longshore.transports"
_FILE = "file"
#: the distribution that brings a scheme
_BROUGHT_BY = {"http": "longshore-mover", "https": "longshore-mover"}


class MakesTransport(Protocol):
    """Makes the transport of a plan.

    ``outage`` is how long the storage may be away; ``newer`` returns the plan as it is now, where
    it may be replaced.
    """

    def __call__(
        self, plan: TransferPlan, *, outage: timedelta, newer: Callable[[], TransferPlan] | None
    ) -> Transport:
        """Return the transport of ``plan``."""
        ...


def transport_for(
    plan: TransferPlan, *, outage: timedelta, newer: Callable[[], TransferPlan] | None = None
) -> Transport:
    """Return what moves the bytes of ``plan``; its URLs may have several schemes.

    Raises:
        PluginError: nothing that is installed moves bytes of such URLs.
    """
    schemes = {url.partition(":")[0] for url in _urls(plan)}
    if schemes == {_FILE}:
        return FileTransport()
    made = {
        scheme: FileTransport()
        if scheme == _FILE
        else _maker(scheme)(plan, outage=outage, newer=newer)
        for scheme in sorted(schemes)
    }
    return _ByScheme(made) if len(made) > 1 else made.popitem()[1]


def _urls(plan: TransferPlan) -> Iterator[str]:
    for planned in plan.inputs:
        yield planned.request.url
    for upload in (*(one.upload for one in plan.outputs), plan.log, plan.manifest):
        yield upload.parts[0].url


def _maker(scheme: str) -> MakesTransport:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and no local plan needs it

    found = tuple(entry_points(group=GROUP, name=scheme))
    if not found:
        brought = _BROUGHT_BY.get(scheme)
        raise PluginError(
            f"the plan has {scheme or 'relative'}: URLs, which nothing here can use",
            hint=f"pip install {brought}" if brought else f"no package of {GROUP} has it",
        )
    try:
        return cast("MakesTransport", found[0].load())
    except (ImportError, AttributeError) as exc:
        raise PluginError(f"{found[0].value} cannot be used for {scheme}: URLs: {exc}") from exc


class _ByScheme:
    """One transport for each scheme."""

    def __init__(self, transports: Mapping[str, Transport]) -> None:
        self._transports = transports

    def fetch(
        self, request: SignedRequest, into: BinaryIO, *, size: int, sha256: str | None
    ) -> None:
        self._of(request).fetch(request, into, size=size, sha256=sha256)

    def send(self, upload: SignedUpload, source: BinaryIO, *, max_size: int) -> UploadReceipt:
        return self._of(upload.parts[0]).send(upload, source, max_size=max_size)

    def _of(self, request: SignedRequest) -> Transport:
        return self._transports[request.url.partition(":")[0]]
