"""Errors of the server as exceptions: their kind, their code, and everything that was said."""

import json
import ssl
from typing import Any

import httpx2
import pytest

from longshore_client import errors
from longshore_client.problems import error_from, error_of


def response(status: int, body: Any = None, **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = httpx2.Request("GET", "http://server.example/v1/jobs")
    return httpx2.Response(status, content=content, headers=named, request=request)


def test_all_that_a_problem_says_is_there() -> None:
    problem = {
        "type": "urn:longshore:problem:request-invalid", "title": "Refused", "status": 422,
        "detail": "the request has mistakes", "hint": "see each", "code": "request-invalid",
        "errors": [{"pointer": "/parameters/top", "detail": "is too big"}], "requestId": "r1",
    }  # fmt: skip
    error = error_of(response(422, problem))
    assert isinstance(error, errors.Invalid)
    assert (error.code, error.status, error.request_id) == ("request-invalid", 422, "r1")
    assert error.problems == (errors.Problem("/parameters/top", "is too big"),)
    assert str(error) == "the request has mistakes (see each)\n  /parameters/top: is too big"
    assert error.is_request


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "malformed", errors.Invalid),
        (401, "unauthenticated", errors.Unauthenticated),
        (403, "denied", errors.Denied),
        (404, "not-found", errors.NotFound),
        (404, "unknown-route", errors.NotFound),
        (405, "method-not-allowed", errors.RequestError),
        (409, "conflict", errors.Conflict),
        (409, "inputs-missing", errors.InputsMissing),
        (412, "precondition-failed", errors.Conflict),
        (413, "too-large", errors.TooLarge),
        (422, "idempotency-conflict", errors.IdempotencyConflict),
        (422, "checksum-mismatch", errors.ChecksumMismatch),
        (422, "archive-refused", errors.ArchiveRefused),
        (429, "rate-limited", errors.RateLimited),
        (500, "internal", errors.ServerError),
        (501, "", errors.ServerError),
        (502, "", errors.GatewayFailed),
        (503, "store-unavailable", errors.RetryError),
    ],
)
def test_the_code_decides_and_else_the_status(
    status: int, code: str, kind: type[errors.LongshoreError]
) -> None:
    error = error_of(response(status, {"code": code, "detail": "so it is"}))
    assert type(error) is kind
    assert error.code == (code or kind.code)
    assert error.is_request is (status < 500 and status != 429)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[]",
        b'{"errors": [1, "x", null], "missing": null}',
        b"[" * 100_000,
    ],
)
def test_an_answer_that_is_no_problem_is_still_a_typed_error(body: bytes) -> None:
    error = error_of(response(503, body, Retry_After="2"))
    assert type(error) is errors.RetryError
    assert error.retry_after == 2
    assert "server.example answers 503" in error.message


def test_what_is_missing_and_why_it_is_denied_are_there() -> None:
    assert error_of(response(409, {"code": "inputs-missing", "missing": ["a"]})).missing == ("a",)
    assert (
        error_of(response(403, {"code": "denied", "reason": "wrong-role"})).reason == "wrong-role"
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("17", 17), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("soon", None), ("-3", None)],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert error_of(response(503, Retry_After=value)).retry_after == seconds


def test_a_certificate_that_is_not_trusted_is_no_reason_to_try_again() -> None:
    failed = httpx2.ConnectError("tls")
    failed.__cause__ = ssl.SSLCertVerificationError("self-signed")
    error = error_from(failed, "server.example")
    assert isinstance(error, errors.Untrusted)
    assert error.again is errors.Again.NEVER
