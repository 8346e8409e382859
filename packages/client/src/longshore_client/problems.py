"""From what HTTP says to a typed error: two tables, by the problem's code and by the status."""

import email.utils
import json
import re
import time
from collections.abc import Mapping
from typing import Any

import httpx2

from longshore_client import errors
from longshore_client.errors import LongshoreError, Problem

_MAX_TEXT = 2000

_BY_CODE: Mapping[str, type[LongshoreError]] = {
    kind.code: kind
    for kind in (
        errors.Invalid,
        errors.Unauthenticated,
        errors.Denied,
        errors.NotFound,
        errors.Conflict,
        errors.InputsMissing,
        errors.IdempotencyConflict,
        errors.DataRefused,
        errors.TooLarge,
        errors.ArchiveRefused,
        errors.ChecksumMismatch,
        errors.RateLimited,
    )
}
_BY_STATUS: Mapping[int, type[LongshoreError]] = {
    400: errors.Invalid,
    401: errors.Unauthenticated,
    403: errors.Denied,
    404: errors.NotFound,
    409: errors.Conflict,
    412: errors.Conflict,
    413: errors.TooLarge,
    422: errors.Invalid,
    429: errors.RateLimited,
    502: errors.GatewayFailed,
    503: errors.RetryError,
    504: errors.GatewayFailed,
}
#: what S3 calls its errors, where the status alone says too little
_BY_STORAGE_CODE: Mapping[str, type[LongshoreError]] = {
    "BadDigest": errors.Broken,
    "IncompleteBody": errors.Broken,
    "RequestTimeout": errors.Broken,
    "InternalError": errors.RetryError,
    "OperationAborted": errors.RetryError,
    "EntityTooLarge": errors.TooLarge,
}
_STORAGE_ERROR = re.compile(rb"<Code>(\w+)</Code>(?:\s*<Message>([^<]*)</Message>)?")
_HINTS: Mapping[type[LongshoreError], str] = {
    errors.Unauthenticated: "get a token from the provider and use `longshore login`",
    errors.GatewayFailed: "try again later; tell the provider if it stays so",
    errors.ServerError: "tell the provider, with the request's id if there is one",
}


def error_of(response: httpx2.Response) -> LongshoreError:
    """Return the error that an answer of 4xx or 5xx, whose body was read, means.

    A body that is no problem document still gives an error of the right kind.
    """
    document = _document(response)
    storage = _STORAGE_ERROR.search(response.content[:_MAX_TEXT]) if not document else None
    kind = _kind(str(document.get("code", "")), response.status_code)
    message = document.get("detail") or document.get("title")
    if not message:
        message = f"{response.request.url.host} answers {response.status_code}"
    if storage:
        code, said = (it.decode("utf-8", "replace") for it in storage.groups(b""))
        message += f", {code}: {said}" if said else f", {code}"
        kind = _BY_STORAGE_CODE.get(code, kind)
    error = kind(
        str(message)[:_MAX_TEXT],
        code=str(document.get("code") or ""),
        hint=str(document.get("hint") or _HINTS.get(kind, "")),
    )
    error.status = response.status_code
    error.request_id = document.get("requestId") or response.headers.get("x-request-id")
    error.retry_after = _retry_after(response.headers.get("retry-after"))
    error.reason = str(document.get("reason") or "")
    error.missing = tuple(str(name) for name in document.get("missing") or ())
    error.problems = tuple(
        Problem(str(one.get("pointer", "")), str(one.get("detail", "")))
        for one in document.get("errors") or ()
        if isinstance(one, dict)
    )
    return error


def _document(response: httpx2.Response) -> dict[str, Any]:
    try:
        document = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _kind(code: str, status: int) -> type[LongshoreError]:
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if kind is None:
        kind = errors.ServerError if status >= httpx2.codes.INTERNAL_SERVER_ERROR else None
    return kind or errors.RequestError


def _retry_after(value: str | None) -> float | None:
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def error_from(exc: httpx2.TransportError | httpx2.InvalidURL, host: str) -> LongshoreError:
    """Return the error that a failed exchange means."""
    said = str(exc) or type(exc).__name__
    if _is_about_trust(exc):
        hint = "SSL_CERT_FILE names further certificates to trust"
        return errors.Untrusted(f"the certificate of {host} is not trusted: {said}", hint=hint)
    if "WRONG_VERSION_NUMBER" in said:  # what OpenSSL says when the answer is not TLS
        return errors.RequestError(f"{host} does not speak https", hint="is its address http://?")
    if isinstance(exc, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return errors.Unreachable(
            f"{host} cannot be reached: {said}", hint="check the address and that it is up"
        )
    if isinstance(exc, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        return errors.RequestError(f"{host} is no address: {said}")
    if isinstance(exc, httpx2.TimeoutException):
        return errors.Broken(f"{host} did not answer in time")
    return errors.Broken(f"the connection to {host} broke: {said}")


def _is_about_trust(exc: BaseException) -> bool:
    cause: BaseException | None = exc
    while cause is not None:
        if type(cause).__name__ == "SSLCertVerificationError":
            return True
        cause = cause.__cause__ or cause.__context__
    return False
