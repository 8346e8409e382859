"""A job's inputs: where they are, and the end of an upload by parts."""

from typing import Annotated, Any

from litestar import Response, post
from litestar.params import JSONBody, Parameter

from longshore.models import Role
from longshore_api.answers import answer, job_answer
from longshore_api.docs import errors
from longshore_api.requests import ROLE, SCOPE, GivenCaller, GivenProvider
from longshore_api.routes.jobs import SEND, JobId
from longshore_api.routing import get
from longshore_api.schemas.jobs import Completion, InputState, Job
from longshore_api.uploads import upload_to_wire

#: what shows how to send bytes may send them
FEED = {SCOPE: SEND, ROLE: (Role.CONSUMER,)}
Name = Annotated[str, Parameter(description="a declared name", max_length=255)]


@get("/v1/jobs/{job_id:str}/inputs/{name:str}", opt=FEED,
     responses=errors(401, 403, 404, 422, 429, 503))  # fmt: skip
async def get_input(
    job_id: JobId, name: Name, caller: GivenCaller, provider: GivenProvider
) -> Response[InputState]:
    """Show what has come of an input, with fresh requests for what is missing."""
    found = await provider.service.input_state(caller.tenant, job_id, name)
    sent = [{"number": one.number, "size": one.size, "etag": one.tag} for one in found.sent]
    upload = None
    if found.upload is not None:
        upload = upload_to_wire(found.upload, without={one.number for one in found.sent})
    return answer({"name": name, "state": found.state, "sent": sent, "upload": upload})


@post("/v1/jobs/{job_id:str}/inputs/{name:str}/complete", status_code=200, opt=FEED,
      responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 429, 503))  # fmt: skip
async def complete_input(
    job_id: JobId,
    name: Name,
    data: JSONBody[Completion],
    caller: GivenCaller,
    provider: GivenProvider,
) -> Response[Job]:
    """Check an upload and make it the job's input. Repeatable."""
    receipt = data.to_core()
    job = await provider.service.complete_input(
        caller.tenant, job_id, name, receipt, by=caller.token
    )
    return await job_answer(provider, job)


ROUTES: tuple[Any, ...] = (get_input, complete_input)
