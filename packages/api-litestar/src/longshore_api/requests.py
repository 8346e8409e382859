"""Requests whose bodies are read strictly, and only after the caller's rights were checked."""

from functools import partial
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler

from longshore.errors import Denied, Unauthenticated
from longshore.models import Caller, Role
from longshore_api.bodies import check_sent, decode, read_body
from longshore_api.gate import is_open
from longshore_api.provider import Provider

#: what handlers are given beside their parameters
GivenCaller = NamedDependency[Caller]
GivenProvider = NamedDependency[Provider]
SCOPE = "longshore_scope"
ROLE = "longshore_role"


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON becomes the type that its handler declares, or is refused."""

    async def body(self) -> bytes:
        """Return the body, checked for size and media type where the handler takes one."""
        if "longshore_body" not in self.state:
            wanted = self._wanted()
            provider, announced = provider_of(self), self.headers.get("content-length")
            hold = partial(provider.bodies.hold, caller_of(self).token)
            content = await read_body(self.receive, provider.limits.body, announced, hold)
            if wanted is not None:
                check_sent(content, self.headers.get("content-type"))
            self.state.longshore_body = content
        return self.state.longshore_body  # type: ignore[no-any-return]  # set above

    async def json(self) -> Any:
        """Return what the handler declares."""
        wanted = self._wanted()
        return decode(await self.body(), wanted.annotation if wanted else Any)

    def _wanted(self) -> Any:
        return self.route_handler.parsed_fn_signature.parameters.get("data")


def provider_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Provider:
    """Return what the gate put beside the request."""
    return connection.scope["state"]["provider"]  # type: ignore[no-any-return]  # the gate's


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Return who asks, as the gate found out."""
    return connection.scope["state"]["caller"]  # type: ignore[no-any-return]  # the gate's


def check_access(caller: Caller, handler: BaseRouteHandler) -> None:
    """Raise where the caller's role or scopes do not allow the handler.

    Raises:
        Denied: what is lacking is named.
    """
    scope = handler.opt.get(SCOPE)
    roles = handler.opt.get(ROLE)
    if roles is not None and caller.role not in roles:
        raise Denied(
            f"this needs the role {' or '.join(roles)}; the token has {caller.role}",
            reason="wrong-role",
            hint=_ROLE_HINTS[caller.role],
        )
    if scope is not None:
        check_scope(caller, scope)


def check_scope(caller: Caller, scope: str) -> None:
    """Raise where the caller's token is not for ``scope``.

    Raises:
        Denied: it is not.
    """
    if scope not in caller.scopes:
        raise Denied(f"this token is not for {scope}", reason="wrong-scope")


_ROLE_HINTS = {
    Role.ADMIN: "make an agreement, and use a token of it",
    Role.CONSUMER: "ask the provider",
    Role.REVIEWER: "ask the provider",
}


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Check role and scopes, then that the job is the caller's: before any body is read."""
    if "caller" not in connection.scope["state"]:
        if not is_open(connection.scope["path"]):
            raise Unauthenticated("nobody has looked at the token", reason="missing")
        return
    caller = caller_of(connection)
    check_access(caller, handler)
    job_id = connection.path_params.get("job_id")
    if job_id is not None and "data" in handler.parsed_fn_signature.parameters:
        await provider_of(connection).job(caller, job_id)
