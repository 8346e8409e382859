"""Workflows: what a token may run, and an administrator's changes to what is offered."""

from typing import Annotated, Any

from litestar import Response, delete, put
from litestar.params import JSONBody, Parameter

from longshore.definitions import parse_workflow
from longshore.errors import Problem as Mistake, WorkflowInvalid
from longshore.models import Role
from longshore.wire import workflow_to_wire
from longshore_api.answers import answer
from longshore_api.docs import errors
from longshore_api.mistakes import pointer_to
from longshore_api.requests import ROLE, SCOPE, GivenCaller, GivenProvider
from longshore_api.routing import get
from longshore_api.schemas.workflows import Workflow, WorkflowList

WorkflowId = Annotated[str, Parameter(description="a workflow's id", max_length=255)]
READ = {SCOPE: "jobs:read", ROLE: (Role.CONSUMER, Role.ADMIN)}
ADMIN = {ROLE: (Role.ADMIN,)}
_CREATED = 201


@get("/v1/workflows", opt=READ, responses=errors(401, 403, 429, 503))
async def list_workflows(caller: GivenCaller, provider: GivenProvider) -> Response[WorkflowList]:
    """List the workflows that this token may run."""
    found = await provider.service.workflows(caller.agreement)
    return answer({"items": [workflow_to_wire(one) for one in found], "next": None})


@get("/v1/workflows/{workflow_id:str}", opt=READ, responses=errors(401, 403, 404, 422, 429, 503))
async def get_workflow(
    workflow_id: WorkflowId, caller: GivenCaller, provider: GivenProvider
) -> Response[Workflow]:
    """Show a workflow: parameters as JSON Schema, inputs, outputs, bounds."""
    found = await provider.service.workflow(workflow_id, caller.agreement)
    return answer(workflow_to_wire(found))


@put("/v1/workflows/{workflow_id:str}", opt=ADMIN,
     responses=errors(400, 401, 403, 409, 413, 415, 422, 429, 503))  # fmt: skip
async def put_workflow(
    workflow_id: WorkflowId, data: JSONBody[dict[str, Any]], provider: GivenProvider
) -> Response[Workflow]:
    """Register a workflow, as in a definition file; a version that a job used stays as it was."""
    mistakes = _of_address(data, workflow_id)
    try:
        workflow = parse_workflow(data, source="the body")
        is_new = not mistakes and await provider.host.offer(workflow)
    except WorkflowInvalid as exc:
        mistakes += [_pointed(one, data) for one in exc.problems]
    else:
        if not mistakes:
            return answer(workflow_to_wire(workflow), _CREATED if is_new else 200)
    raise WorkflowInvalid("the workflow has mistakes", mistakes)


def _of_address(data: dict[str, Any], workflow_id: str) -> list[Mistake]:
    if data.get("id", workflow_id) == workflow_id:
        return []
    return [Mistake("/id", f"is not {workflow_id!r}, which the address says")]


def _pointed(problem: Mistake, data: dict[str, Any]) -> Mistake:
    """Return what the core says of ``source: key.key`` with a pointer into the body."""
    return Mistake(pointer_to(problem.where.partition(": ")[2], data), problem.message)


@delete("/v1/workflows/{workflow_id:str}", opt=ADMIN,
        responses=errors(401, 403, 404, 409, 422, 429, 503))  # fmt: skip
async def retire_workflow(workflow_id: WorkflowId, provider: GivenProvider) -> None:
    """Offer a workflow no longer; jobs keep the version they were made with."""
    await provider.service.workflow(workflow_id)
    await provider.host.retire(workflow_id)


ROUTES: tuple[Any, ...] = (list_workflows, get_workflow, put_workflow, retire_workflow)
