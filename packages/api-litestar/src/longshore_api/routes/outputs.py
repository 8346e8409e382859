"""A job's outputs: what there is, and a signed request for each."""

from typing import Any

from litestar import Response

from longshore.models import Role
from longshore.wire import outputs_to_wire
from longshore_api.answers import answer
from longshore_api.docs import errors
from longshore_api.requests import ROLE, SCOPE, GivenCaller, GivenProvider
from longshore_api.routes.inputs import Name
from longshore_api.routes.jobs import JobId
from longshore_api.routing import get
from longshore_api.schemas.jobs import Outputs

READ = {SCOPE: "data:read", ROLE: (Role.CONSUMER,)}
_REDIRECT = 307


@get("/v1/jobs/{job_id:str}/outputs", opt=READ, responses=errors(401, 403, 404, 422, 429, 503))
async def list_outputs(
    job_id: JobId, caller: GivenCaller, provider: GivenProvider
) -> Response[Outputs]:
    """List the outputs that may be read."""
    return answer({"items": outputs_to_wire(await provider.job(caller, job_id))})


@get("/v1/jobs/{job_id:str}/outputs/{name:str}", status_code=_REDIRECT, opt=READ,
     responses=errors(401, 403, 404, 422, 429, 503))  # fmt: skip
async def get_output(
    job_id: JobId, name: Name, caller: GivenCaller, provider: GivenProvider
) -> Response[bytes]:
    """Redirect to a request that reads the output; it needs no token and lives 15 minutes."""
    request = await provider.service.output(caller.tenant, job_id, name)
    headers = {"location": request.url, "cache-control": "no-store"}
    return Response(content=b"", status_code=_REDIRECT, headers=headers)


ROUTES: tuple[Any, ...] = (list_outputs, get_output)
