"""The Litestar application: its routes, its document, and its errors."""

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.router import Router

from longshore.models import Caller
from longshore_api.errors import Malformed, MethodNotAllowed, UnknownRoute
from longshore_api.provider import Provider
from longshore_api.requests import StrictRequest, caller_of, guard, provider_of
from longshore_api.routes import (
    agreements,
    events,
    inputs,
    jobs,
    logs,
    operation,
    outputs,
    workflows,
)
from longshore_api.routing import allow_of, options_of

ROUTES: Sequence[Any] = (
    *workflows.ROUTES,
    *jobs.ROUTES,
    *inputs.ROUTES,
    *events.ROUTES,
    *logs.ROUTES,
    *outputs.ROUTES,
    *agreements.ROUTES,
    *operation.ROUTES,
)


def get_caller(request: Request[Any, Any, Any]) -> Caller:
    """Return who asks."""
    return caller_of(request)


def get_provider(request: Request[Any, Any, Any]) -> Provider:
    """Return the service."""
    return provider_of(request)


def hand_to_gate(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Raise an error as one of ours: the gate answers all of them in one way."""
    raise translate(request, error) from error


def translate(request: Request[Any, Any, Any], error: Exception) -> Exception:
    """Return an error of the framework as one of ours."""
    path = request.scope["path"]
    if isinstance(error, NotFoundException):
        return UnknownRoute(f"there is nothing at {path}", hint="/docs shows what there is")
    if isinstance(error, MethodNotAllowedException):
        allow = allow_of((error.headers or {}).get("allow", "").split(", "))
        return MethodNotAllowed(f"{path} does not take {request.method}", allow=allow)
    if isinstance(error, ValidationException):
        return Malformed(_mistakes(error))
    if isinstance(error, HTTPException) and error.status_code < 500:  # noqa: PLR2004 - the caller's
        return Malformed(error.detail)
    return error


def _mistakes(error: ValidationException) -> str:
    extra = error.extra if isinstance(error.extra, list) else []
    found = [f"{one.get('key', '')}: {one.get('message', '')}".strip(": ") for one in extra]
    return "; ".join(found) or error.detail


def make_router(path: str = "/", *, middleware: Sequence[Any] = ()) -> Router:
    """Return the routes of version 1 as a router that a Litestar application can mount."""
    return Router(
        path=path,
        route_handlers=[*options_of(ROUTES), *ROUTES],
        middleware=middleware,
        guards=[guard],
        dependencies={
            "caller": Provide(get_caller, sync_to_thread=False),
            "provider": Provide(get_provider, sync_to_thread=False),
        },
        exception_handlers={Exception: hand_to_gate},
        request_class=StrictRequest,
    )


def make_app() -> Litestar:
    """Return the application behind the gate."""
    return Litestar(
        route_handlers=[make_router()],
        openapi_config=None,  # operation.get_document serves ours
        exception_handlers={Exception: hand_to_gate},
        request_class=StrictRequest,
        logging_config=None,
        debug=False,
    )
