"""Agreements and their tokens, for administrators; and who a token is."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from litestar import Response, delete, post
from litestar.params import JSONBody, Parameter

from longshore.agreements import agreement_problems
from longshore.errors import Problem as Mistake, RequestInvalid
from longshore.models import (
    EVERY_WORKFLOW,
    SCOPES,
    Agreement as CoreAgreement,
    AtEnd,
    Role,
    Token as CoreToken,
)
from longshore.suggestions import did_you_mean
from longshore_api.answers import answer
from longshore_api.docs import errors
from longshore_api.provider import Provider
from longshore_api.requests import ROLE, GivenCaller, GivenProvider
from longshore_api.routing import get
from longshore_api.schemas.access import (
    Agreement,
    AgreementPage,
    IssuedToken,
    MadeAgreement,
    Me,
    NewAgreement,
    NewToken,
    Notice,
    TokenList,
)

AgreementId = Annotated[str, Parameter(description="an agreement's id", max_length=64)]
TokenId = Annotated[str, Parameter(description="a token's id", max_length=64)]
ADMIN = {ROLE: (Role.ADMIN,)}
_CREATED = 201
_PAGE = 1000
Limit = Annotated[int, Parameter(ge=1, le=_PAGE)]
Cursor = Annotated[str | None, Parameter(description="``next`` of the page before", max_length=64)]


@get("/v1/me", responses=errors(401, 429, 503))
async def get_me(caller: GivenCaller) -> Response[Me]:
    """Show whose token this is."""
    allowed = caller.agreement.workflows if caller.agreement else (EVERY_WORKFLOW,)
    return answer(
        Me(
            tenant=caller.tenant,
            role=str(caller.role),
            agreement=caller.agreement.id if caller.agreement else None,
            workflows=None if EVERY_WORKFLOW in allowed else list(allowed),
            scopes=list(caller.scopes),
            expires_at=caller.expires_at,
        )
    )


@post("/v1/agreements", opt=ADMIN, responses=errors(400, 401, 403, 413, 415, 422, 429, 503))
async def create_agreement(
    data: JSONBody[NewAgreement], caller: GivenCaller, provider: GivenProvider
) -> Response[MadeAgreement]:
    """Let a tenant run workflows; those that are not offered now are allowed and named."""
    if mistakes := list(_mistakes(data)):  # the core's as well: all are told at once
        draft = _draft(data, provider.clock.now())
        raise RequestInvalid("the agreement has mistakes", [*mistakes, *agreement_problems(draft)])
    made = await provider.access.create_agreement(
        tenant=data.tenant,
        workflows=tuple(data.workflows),
        valid_from=data.valid_from,
        valid_until=data.valid_until,
        at_end=AtEnd(data.at_end),
        by=caller.token,
    )
    headers = {"location": provider.url(f"/v1/agreements/{made.id}")}
    shown = {**_agreement(made), "warnings": await _warnings(provider, made)}
    return answer(shown, _CREATED, headers)


def _mistakes(data: NewAgreement) -> Iterator[Mistake]:
    if data.at_end not in set(AtEnd):
        yield Mistake("/atEnd", f"must be {' or '.join(AtEnd)}")
    if data.quotas:
        yield Mistake("/quotas", "cannot be kept by this version; leave it out or empty")


def _draft(data: NewAgreement, now: datetime) -> CoreAgreement:
    return CoreAgreement(
        id="",
        tenant=data.tenant,
        workflows=tuple(data.workflows),
        created_at=now,
        valid_from=data.valid_from,
        valid_until=data.valid_until,
    )


async def _warnings(provider: Provider, made: CoreAgreement) -> list[Notice]:
    offered = [one.id for one in await provider.service.workflows()]
    return [
        Notice(
            f"/workflows/{place}",
            f"no workflow {name!r} is offered now{did_you_mean(name, offered)}",
        )
        for place, name in enumerate(made.workflows)
        if name not in {EVERY_WORKFLOW, *offered}
    ]


@get("/v1/agreements", opt=ADMIN, responses=errors(401, 403, 422, 429, 503))
async def list_agreements(
    provider: GivenProvider, limit: Limit = 50, cursor: Cursor = None
) -> Response[AgreementPage]:
    """List agreements, newest first."""
    found = await provider.access.agreements(before=cursor, limit=limit)
    following = found[-1].id if len(found) == limit else None
    return answer({"items": [_agreement(one) for one in found], "next": following})


@get("/v1/agreements/{agreement_id:str}", opt=ADMIN, responses=errors(401, 403, 404, 422, 429, 503))
async def get_agreement(agreement_id: AgreementId, provider: GivenProvider) -> Response[Agreement]:
    """Show an agreement."""
    return answer(_agreement(await provider.access.agreement(agreement_id)))


@delete("/v1/agreements/{agreement_id:str}", opt=ADMIN,
        responses=errors(401, 403, 404, 422, 429, 503))  # fmt: skip
async def revoke_agreement(
    agreement_id: AgreementId, caller: GivenCaller, provider: GivenProvider
) -> None:
    """Revoke an agreement: its tokens end, its jobs are stopped, its bytes purged. Repeatable."""
    await provider.access.revoke_agreement(agreement_id, by=caller.token)


@post("/v1/agreements/{agreement_id:str}/tokens", opt=ADMIN,
      responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 429, 503))  # fmt: skip
async def issue_token(
    agreement_id: AgreementId,
    data: JSONBody[NewToken],
    caller: GivenCaller,
    provider: GivenProvider,
) -> Response[IssuedToken]:
    """Issue a token; it is shown this once."""
    issued = await provider.access.issue_token(
        agreement_id,
        by=caller.token,
        expires_at=data.expires_at,
        scopes=SCOPES if data.scopes is None else tuple(data.scopes),
    )
    shown = IssuedToken(
        id=issued.token.id,
        token=issued.text,
        scopes=list(issued.token.scopes),
        expires_at=issued.token.expires_at,
    )
    return answer(shown, _CREATED, {"cache-control": "no-store"})


@get("/v1/agreements/{agreement_id:str}/tokens", opt=ADMIN,
     responses=errors(401, 403, 404, 422, 429, 503))  # fmt: skip
async def list_tokens(
    agreement_id: AgreementId, provider: GivenProvider, limit: Limit = 50, cursor: Cursor = None
) -> Response[TokenList]:
    """List the tokens of an agreement, newest first, without their secrets."""
    found = await provider.access.tokens(agreement_id, before=cursor, limit=limit)
    following = found[-1].id if len(found) == limit else None
    return answer({"items": [_token(one) for one in found], "next": following})


@delete("/v1/agreements/{agreement_id:str}/tokens/{token_id:str}", opt=ADMIN,
        responses=errors(401, 403, 404, 422, 429, 503))  # fmt: skip
async def revoke_token(
    agreement_id: AgreementId, token_id: TokenId, caller: GivenCaller, provider: GivenProvider
) -> None:
    """Revoke a token, at once. Repeatable."""
    await provider.access.revoke_token(agreement_id, token_id, by=caller.token)


def _agreement(one: CoreAgreement) -> dict[str, Any]:
    return {
        "id": one.id,
        "tenant": one.tenant,
        "workflows": list(one.workflows),
        "validFrom": one.valid_from,
        "validUntil": one.valid_until,
        "atEnd": str(one.at_end),
        "state": str(one.state),
        "createdAt": one.created_at,
    }


def _token(one: CoreToken) -> dict[str, Any]:
    return {
        "id": one.id,
        "scopes": list(one.scopes),
        "createdAt": one.created_at,
        "expiresAt": one.expires_at,
        "revokedAt": one.revoked_at,
    }


ROUTES: tuple[Any, ...] = (
    get_me,
    create_agreement,
    list_agreements,
    get_agreement,
    revoke_agreement,
    issue_token,
    list_tokens,
    revoke_token,
)
