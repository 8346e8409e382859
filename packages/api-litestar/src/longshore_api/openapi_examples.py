"""What the OpenAPI document tells people: prose, examples, and answers that differ from the rule.

The tests hold every example against its schema.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from longshore_api.schemas.jobs import EventPage, Job, SubmittedJob
from longshore_api.schemas.workflows import Workflow

DESCRIPTION = """\
Submit a job, upload its inputs, watch it, download its outputs.

* Send your token as `Authorization: Bearer ls_...`.
* Bytes do not come through these routes: an upload or a download is a signed request that an answer
  holds. Send it as it is, without your token.
* Every error is a problem document (RFC 9457) with a stable `type`. Its `requestId`, also in the
  header `X-Request-Id`, is what the provider's log has.
* 429 and 503 say in `Retry-After` how many seconds to wait. All requests may be repeated; repeat
  `POST /v1/jobs` with the same `Idempotency-Key`.
"""
#: by the beginning of a path: a tag, and what it is; the first that fits
TAGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "/v1/workflows": ("Workflows", "What may be run."),
        "/v1/jobs": ("Jobs", "From submission to outputs."),
        "/v1/agreements": ("Agreements", "Who may run what, for administrators; and their tokens."),
        "/v1/me": ("Me", "Whose token this is."),
        "/": ("Operation", "For whoever operates the service."),
    }
)

_ID = "01m7yx0md66s7yvpfs01kaagdv"
_AGREEMENT_ID = "01m7ywv3q41yb4r0ynjqj0z5wd"
_TOKEN_ID = "01m7yww8k2n6d2gwz7hnm8v0xj"  # noqa: S105 - an id
_DIGEST = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
_URL = f"https://compute.example/v1/blobs/{_ID}?expires=1781690400&signature=..."
_UPLOAD = {"method": "PUT", "url": _URL, "headers": {}}
#: by name: what it is where the route does not say, and an example
PARAMETERS: Mapping[str, tuple[str, Any]] = MappingProxyType(
    {
        "job_id": ("a job's id", _ID),
        "workflow_id": ("a workflow's id", "wordcount"),
        "agreement_id": ("an agreement's id", _AGREEMENT_ID),
        "token_id": ("a token's id", _TOKEN_ID),
        "name": ("a declared name", "text"),
        "workflow": ("only jobs of this workflow", "wordcount"),
        "limit": ("at most so many", 50),
        "cursor": ("`next` of the page before", _ID),
        "If-Match": ("only if its `ETag` is still this", '"4"'),
        "If-None-Match": ("304 if its `ETag` is still this", '"4"'),
        "Range": ("which bytes", "bytes=0-1023"),
        "Idempotency-Key": ("", "3f1c5a4e-7d0b-4c55-9a67-2f1f0a9d8b11"),
        "Prefer": ("", "wait=10"),
        "Last-Event-ID": ("follow behind this event", "4"),
    }
)

_JOB = {
    "id": _ID,
    "workflow": "wordcount",
    "version": "1",
    "state": "RUNNING",
    "reason": None,
    "exitCode": None,
    "attempt": 1,
    "stopRequested": None,
    "progress": {"done": 3, "total": 10, "text": "chapter 3"},
    "createdAt": "2026-06-17T09:00:00Z",
    "startedAt": "2026-06-17T09:00:01Z",
    "finishedAt": None,
    "next": {"what": "walltime", "by": "2026-06-17T10:00:01Z"},
    "position": None,
    "unconfirmed": False,
    "enforced": {"memory": "cgroup"},
    "purged": False,
}
_NEW_JOB = {**_JOB, "state": "CREATED", "progress": None, "startedAt": None, "enforced": {}}
_RESOURCES = {"cpu": 1, "memory": 536870912, "gpu": 0, "disk": 1073741824, "walltime": 3600}
_WORKFLOW = {
    "id": "wordcount",
    "title": "Count the words of a text",
    "version": "1",
    "description": "Counts lines, words and characters of a text.",
    "network": "storage",
    "parameters": {"type": "object", "properties": {"top": {"type": "integer", "minimum": 1}}},
    "inputs": {
        "text": {
            "kind": "file",
            "required": True,
            "maxSize": 1073741824,
            "description": "a text",
            "mediaType": "text/plain",
        }
    },
    "outputs": {
        "counts": {
            "kind": "file",
            "required": True,
            "maxSize": 1048576,
            "description": "the counts",
            "mediaType": "application/json",
        }
    },
    "resources": _RESOURCES,
    "maxResources": _RESOURCES,
}
_EVENTS = [
    {"seq": 1, "type": "JobCreated", "at": "2026-06-17T09:00:00Z", "state": "CREATED"},
    {"seq": 2, "type": "JobQueued", "at": "2026-06-17T09:00:00Z", "state": "QUEUED"},
]
_STREAM = (
    'id: 2\nevent: JobQueued\ndata: {"seq": 2, "type": "JobQueued", '
    '"at": "2026-06-17T09:00:00Z", "state": "QUEUED"}\n\n: ping\n\n'
)
_AGREEMENT = {
    "id": _AGREEMENT_ID,
    "tenant": "acme",
    "workflows": ["wordcount"],
    "validFrom": None,
    "validUntil": "2027-01-01T00:00:00Z",
    "atEnd": "stop",
    "state": "active",
    "createdAt": "2026-06-17T08:00:00Z",
}
_SCOPES = ["jobs:read", "jobs:write", "data:read", "data:write"]
_TOKEN = {
    "id": _TOKEN_ID,
    "scopes": _SCOPES,
    "createdAt": "2026-06-17T08:05:00Z",
    "expiresAt": "2026-09-15T08:05:00Z",
    "revokedAt": None,
}
#: by the name of a schema
EXAMPLES: Mapping[str, Any] = MappingProxyType(
    {
        "NewJob": {
            "workflow": "wordcount",
            "parameters": {"top": 5},
            "inputs": {"text": {"upload": {"size": 3, "sha256": _DIGEST}}},
            "start": True,
        },
        "Completion": {"parts": [{"number": 1, "etag": _DIGEST}], "size": 3, "sha256": _DIGEST},
        "NewAgreement": {
            "tenant": "acme",
            "workflows": ["wordcount"],
            "validUntil": "2027-01-01T00:00:00Z",
        },
        "NewToken": {"expiresAt": "2026-12-31T00:00:00Z", "scopes": ["jobs:read", "data:read"]},
        "Job": _JOB,
        "SubmittedJob": {**_NEW_JOB, "uploads": {"text": _UPLOAD}},
        "JobPage": {"items": [_JOB], "next": _ID},
        "InputState": {
            "name": "text",
            "state": "missing",
            "sent": [{"number": 1, "size": 67108864, "etag": _DIGEST}],
            "upload": {"parts": [{"number": 2, "size": 1024, **_UPLOAD}]},
        },
        "Outputs": {
            "items": [
                {
                    "name": "counts",
                    "size": 3,
                    "sha256": _DIGEST,
                    "mediaType": "application/json",
                }
            ]
        },
        "EventPage": {"items": _EVENTS, "next": None},
        "Workflow": _WORKFLOW,
        "WorkflowList": {"items": [_WORKFLOW], "next": None},
        "Agreement": _AGREEMENT,
        "MadeAgreement": {
            **_AGREEMENT,
            "workflows": ["wordcont"],
            "warnings": [
                {
                    "pointer": "/workflows/0",
                    "detail": "no workflow 'wordcont' is offered now; did you mean 'wordcount'?",
                }
            ],
        },
        "AgreementPage": {"items": [_AGREEMENT], "next": None},
        "TokenList": {"items": [_TOKEN], "next": None},
        "IssuedToken": {
            "id": _TOKEN_ID,
            "token": "ls_...",
            "scopes": _SCOPES,
            "expiresAt": "2026-09-15T08:05:00Z",
        },
        "Me": {
            "tenant": "acme",
            "role": "consumer",
            "agreement": _AGREEMENT_ID,
            "workflows": ["wordcount"],
            "scopes": _SCOPES,
            "expiresAt": "2026-09-15T08:05:00Z",
        },
        "Alive": {"status": "ok"},
        "Ready": {
            "status": "ready",
            "checks": {"store": "ok", "storage": "ok", "backend:local": "ok"},
        },
    }
)
#: by the name of a handler: a request whose body has no schema of its own
REQUESTS: Mapping[str, Any] = MappingProxyType(
    {
        "put_workflow": {
            "id": "upper",
            "title": "A text in capitals",
            "version": "1",
            "command": ["/usr/bin/tr", "a-z", "A-Z"],
            "inputs": {"text": {"max_size": "1 MiB"}},
            "outputs": {"text": {"max_size": "1 MiB"}},
        }
    }
)
#: by status: what may be wrong
PROBLEMS: Mapping[int, Mapping[str, Any]] = MappingProxyType(
    {
        400: {
            "code": "malformed",
            "detail": "the body has mistakes",
            "errors": [
                {"pointer": "/workflow", "detail": "must be a text, is 5"},
                {"pointer": "/inputs/text/uplod", "detail": "is no member; did you mean 'upload'?"},
            ],
        },
        401: {
            "code": "unauthenticated",
            "detail": "there is no token in the request",
            "hint": "send Authorization: Bearer ls_...",
        },
        403: {
            "code": "denied",
            "detail": "the agreement of this token is ended",
            "reason": "agreement-ended",
            "hint": "ask the provider for a new agreement",
        },
        404: {"code": "not-found", "detail": f"there is no job {_ID!r}"},
        409: {
            "code": "inputs-missing",
            "detail": "the job waits for its input 'text'",
            "hint": "upload what is missing, then start again",
            "missing": ["text"],
        },
        412: {"code": "precondition-failed", "detail": 'the job is at "5", not at "4"'},
        413: {"code": "too-large", "detail": "the body has more than 1 MiB"},
        415: {
            "code": "unsupported-media-type",
            "detail": "the body is sent as text/plain",
            "hint": "send JSON with Content-Type: application/json",
        },
        416: {"code": "range-not-satisfiable", "detail": "the log has no such bytes"},
        422: {
            "code": "request-invalid",
            "detail": "the request has mistakes",
            "errors": [{"pointer": "/parameters/top", "detail": "0 is less than 1"}],
        },
        429: {
            "code": "rate-limited",
            "detail": "this token may send 200 requests a second, 1000 at once",
            "hint": "wait as long as Retry-After says",
        },
        503: {
            "code": "store-unavailable",
            "detail": "The state could not be written or read.",
        },
    }
)
#: what it says, and an example
HEADERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Location": ("where it is", f"https://compute.example/v1/jobs/{_ID}"),
        "ETag": ("changes when it does", '"4"'),
        "Retry-After": ("seconds to wait", "1"),
        "WWW-Authenticate": ("how to say who asks", 'Bearer realm="longshore"'),
        "Content-Range": ("which bytes of how many", "bytes 0-1023/4096"),
    }
)
_JSON = "application/json"
_LOG = "chapter 1\nchapter 2\n"
#: by the name of a handler: status, what it means, content by media type (a schema or an example
#: of text), and headers; these take the place of the one answer that the handler declares
ANSWERS: Mapping[str, Mapping[int, tuple[str, Mapping[str, Any], tuple[str, ...]]]] = (
    MappingProxyType(
        {
            "submit_job": {
                201: ("A new job, durable.", {_JSON: SubmittedJob}, ("Location", "ETag")),
                200: (
                    "The job that this key has made before, with fresh uploads.",
                    {_JSON: SubmittedJob},
                    ("Location", "ETag"),
                ),
            },
            "get_job": {
                200: ("The job.", {_JSON: Job}, ("ETag",)),
                304: ("It is as `If-None-Match` says.", {}, ("ETag",)),
            },
            "put_workflow": {
                201: ("A new workflow is offered.", {_JSON: Workflow}, ()),
                200: ("The workflow is offered in this version.", {_JSON: Workflow}, ()),
            },
            "list_events": {
                200: (
                    "Events in order; as a stream they go on until the job has ended.",
                    {_JSON: EventPage, "text/event-stream": _STREAM},
                    (),
                ),
            },
            "read_log": {
                200: ("All of it; with `follow` to the job's end.", {"text/plain": _LOG}, ()),
                206: ("The range.", {"text/plain": _LOG}, ("Content-Range",)),
            },
            "get_output": {
                307: ("Send GET there, without your token.", {}, ("Location",)),
            },
            "get_metrics": {
                200: (
                    "The numbers.",
                    {"text/plain": 'longshore_jobs{state="RUNNING"} 2\n'},
                    (),
                ),
            },
            "get_document": {
                200: ("This document.", {_JSON: dict}, ("ETag",)),
                304: ("It is as `If-None-Match` says.", {}, ("ETag",)),
            },
        }
    )
)
