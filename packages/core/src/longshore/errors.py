"""Errors, grouped by what the caller can do about them.

```
LongshoreError
├── RequestError                  change the request, file or settings and send it again
│   ├── Invalid                   one or more mistakes, each with its place: ``problems``
│   │   ├── WorkflowInvalid       a workflow definition
│   │   ├── RequestInvalid        a job request: parameters, inputs, resources
│   │   └── SettingsInvalid       the configuration
│   ├── Unauthenticated           no token, or one that is unknown, expired or revoked
│   ├── NotFound                  no such workflow, job, input or output for this tenant
│   ├── Denied                    the policy says no
│   ├── Conflict                  not in the state it is in now
│   │   ├── IllegalTransition     the lifecycle has no such step
│   │   ├── InputsMissing         start before every required input is there
│   │   ├── PreconditionFailed    it has changed since the caller looked
│   │   └── IdempotencyConflict   the same key with another request
│   └── DataRefused               bytes that break a declared bound or rule
│       ├── TooLarge              more bytes than declared
│       ├── ArchiveRefused        an archive with a member that is never unpacked
│       └── ChecksumMismatch      not the bytes that were announced
├── RetryError                    the same call may succeed later; nothing was changed
│   ├── StoreUnavailable          the state could not be written or read
│   ├── StorageUnavailable        the storage backend did not take or give bytes
│   ├── BackendUnavailable        the workflow backend could not be asked
│   └── Stale                     compare-and-swap lost: read again
└── ReportError                   tell the provider, or the author of the plug-in
    ├── PluginError               a plug-in that cannot be used
    │   └── DuplicatePlugin       two distributions claim one name
    ├── AttemptGone               a renewal for an attempt the engine does not have
    ├── IsolationUnavailable      the sandbox that is asked for does not work here
    ├── WorkflowRefused           the provider's settings do not allow this kind of workflow here
    └── JobFailed                 raised by the façade's ``result()``: the job ended otherwise
```
"""

from collections.abc import Iterable

import attrs

#: mistakes of one request that are looked for and told; a body may be full of them
MOST_TOLD = 100


@attrs.frozen
class Problem:
    """One mistake: ``where`` (a JSON Pointer, or ``file: key``) and ``message``."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class LongshoreError(Exception):
    """Base of all errors of Longshore. ``hint`` says what to do, ``code`` is stable.

    ``is_request`` says whether another request would help: the class without the import.
    """

    code = "error"
    is_request = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class RequestError(LongshoreError):
    """The caller must change something."""

    code = "request"
    is_request = True


class Invalid(RequestError):
    """One or more mistakes, all named at once."""

    code = "invalid"

    def __init__(self, message: str, problems: Iterable[Problem] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        lines = [super().__str__(), *(f"  {problem}" for problem in self.problems)]
        return "\n".join(lines)


class WorkflowInvalid(Invalid):
    """A workflow definition with mistakes."""

    code = "workflow-invalid"


class RequestInvalid(Invalid):
    """A job request with mistakes."""

    code = "request-invalid"


class SettingsInvalid(Invalid):
    """A configuration with mistakes."""

    code = "settings-invalid"


class Unauthenticated(RequestError):
    """No valid token. ``reason``: ``missing``, ``unknown``, ``expired`` or ``revoked``."""

    code = "unauthenticated"

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class NotFound(RequestError):
    """No such thing for this tenant; what belongs to another tenant does not exist."""

    code = "not-found"


class Denied(RequestError):
    """The policy does not allow it. ``reason`` is the policy's stable code."""

    code = "denied"

    def __init__(self, message: str, *, reason: str = "denied", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class Conflict(RequestError):
    """The thing exists, but not in a state in which this can be done."""

    code = "conflict"


class IllegalTransition(Conflict):
    """The lifecycle table has no such step."""

    code = "illegal-transition"


class InputsMissing(Conflict):
    """A job cannot start before its required inputs are there: ``missing`` names them."""

    code = "inputs-missing"

    def __init__(self, missing: Iterable[str]) -> None:
        self.missing = tuple(missing)
        super().__init__(
            f"the job waits for its input{'s' if len(self.missing) > 1 else ''} "
            + ", ".join(repr(name) for name in self.missing),
            hint="upload what is missing, then start again",
        )


class PreconditionFailed(Conflict):
    """The thing is not as the caller has seen it (``If-Match``)."""

    code = "precondition-failed"


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
    """An archive holds a member that is never unpacked; nothing of it is used."""

    code = "archive-refused"


class ChecksumMismatch(DataRefused):
    """The bytes are not those that were announced."""

    code = "checksum-mismatch"


class RetryError(LongshoreError):
    """The same call may succeed later; nothing was changed."""

    code = "retry"


class StoreUnavailable(RetryError):
    """The state could not be written or read."""

    code = "store-unavailable"


class StorageUnavailable(RetryError):
    """The storage backend did not take or give bytes."""

    code = "storage-unavailable"


class BackendUnavailable(RetryError):
    """The workflow backend could not be asked."""

    code = "backend-unavailable"


class Stale(RetryError):
    """Compare-and-swap lost against another writer: read again."""

    code = "stale"


class ReportError(LongshoreError):
    """Nothing the caller did: tell the provider or the author of the plug-in."""

    code = "report"


class PluginError(ReportError):
    """A plug-in cannot be used."""

    code = "plugin"


class DuplicatePlugin(PluginError):
    """Two distributions claim one plug-in name."""

    code = "duplicate-plugin"


class AttemptGone(ReportError):
    """The engine has no such attempt to renew."""

    code = "attempt-gone"


class IsolationUnavailable(ReportError):
    """The sandbox that is asked for does not work on this machine."""

    code = "isolation-unavailable"


class WorkflowRefused(ReportError):
    """The provider's machine does not run this kind of workflow, by its settings."""

    code = "not-allowed"


class JobFailed(ReportError):
    """A job ended FAILED or CANCELED; ``reason_code`` and ``hint`` say why and what to do."""

    code = "job-failed"

    def __init__(self, message: str, *, reason_code: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason_code = reason_code
