"""What callers in this process see is the JSON of the wire."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from longshore.models import (
    Fault,
    Input,
    InputKind,
    Job,
    JobEvent,
    JobState,
    Output,
    Product,
    Progress,
    Reason,
    Resources,
    StopRequest,
    Workflow,
)
from longshore.testing.store import make_job
from longshore.wire import event_to_wire, job_to_wire, outputs_to_wire, workflow_to_wire
from longshore.workers import shipped

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STAMP = "2026-01-02T03:04:05.000000Z"
#: what a consumer may branch on; names are added, never changed
JOB_FIELDS = {
    *("id", "workflow", "version", "state", "reason", "exitCode", "attempt", "stopRequested"),
    *("progress", "createdAt", "startedAt", "finishedAt", "next"),
    *("position", "unconfirmed", "enforced", "purged"),
}


def full() -> Job:
    return make_job(
        state=JobState.FAILED,
        reason=Reason("oom", Fault.APP, "too much", "take less"),
        stop=StopRequest(by="acme", why="cancel", at=AT),
        progress=Progress(done=3, total=10, text="half"),
        products=(Product(name="counts", size=5, sha256="ab", media_type="text/csv"),),
        enforced={"memory": "cgroup"},
        started_at=AT,
        finished_at=AT,
        next_what="end",
        next_by=AT,
        key="secret key",
        fingerprint="secret print",
    )


@pytest.mark.parametrize("job", [make_job(), full()], ids=["new", "ended"])
def test_a_job_has_every_field_whatever_is_known_of_it(job: Job) -> None:
    shown = job_to_wire(job)
    assert set(shown) == JOB_FIELDS
    assert json.loads(json.dumps(shown)) == shown


def test_a_new_job_says_null_where_nothing_is_known() -> None:
    shown = job_to_wire(make_job(), place=2)
    for name in ("reason", "exitCode", "stopRequested", "progress", "startedAt", "next"):
        assert shown[name] is None
    assert (shown["state"], shown["attempt"], shown["position"]) == ("CREATED", 1, 2)


def test_what_is_known_of_a_job_is_shown_in_the_words_of_the_wire() -> None:
    shown = job_to_wire(full())
    assert shown["reason"] == {
        "code": "oom",
        "fault": "app",
        "message": "too much",
        "hint": "take less",
        "retryable": False,
    }
    assert shown["stopRequested"] == {"by": "acme", "why": "cancel", "at": STAMP}
    assert shown["progress"] == {"done": 3, "total": 10, "text": "half"}
    assert shown["next"] == {"what": "end", "by": STAMP}
    assert shown["startedAt"] == shown["finishedAt"] == STAMP


def test_nobody_is_shown_the_key_or_the_tenant() -> None:
    said = json.dumps(job_to_wire(full()))
    assert "secret" not in said
    assert '"tenant"' not in said


def test_an_event_shows_what_readers_follow_and_nothing_of_the_record() -> None:
    data: dict[str, Any] = {
        "state": JobState.RUNNING,
        "attempt": 2,
        "inferred": True,
        "started_at": AT,
        "next_by": AT,
        "dispatched": True,
        "stop": StopRequest(by="acme", why="cancel", at=AT),
    }
    event = JobEvent(job_id="j", seq=4, type="WorkerStarted", at=AT, data=data)
    assert event_to_wire(event) == {
        "seq": 4,
        "type": "WorkerStarted",
        "at": STAMP,
        "state": "RUNNING",
        "attempt": 2,
        "inferred": True,
        "stopRequested": {"by": "acme", "why": "cancel", "at": STAMP},
    }


def test_outputs_are_listed_until_they_are_purged() -> None:
    job = full()
    assert outputs_to_wire(job) == [
        {"name": "counts", "size": 5, "sha256": "ab", "mediaType": "text/csv"}
    ]
    assert outputs_to_wire(attrs.evolve(job, purged=True)) == []


def test_a_workflow_shows_what_a_consumer_may_know() -> None:
    workflow = Workflow(
        id="w",
        command=("secret-command",),
        image="secret-image",
        parameters={"properties": {"top": {}}},
        inputs={
            "text": Input(name="text", max_size=10, required=False, description="a text"),
            "env": Input(name="env", kind=InputKind.ENV, names=("A",)),
        },
        outputs={"made": Output(name="made", path="/secret/path")},
        resources=Resources(walltime=timedelta(seconds=90)),
        backend="secret-backend",
    )
    shown = workflow_to_wire(workflow)
    assert "secret" not in json.dumps(shown)
    assert shown["inputs"]["text"] == {
        "kind": "file",
        "required": False,
        "maxSize": 10,
        "description": "a text",
        "mediaType": None,
    }
    assert shown["inputs"]["env"]["names"] == ["A"]
    assert shown["resources"]["walltime"] == shown["maxResources"]["walltime"] == 90
    assert shown["parameters"] == {"properties": {"top": {}}}


@pytest.mark.parametrize("workflow", shipped(), ids=lambda it: it.id)
def test_the_shipped_workflows_can_be_shown(workflow: Workflow) -> None:
    assert json.loads(json.dumps(workflow_to_wire(workflow)))["id"] == workflow.id
