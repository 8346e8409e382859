"""Jobs, their inputs, outputs and events on the wire."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from longshore.errors import Problem as Mistake, RequestInvalid
from longshore.models import AnnouncedInput, InlineInput, JobRequest
from longshore.parameters import pointer
from longshore.transfer import UploadReceipt
from longshore_api.errors import Malformed

Id = Annotated[str, Meta(description="26 characters", examples=["01m7yx0md66s7yvpfs01kaagdv"])]
Name = Annotated[str, Meta(description="a declared name", examples=["text"])]
Sha256 = Annotated[
    str, Meta(description="64 lower-case hexadecimal digits", pattern="^[0-9a-f]{64}$")
]
Size = Annotated[int, Meta(ge=0, le=2**63 - 1, description="bytes")]


class Announcement(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An input that is uploaded afterwards; what is said of it is checked."""

    size: Size | None = None
    sha256: Sha256 | None = None


class InputGiven(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An input: its ``text`` here, or an ``upload`` that follows."""

    text: Annotated[str, Meta(description="the whole input, as UTF-8")] | UnsetType = UNSET
    upload: Announcement | UnsetType = UNSET

    def to_core(self, name: str) -> InlineInput | AnnouncedInput:
        """Return the core's input.

        Raises:
            Malformed: not exactly one of the two is there.
        """
        if not isinstance(self.text, UnsetType) and isinstance(self.upload, UnsetType):
            return InlineInput(content=self.text.encode())
        if not isinstance(self.upload, UnsetType) and isinstance(self.text, UnsetType):
            return AnnouncedInput(size=self.upload.size, sha256=self.upload.sha256)
        raise Malformed("must have either 'text' or 'upload'", pointer=pointer("inputs", name))


class NewJob(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a consumer asks for."""

    workflow: Annotated[
        str, Meta(description="the id of a workflow", examples=["wordcount"], max_length=255)
    ]
    parameters: Annotated[
        dict[str, Any], Meta(description="by the workflow's JSON Schema", examples=[{"top": 5}])
    ] = msgspec.field(default_factory=dict)
    inputs: Annotated[
        dict[
            str,
            Annotated[InputGiven, Meta(extra_json_schema={"minProperties": 1, "maxProperties": 1})],
        ],
        Meta(description="by name", examples=[{"text": {"text": "to be or not to be\n"}}]),
    ] = msgspec.field(default_factory=dict)
    resources: Annotated[
        dict[str, str | int | float],
        Meta(description="single values within the workflow's bounds", examples=[{"cpu": 1}]),
    ] = msgspec.field(default_factory=dict)
    start: Annotated[bool, Meta(description="start as soon as nothing is to be uploaded")] = True

    def to_core(self) -> JobRequest:
        """Return the core's request.

        Raises:
            Malformed: an input is neither text nor an upload.
        """
        return JobRequest(
            workflow=self.workflow,
            parameters=self.parameters,
            inputs={name: given.to_core(name) for name, given in self.inputs.items()},
            resources=self.resources,
            start=self.start,
        )


class UploadedPart(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One part as its uploader knows it."""

    number: Annotated[int, Meta(ge=1, le=10_000)]
    etag: Annotated[str, Meta(max_length=256)]


class Completion(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The end of an upload by parts; without ``parts``, what the storage has."""

    parts: list[UploadedPart] = msgspec.field(default_factory=list)
    size: Size | None = None
    sha256: Sha256 | None = None

    def to_core(self) -> UploadReceipt:
        """Return the core's receipt.

        Raises:
            RequestInvalid: the parts are not numbered 1, 2, ...
        """
        numbers = [part.number for part in self.parts]
        if numbers != list(range(1, len(numbers) + 1)):
            mistake = Mistake("/parts", "must be numbered 1, 2, ... in order")
            raise RequestInvalid("the upload has mistakes", [mistake])
        tags = tuple(part.etag.strip('"') for part in self.parts)
        return UploadReceipt(size=self.size, sha256=self.sha256, parts=tags)


class Reason(Struct, frozen=True, rename="camel"):
    """Why a job failed: a stable code, whose doing, and what to do."""

    code: str
    fault: str
    message: str
    hint: str
    retryable: bool


class StopRequested(Struct, frozen=True, rename="camel"):
    """By whom, why and when a job was asked to end."""

    by: str
    why: str
    at: datetime


class Progress(Struct, frozen=True, rename="camel"):
    """What the worker said last."""

    done: float
    total: float
    text: str = ""


class Next(Struct, frozen=True, rename="camel"):
    """What happens next, and by when at the latest."""

    what: str
    by: datetime | None


class Job(Struct, frozen=True, rename="camel"):
    """A job. ``position`` is how many wait before it, ``enforced`` how each limit is held."""

    id: Id
    workflow: str
    version: str
    state: Annotated[
        str,
        Meta(
            description="CREATED, QUEUED, STAGING_IN, RUNNING, STAGING_OUT, IN_REVIEW, SUCCEEDED, "
            "FAILED or CANCELED",
            examples=["RUNNING"],
        ),
    ]
    reason: Reason | None
    exit_code: int | None
    attempt: int
    stop_requested: StopRequested | None
    progress: Progress | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next: Next | None
    position: int | None
    unconfirmed: bool
    enforced: dict[str, str]
    purged: bool


class PartRequest(Struct, frozen=True, rename="camel"):
    """The request that sends one part; ``size`` bytes of it."""

    number: int
    size: int
    method: str
    url: str
    headers: dict[str, str]


class Upload(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The requests that send an input: one, or ``parts`` in order. Each may be sent as it is."""

    method: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET
    parts: list[PartRequest] | UnsetType = UNSET


class SubmittedJob(Job, frozen=True, rename="camel"):
    """A job with the uploads that it waits for, by input."""

    uploads: dict[str, Upload]


class JobPage(Struct, frozen=True, rename="camel"):
    """Jobs, newest first; ``next`` is the cursor of the following page."""

    items: list[Job]
    next: str | None


class SentPart(Struct, frozen=True, rename="camel"):
    """A part that has arrived."""

    number: int
    size: int
    etag: str


class InputState(Struct, frozen=True, rename="camel"):
    """Where an input is: ``missing``, ``uploaded`` (not yet checked) or ``received``."""

    name: Name
    state: str
    sent: list[SentPart]
    upload: Upload | None


class Output(Struct, frozen=True, rename="camel"):
    """A readable output."""

    name: Name
    size: int
    sha256: str
    media_type: str


class Outputs(Struct, frozen=True, rename="camel"):
    """The outputs that may be read."""

    items: list[Output]


class Event(Struct, frozen=True, rename="camel"):
    """A fact about a job, numbered; further members say what it changed."""

    seq: int
    type: str
    at: datetime


class EventPage(Struct, frozen=True, rename="camel"):
    """Events in order; ``next`` is the ``after`` of the following page."""

    items: list[Event]
    next: str | None
