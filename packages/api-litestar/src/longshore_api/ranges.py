"""``Range`` of a request (RFC 9110, section 14): one range of bytes, or none."""

import re

import attrs

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})\Z")


@attrs.frozen
class ByteRange:
    """From byte ``first`` to ``last``, both included; the last ``-first`` bytes where negative.

    ``last`` None is the end.
    """

    first: int
    last: int | None = None

    def within(self, size: int) -> tuple[int, int] | None:
        """Return where the range begins and ends (not included) in ``size`` bytes, if it does."""
        if self.first < 0:
            return (max(0, size + self.first), size) if size else None
        end = size if self.last is None else min(self.last + 1, size)
        return (self.first, end) if self.first < end else None


def parse_range(header: str | None) -> ByteRange | None:
    """Return the one range that a header names.

    None for several ranges, another unit or nonsense: then the whole is the answer, as the RFC
    has it.
    """
    match = _RANGE.match(header.strip()) if header else None
    if match is None or match.group(1, 2) == ("", ""):
        return None
    first, last = match.group(1, 2)
    if not first:
        return ByteRange(-int(last)) if int(last) else None
    if last and int(last) < int(first):
        return None
    return ByteRange(int(first), int(last) if last else None)
