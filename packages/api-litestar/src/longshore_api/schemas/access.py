"""Agreements and tokens on the wire."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from longshore.models import SCOPES, AtEnd

Time = Annotated[datetime, Meta(tz=True)]
# what stands in ``extra_json_schema`` is checked by the core, which names every mistake at once
Scope = Annotated[str, Meta(extra_json_schema={"enum": list(SCOPES)})]
WorkflowId = Annotated[
    str,
    Meta(
        description='an id, or "*" for all',
        extra_json_schema={"pattern": "^([a-z0-9][a-z0-9-]{0,62}|\\*)$"},
    ),
]


class NewAgreement(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a tenant may do, and until when."""

    tenant: Annotated[
        str,
        Meta(
            examples=["acme"],
            max_length=63,
            extra_json_schema={"pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]*$"},
        ),
    ]
    workflows: Annotated[
        list[WorkflowId], Meta(examples=[["wordcount"]], min_length=1, max_length=1000)
    ]
    valid_from: Time | None = None
    valid_until: Time | None = None
    at_end: Annotated[
        str,
        Meta(
            description='"stop" ends jobs with the agreement, "drain" lets them end',
            extra_json_schema={"enum": [str(one) for one in AtEnd]},
        ),
    ] = "stop"
    quotas: Annotated[
        dict[str, Any],
        Meta(description="none in this version", extra_json_schema={"maxProperties": 0}),
    ] = msgspec.field(default_factory=dict)


class Agreement(Struct, frozen=True, rename="camel"):
    """An agreement: ``state`` is active, ended or revoked."""

    id: str
    tenant: str
    workflows: list[str]
    valid_from: datetime | None
    valid_until: datetime | None
    at_end: str
    state: str
    created_at: datetime


class Notice(Struct, frozen=True):
    """What may not be meant as it stands; ``pointer`` is a JSON Pointer into the request's body."""

    pointer: str
    detail: str


class MadeAgreement(Agreement, frozen=True, rename="camel"):
    """A new agreement; ``warnings`` name those of its workflows that are not offered now."""

    warnings: list[Notice]


class AgreementPage(Struct, frozen=True, rename="camel"):
    """Agreements, newest first."""

    items: list[Agreement]
    next: str | None


class NewToken(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How long a token is good, and for what; everything that the agreement allows by default."""

    expires_at: Time | None = None
    scopes: (
        Annotated[list[Scope], Meta(examples=[["jobs:read", "data:read"]], min_length=1)] | None
    ) = None


class Token(Struct, frozen=True, rename="camel"):
    """A token without its secret."""

    id: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class IssuedToken(Struct, frozen=True, rename="camel"):
    """A new token; ``token`` is shown this once."""

    id: str
    token: Annotated[str, Meta(description="ls_ and 43 characters")]
    scopes: list[str]
    expires_at: datetime | None


class TokenList(Struct, frozen=True, rename="camel"):
    """The tokens of an agreement."""

    items: list[Token]
    next: str | None


class Me(Struct, frozen=True, rename="camel"):
    """Whose token this is; ``workflows`` is null where all are meant."""

    tenant: str
    role: str
    agreement: str | None
    workflows: list[str] | None
    scopes: list[str]
    expires_at: datetime | None
