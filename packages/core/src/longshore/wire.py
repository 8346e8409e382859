"""Jobs, events and workflows as the JSON of the wire, for callers in the same process."""

from collections.abc import Mapping
from typing import Any

from longshore.codec import converter, format_time
from longshore.models import Input, InputKind, Job, JobEvent, Output, Reason, Resources, Workflow

Json = dict[str, Any]

#: fields of a job's events that readers are shown, and their names
_SHOWN = {
    "state": "state",
    "attempt": "attempt",
    "inferred": "inferred",
    "progress": "progress",
    "reason": "reason",
    "outcome": "outcome",
    "stop": "stopRequested",
    "inputs": "inputs",
    "enforced": "enforced",
    "unconfirmed": "unconfirmed",
}


def to_wire(value: Any) -> Any:
    """Return a model as JSON with the names of the wire."""
    return _camel(converter.unstructure(value))


def _camel(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_name(key): _camel(inner) for key, inner in value.items()}
    return [_camel(inner) for inner in value] if isinstance(value, list | tuple) else value


def _name(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(part.capitalize() for part in rest)


def job_to_wire(job: Job, *, place: int | None = None) -> Json:
    """Return a job as ``GET /v1/jobs/{id}`` does; ``place`` is how many wait before it."""
    return {
        "id": job.id,
        "workflow": job.workflow,
        "version": job.version,
        "state": str(job.state),
        "reason": job.reason and reason_to_wire(job.reason),
        "exitCode": job.exit_code,
        "attempt": job.attempt,
        "stopRequested": job.stop and to_wire(job.stop),
        "progress": job.progress and to_wire(job.progress),
        "createdAt": format_time(job.created_at),
        "startedAt": job.started_at and format_time(job.started_at),
        "finishedAt": job.finished_at and format_time(job.finished_at),
        "next": job.next_what
        and {"what": job.next_what, "by": job.next_by and format_time(job.next_by)},
        "position": place,
        "unconfirmed": job.unconfirmed,
        "enforced": dict(job.enforced),
        "purged": job.purged,
    }


def reason_to_wire(reason: Reason) -> Json:
    """Return why a job failed, with every member."""
    return {**to_wire(reason), "hint": reason.hint, "retryable": reason.retryable}


def event_to_wire(event: JobEvent) -> Json:
    """Return an event as ``GET /v1/jobs/{id}/events`` does."""
    shown = {_SHOWN[name]: to_wire(value) for name, value in event.data.items() if name in _SHOWN}
    return {"seq": event.seq, "type": event.type, "at": format_time(event.at), **shown}


def outputs_to_wire(job: Job) -> list[Json]:
    """Return a job's readable outputs as ``GET /v1/jobs/{id}/outputs`` lists them."""
    if job.purged:
        return []
    return [
        {"name": one.name, "size": one.size, "sha256": one.sha256, "mediaType": one.media_type}
        for one in job.products
    ]


def workflow_to_wire(workflow: Workflow) -> Json:
    """Return a workflow as ``GET /v1/workflows/{id}`` does: what a consumer may know of it."""
    return {
        "id": workflow.id,
        "title": workflow.title,
        "version": workflow.version,
        "description": workflow.description,
        "network": str(workflow.network),
        "parameters": dict(workflow.parameters),
        "inputs": {one.name: _place(one) for one in workflow.inputs.values()},
        "outputs": {one.name: _place(one) for one in workflow.outputs.values()},
        "resources": _resources(workflow.resources),
        "maxResources": _resources(workflow.max_resources or workflow.resources),
    }


def _resources(resources: Resources) -> Json:
    return {
        "cpu": resources.cpu,
        "memory": resources.memory,
        "gpu": resources.gpu,
        "disk": resources.disk,
        "walltime": resources.walltime.total_seconds(),
    }


def _place(declared: Input | Output) -> Json:
    shown: Json = {
        "kind": str(declared.kind),
        "required": declared.required,
        "maxSize": declared.max_size,
        "description": declared.description,
        "mediaType": declared.media_type,
    }
    if isinstance(declared, Input) and declared.names:
        shown["names"] = list(declared.names)
    if isinstance(declared, Input) and declared.kind is InputKind.ARCHIVE:
        shown["maxUnpacked"] = declared.max_unpacked
    return shown
