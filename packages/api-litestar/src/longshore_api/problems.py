"""Errors as problem documents (RFC 9457), each with a stable ``type`` and ``code``."""

from collections.abc import Mapping
from math import ceil
from types import MappingProxyType
from typing import Any

import msgspec

from longshore import errors as core
from longshore_api import errors

TYPE_PREFIX = "urn:longshore:problem:"
MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER = 1.0

#: the most specific class of an error decides
STATUS: Mapping[type[BaseException], int] = MappingProxyType(
    {
        errors.Malformed: 400,
        core.Unauthenticated: 401,
        core.Denied: 403,
        core.NotFound: 404,
        errors.UnknownRoute: 404,
        errors.MethodNotAllowed: 405,
        core.Conflict: 409,
        core.PreconditionFailed: 412,
        core.TooLarge: 413,
        errors.UnsupportedMediaType: 415,
        errors.RangeNotSatisfiable: 416,
        core.IdempotencyConflict: 422,
        core.Invalid: 422,
        core.DataRefused: 422,
        core.RequestError: 422,
        errors.RateLimited: 429,
        core.RetryError: 503,
        BaseException: 500,
    }
)
TITLES: Mapping[int, str] = MappingProxyType(
    {
        400: "Malformed request",
        401: "No valid token",
        403: "Not allowed",
        404: "Not found",
        405: "Method not allowed",
        409: "Conflict",
        412: "Precondition failed",
        413: "Too large",
        415: "Not sent as JSON",
        416: "Range not satisfiable",
        422: "Refused",
        429: "Too many requests",
        500: "Internal error",
        503: "Try again later",
    }
)
_SERVER_ERROR = 500
_INTERNAL = "something is wrong in the service; its log has the details under this request's id"


class ErrorItem(msgspec.Struct, frozen=True):
    """One mistake of a request: ``pointer`` is a JSON Pointer into its body."""

    pointer: str
    detail: str


_MORE = ErrorItem("", f"there are more mistakes than these {core.MOST_TOLD}")


class Problem(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Why a request was not answered. ``code`` is stable and is the end of ``type``."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    hint: str = ""
    errors: tuple[ErrorItem, ...] = ()
    missing: tuple[str, ...] = ()
    reason: str = ""
    checks: dict[str, str] = msgspec.field(default_factory=dict)


def status_of(kind: type[BaseException]) -> int:
    """Return the HTTP status of a kind of error: that of the nearest class in ``STATUS``."""
    return next(STATUS[base] for base in kind.__mro__ if base in STATUS)


def problem_of(error: BaseException, request_id: str) -> Problem:
    """Return what a caller is told of an error: of the service's own state nothing but its kind."""
    status = status_of(type(error))
    code = error.code if isinstance(error, core.LongshoreError) else "internal"
    detail, hint = _INTERNAL, ""
    if isinstance(error, core.RetryError):
        detail, hint = _public_sentence(error), error.hint if status < _SERVER_ERROR else ""
    elif isinstance(error, core.LongshoreError) and status < _SERVER_ERROR:
        detail, hint = error.message, error.hint
    return Problem(
        type=f"{TYPE_PREFIX}{code}",
        title=TITLES[status],
        status=status,
        detail=detail,
        code=code,
        request_id=request_id,
        hint=hint,
        errors=tuple(_items(error)),
        missing=getattr(error, "missing", ()),
        reason=getattr(error, "reason", "") if isinstance(error, core.Denied) else "",
        checks=getattr(error, "checks", {}),
    )


def _public_sentence(error: core.RetryError) -> str:
    if isinstance(error, errors.RateLimited | errors.Overloaded):
        return error.message
    # the message names files and addresses of the provider
    return (type(error).__doc__ or "").partition("\n")[0]


def _items(error: BaseException) -> list[ErrorItem]:
    if isinstance(error, core.Invalid | errors.Malformed):
        told = [ErrorItem(one.where, one.message) for one in error.problems[: core.MOST_TOLD]]
        return told if len(error.problems) <= core.MOST_TOLD else [*told, _MORE]
    return []


def headers_of(error: BaseException, status: int) -> list[tuple[bytes, bytes]]:
    """Return the headers that belong to an error's answer."""
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    if status in {429, 503}:
        after = getattr(error, "retry_after", _RETRY_AFTER)
        headers.append((b"retry-after", b"%d" % max(1, ceil(after))))
    if status == 401:  # noqa: PLR2004 - the status that has this header
        headers.append((b"www-authenticate", b'Bearer realm="longshore"'))
    if isinstance(error, errors.MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    if isinstance(error, errors.RangeNotSatisfiable):
        headers.append((b"content-range", b"bytes */%d" % error.size))
    return headers


def encode(problem: Problem) -> bytes:
    """Return the body of a problem's answer."""
    return msgspec.json.encode(problem)


def to_answer(error: BaseException, request_id: str) -> tuple[int, list[Any], bytes]:
    """Return status, headers and body."""
    problem = problem_of(error, request_id)
    body = encode(problem)
    headers = headers_of(error, problem.status)
    headers.append((b"content-length", b"%d" % len(body)))
    return problem.status, headers, body
