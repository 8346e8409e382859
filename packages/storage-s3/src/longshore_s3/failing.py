"""What the S3 server and the way to it say, as errors of ours; never with a secret or a URL."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import obstore.exceptions
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from longshore.clock import Clock
from longshore.errors import LongshoreError, NotFound, StorageUnavailable

#: what the server calls a thing that is not there; some answers have no more than a status
NOTHING = frozenset({"404", "NoSuchKey", "NotFound"})
NO_UPLOAD = frozenset({"NoSuchUpload"})
_CREDENTIALS = {
    "InvalidAccessKeyId": "does not know the access key",
    "XAdminUserNotFound": "does not know the access key",
    "SignatureDoesNotMatch": "says that the secret key is another one",
    "ExpiredToken": "says that the session token has expired",
    "ExpiredTokenException": "says that the session token has expired",
    "InvalidToken": "does not know the session token",
    "TokenRefreshRequired": "wants a new session token",
}
_SKEWED = frozenset({"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"})
#: the right that an operation needs, where it is not called as the operation
_RIGHTS = {
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "ListParts": "s3:ListMultipartUploadParts",
    "HeadObject": "s3:GetObject and s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "DeleteObjects": "s3:DeleteObject",
    "HeadBucket": "s3:ListBucket",
}


class Unreachable(StorageUnavailable):
    """The server did not answer at all."""


@contextmanager
def told(what: str, *, bucket: str, clock: Clock) -> Iterator[None]:
    """Say ``what`` could not be done, and why, where the block raises an error of a library.

    A ``ClientError`` that says that the object or the upload is not there passes through. Nothing
    is chained: what libraries raise quotes requests with their signatures.
    """
    try:
        yield
    except ClientError as exc:
        if code_of(exc) in NOTHING | NO_UPLOAD:
            raise
        raise _refused(what, exc, bucket, clock) from None
    except FileNotFoundError:  # as obstore says it
        raise NotFound(f"cannot {what}: there is no such object") from None
    except (
        BotoCoreError,
        ResponseParserError,  # a page of something in front of it
        aiohttp.ClientError,
        OSError,
        TimeoutError,
        obstore.exceptions.BaseError,
    ) as exc:
        raise Unreachable(
            f"cannot {what}: the S3 server does not answer ({_word(exc)})",
            hint="is [storage] endpoint right, and the server running?",
        ) from None


def code_of(error: ClientError) -> str:
    """Return what the server calls its error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def skew(headers: Mapping[str, Any], now: datetime) -> float | None:
    """Return by how many seconds our clock is ahead of the server's; None where it does not say."""
    said = {name.lower(): str(value) for name, value in headers.items()}.get("date", "")
    try:
        return (now - parsedate_to_datetime(said)).total_seconds()
    except (ValueError, TypeError):
        return None


def skewed(seconds: float | None) -> str:
    """Say how far our clock is off."""
    if seconds is None:
        return "this machine's clock is not the S3 server's"
    where = "ahead of" if seconds > 0 else "behind"
    return f"this machine's clock is {abs(seconds) / 60:.0f} minutes {where} the S3 server's"


def _refused(what: str, error: ClientError, bucket: str, clock: Clock) -> LongshoreError:
    response: Mapping[str, Any] = error.response
    meta: Mapping[str, Any] = response.get("ResponseMetadata", {})
    code, status = code_of(error), meta.get("HTTPStatusCode", 0)
    said, hint = f"the S3 server says {code or 'nothing'} ({status})", ""
    if code == "NoSuchBucket":
        said = f"there is no bucket {bucket!r}"
        hint = "make it, or correct bucket and endpoint in [storage]"
    elif code in _CREDENTIALS:
        said = f"the S3 server {_CREDENTIALS[code]}"
        hint = "correct the credentials in [storage]; files are read again when they change"
    elif code in _SKEWED:
        said = skewed(skew(meta.get("HTTPHeaders", {}), clock.now()))
        hint = "let it be set (NTP)"
    elif status in {401, 403}:
        right = _RIGHTS.get(error.operation_name, f"s3:{error.operation_name}")
        said = f"the credentials lack the right {right} ({code})"
        hint = "give them the rights that docs/storage-s3.md lists"
    return StorageUnavailable(f"cannot {what}: {said}", hint=hint)


def _word(error: BaseException) -> str:
    # the message may hold the URL, which is signed
    name = type(error).__name__
    return f"{name}: {error.strerror}" if isinstance(error, OSError) and error.strerror else name
