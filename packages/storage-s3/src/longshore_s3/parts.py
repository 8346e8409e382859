"""The parts of an upload: how large they are, and whether they are what was agreed. Pure."""

from collections.abc import Sequence

from longshore.errors import ChecksumMismatch, NotFound, TooLarge
from longshore.transfer import SentPart, UploadReceipt, UploadTicket, follow_on

MIB = 1024**2
#: the size of parts while there are not too many
PART_SIZE = 16 * MIB
#: parts of one upload: what is to be sent again, or listed, stays small against the whole
MOST_PARTS = 1000
_LARGEST_PART = 5 * 1024**3
#: what S3 has taken as one object since its beginning
LARGEST = 5 * 1024**4


def part_size(max_size: int, least_part: int = 1) -> int:
    """Return the size of the parts of an upload: it grows, so that they never are too many.

    It is ``least_part`` or more, unless no part may be as large.

    Raises:
        TooLarge: no object is as large.
    """
    if max_size > LARGEST:
        raise TooLarge(f"{max_size} bytes; S3 holds objects of at most {LARGEST}")
    least = max(PART_SIZE, least_part, -(-max_size // MOST_PARTS))
    size = min(-(-least // MIB) * MIB, _LARGEST_PART)
    return max(1, min(size, max_size))


def choose(
    parts: Sequence[SentPart], ticket: UploadTicket, receipt: UploadReceipt
) -> Sequence[SentPart]:
    """Return the parts that make up the object: those that the receipt names, or all.

    Raises:
        NotFound: one is missing.
        ChecksumMismatch: one is not that of the receipt.
    """
    for one, said in zip(parts, receipt.parts, strict=False):
        if one.tag.lower() != said.strip('"').lower():
            raise ChecksumMismatch(f"part {one.number} of {ticket.key} has another tag: {one.tag}")
    chosen = parts[: len(receipt.parts)] if receipt.parts else parts
    if len(chosen) < len(receipt.parts) or not follow_on(ticket, chosen):
        raise NotFound(f"not all parts of {ticket.key} have arrived")
    return chosen


def check(size: int, ticket: UploadTicket, receipt: UploadReceipt) -> int:
    """Return ``size``, which is what the ticket allows and the receipt says.

    Raises:
        TooLarge: more than the ticket allows.
        ChecksumMismatch: not what the receipt says.
    """
    if size > ticket.max_size:
        raise TooLarge(f"{size} bytes were sent to {ticket.key}; {ticket.max_size} are allowed")
    if receipt.size not in {None, size}:
        raise ChecksumMismatch(f"{ticket.key} has {size} bytes, the receipt says {receipt.size}")
    return size
