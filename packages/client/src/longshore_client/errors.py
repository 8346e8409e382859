"""Errors, grouped by what the caller can do about them; the names are those of the core.

```
LongshoreError
├── RequestError                  change the request and send it again
│   ├── Invalid                   one or more mistakes, each with its place: ``problems``
│   ├── Unauthenticated           no token, or one that is unknown, expired or revoked
│   ├── Denied                    the policy says no
│   ├── NotFound                  no such workflow, job, input or output for this tenant
│   ├── Conflict                  not in the state it is in now
│   │   ├── InputsMissing         start before every required input is there
│   │   └── IdempotencyConflict   the same key with another request
│   ├── DataRefused               bytes that break a declared bound or rule
│   │   ├── TooLarge              more bytes than declared
│   │   ├── ArchiveRefused        an archive with a member that is never sent or unpacked
│   │   └── ChecksumMismatch      not the bytes that were announced, or that the job made
│   └── Untrusted                 the server's certificate is not one that is trusted here
├── RetryError                    the same call may succeed later: ``retry_after``
│   ├── RateLimited               too many requests
│   ├── Unreachable               nobody answers at that address
│   ├── Broken                    the connection broke, or the answer did not come
│   ├── Expired                   a signed request is too old: ask for another
│   └── GatewayFailed             a proxy before the server has no answer of it
└── ReportError                   tell the provider
    ├── ServerError               the server failed, or what answers is no Longshore
    └── JobFailed                 raised by ``result()``: the job ended otherwise
```
"""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Problem:
    """One mistake: ``where``, a JSON Pointer into the request, and ``message``."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class Again(Enum):
    """Which calls may be sent again after an error."""

    NEVER = "never"
    REPEATABLE = "repeatable"  # those that do no more when they arrive twice
    ALWAYS = "always"  # nothing was done


class LongshoreError(Exception):
    """Base of all errors of this package.

    Attributes:
        message: what is wrong.
        code: stable, the server's own where it gave one.
        hint: what to do.
        problems: the mistakes, where single places are wrong.
        missing: the inputs that a job still waits for.
        reason: the policy's stable code, where it said no.
        status: of the HTTP answer, if there was one.
        request_id: the server's name for the request, for its provider to look up.
        retry_after: seconds after which the server wants to be asked again.
        tries: how often the request was sent.
        is_request: whether another request would help.
    """

    code = "error"
    is_request = False
    again = Again.NEVER
    problems: tuple[Problem, ...] = ()
    missing: tuple[str, ...] = ()
    reason: str = ""
    status: int | None = None
    request_id: str | None = None
    retry_after: float | None = None
    tries = 1

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or type(self).code

    def __str__(self) -> str:
        first = f"{self.message} ({self.hint})" if self.hint else self.message
        return "\n".join([first, *(f"  {problem}" for problem in self.problems)])


class RequestError(LongshoreError):
    """The caller must change something."""

    code = "request"
    is_request = True


class Invalid(RequestError):
    """One or more mistakes, all named at once."""

    code = "invalid"


class Unauthenticated(RequestError):
    """No token came with the request, or one that is not, or no longer, good."""

    code = "unauthenticated"


class Denied(RequestError):
    """The policy does not allow it."""

    code = "denied"


class NotFound(RequestError):
    """No such thing for this tenant; what belongs to another tenant does not exist."""

    code = "not-found"


class Conflict(RequestError):
    """The thing exists, but not in a state in which this can be done."""

    code = "conflict"


class InputsMissing(Conflict):
    """A job cannot start before its required inputs are there: ``missing`` names them."""

    code = "inputs-missing"


class IdempotencyConflict(Conflict):
    """The same idempotency key was used with another request."""

    code = "idempotency-conflict"


class DataRefused(RequestError):
    """Bytes that break a declared bound or a rule."""

    code = "data-refused"


class TooLarge(DataRefused):
    """More bytes than were declared."""

    code = "too-large"


class ArchiveRefused(DataRefused):
    """A directory or an archive holds a member that is never sent or unpacked."""

    code = "archive-refused"


class ChecksumMismatch(DataRefused):
    """The bytes are not those that were announced, or that the job made."""

    code = "checksum-mismatch"


class Untrusted(RequestError):
    """The server shows a certificate that is not trusted on this machine."""

    code = "untrusted"


class RetryError(LongshoreError):
    """The same call may succeed later; nothing was changed."""

    code = "retry"
    again = Again.ALWAYS


class RateLimited(RetryError):
    """More requests than the provider allows."""

    code = "rate-limited"


class Unreachable(RetryError):
    """No connection to the server could be made."""

    code = "unreachable"


class Broken(RetryError):
    """The connection broke before the answer had come; the request may have been carried out."""

    code = "connection-broken"
    again = Again.REPEATABLE


class Expired(RetryError):
    """A signed request is too old, or for an upload that was begun anew: ask for another."""

    code = "expired-request"


class GatewayFailed(RetryError):
    """A proxy before the server has no answer of it; the request may have been carried out."""

    code = "gateway"
    again = Again.REPEATABLE


class ReportError(LongshoreError):
    """Nothing the caller did: tell the provider."""

    code = "report"


class ServerError(ReportError):
    """The server failed, or what answers does not speak as a Longshore server does."""

    code = "server-error"


class JobFailed(ReportError):
    """A job ended FAILED or CANCELED; ``reason_code`` and ``hint`` say why and what to do."""

    code = "job-failed"

    def __init__(self, message: str, *, reason_code: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason_code = reason_code
