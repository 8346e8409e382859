"""Every byte an attempt may read or write, as signed requests made beforehand.

A plan is all that a mover needs: it holds no credential, nothing in it can be listed, and each
request is for one object and one method until ``valid_until``.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import attrs


class Audience(StrEnum):
    """Who will use a signed request; it decides the endpoint that the URL names."""

    CONSUMER = "consumer"
    JOB = "job"
    SERVICE = "service"


@attrs.frozen(kw_only=True)
class SignedRequest:
    """One request that anybody who holds it may send until ``expires_at``.

    ``url`` is ``http(s):`` or, on one machine, ``file:``. Only ``headers`` are signed.
    """

    method: str
    url: str = attrs.field(repr=False)  # whoever reads it may use it
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    expires_at: datetime


@attrs.frozen(kw_only=True)
class UploadTicket:
    """An upload that nobody can read before it is committed. ``max_size`` is bytes.

    ``upload_id`` is the storage's own name for the upload; ``id`` is ours, and travels with the
    object, so that a repeated commit can tell that it is done.
    """

    id: str
    key: str
    upload_id: str
    max_size: int
    part_size: int


@attrs.frozen(kw_only=True)
class SignedUpload:
    """The requests of one upload: part n (from 1) takes ``part_size`` bytes, the last the rest.

    All together take at most ``max_size`` bytes, where that is said.
    """

    ticket_id: str
    part_size: int
    parts: tuple[SignedRequest, ...]
    max_size: int | None = None

    def size_of(self, number: int) -> int:
        """Return how many bytes part ``number`` takes at most."""
        if self.max_size is None:
            return self.part_size
        return min(self.part_size, self.max_size - (number - 1) * self.part_size)


@attrs.frozen(kw_only=True)
class SentPart:
    """A part of an upload that has arrived, in bytes; ``tag`` is what its receipt says of it."""

    number: int
    size: int
    tag: str


@attrs.frozen(kw_only=True)
class UploadReceipt:
    """What the uploader says it sent: bytes, hex sha256, and the tag of each part.

    A receipt without ``parts`` means what the storage itself lists; without ``size`` or ``sha256``
    nothing is compared with it.
    """

    size: int | None = None
    sha256: str | None = None
    parts: tuple[str, ...] = ()


def is_whole(ticket: UploadTicket, sent: Sequence[SentPart]) -> bool:
    """Say whether what was ``sent`` is evidently all: only a last part is shorter than the others.

    Where the last is not, and the upload could take more, its sender alone knows.
    """
    if not follow_on(ticket, sent):
        return False
    return sum(one.size for one in sent) == ticket.max_size or sent[-1].size < ticket.part_size


def follow_on(ticket: UploadTicket, sent: Sequence[SentPart]) -> bool:
    """Say whether the parts ``sent`` make up one object, without a gap."""
    return (
        bool(sent)
        and [one.number for one in sent] == list(range(1, len(sent) + 1))
        and all(one.size == ticket.part_size for one in sent[:-1])
    )


@attrs.frozen(kw_only=True)
class StoredObject:
    """A readable object: ``size`` in bytes; ``sha256`` in hex where the storage knows it."""

    key: str
    size: int
    modified_at: datetime
    sha256: str | None = None


@attrs.frozen(kw_only=True)
class PlannedInput:
    """An input to fetch: its declared name, the request, and what must arrive."""

    name: str
    request: SignedRequest
    size: int
    sha256: str | None = None


@attrs.frozen(kw_only=True)
class PlannedOutput:
    """An output to send: its declared name and the upload."""

    name: str
    upload: SignedUpload


@attrs.frozen(kw_only=True)
class TransferPlan:
    """All transfers of one attempt; the manifest is sent last."""

    job_id: str
    attempt: int
    inputs: tuple[PlannedInput, ...] = ()
    outputs: tuple[PlannedOutput, ...] = ()
    log: SignedUpload
    manifest: SignedUpload
    valid_until: datetime
    generation: int = 1


class TransferKind(StrEnum):
    """What a stored ticket is for."""

    INPUT = "input"
    OUTPUT = "output"
    LOG = "log"
    MANIFEST = "manifest"


class TransferState(StrEnum):
    """Whether an upload may still become an object."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


@attrs.frozen(kw_only=True)
class Transfer:
    """A ticket as the store keeps it, so that a restarted supervisor can commit or abort it.

    ``attempt`` is 0 for a job's inputs. ``receipt`` is what was said of an input, and ``announced``
    whether the consumer said that it comes.
    """

    job_id: str
    attempt: int
    kind: TransferKind
    name: str
    ticket: UploadTicket
    state: TransferState = TransferState.OPEN
    receipt: UploadReceipt = UploadReceipt()
    announced: bool = False
