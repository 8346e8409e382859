"""What a storage's answer means for the request that it answers. Pure."""

import re
import time
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

#: longest that a server may make us wait before the next try, in seconds
LONGEST_WAIT = 300.0


class Then(Enum):
    """What to do after an answer."""

    DONE = "done"
    AGAIN = "again"
    RENEW = "renew"
    GONE = "gone"
    TOO_LARGE = "too large"
    CHANGED = "changed"
    REFUSED = "refused"


#: codes of S3 that say more than their status
_BY_CODE: Mapping[str, Then] = MappingProxyType(
    {
        **dict.fromkeys(
            # BadDigest: other bytes have arrived than were sent
            ("BadDigest", "IncompleteBody", "InternalError", "RequestTimeout", "SlowDown"),
            Then.AGAIN,
        ),
        **dict.fromkeys(("ExpiredToken", "InvalidToken", "TokenRefreshRequired"), Then.RENEW),
        **dict.fromkeys(("NoSuchUpload", "NoSuchKey", "NoSuchBucket"), Then.GONE),
        "EntityTooLarge": Then.TOO_LARGE,
    }
)
_BY_STATUS: Mapping[int, Then] = MappingProxyType(
    {
        **dict.fromkeys((200, 201, 204, 206), Then.DONE),
        **dict.fromkeys((401, 403), Then.RENEW),
        **dict.fromkeys((404, 410), Then.GONE),
        **dict.fromkeys((408, 409, 425, 429), Then.AGAIN),
        **dict.fromkeys((412, 416, 422), Then.CHANGED),
        413: Then.TOO_LARGE,
    }
)
_SERVER_ERRORS = range(500, 600)
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9.]{1,100})\s*</Code>")


def meaning(status: int, code: str) -> Then:
    """Return what to do after an answer with this status and S3's ``code`` ("" for none).

    A redirect is refused: a signed request is for the server that it names.
    """
    if status in _SERVER_ERRORS:
        return Then.AGAIN
    by_status = _BY_STATUS.get(status, Then.REFUSED)
    return by_status if by_status is Then.DONE else _BY_CODE.get(code, by_status)


def code_of(body: bytes) -> str:
    """Return S3's code of an error's body; "" where it has none."""
    found = _CODE.search(body)
    return found[1].decode() if found else ""


def seconds_to_wait(header: str | None) -> float:
    """Return what ``Retry-After`` asks for, as seconds: a number, or a date; 0 for none."""
    if not header:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        from email.utils import parsedate_to_datetime  # noqa: PLC0415 - seldom a date

        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(0.0, seconds), LONGEST_WAIT)  # in this order nan is 0
