"""Who may do what: agreements, the tokens that are bound to them, and who holds one."""

from datetime import datetime
from enum import StrEnum

import attrs

#: the subject of what belongs to no agreement: the provider's own tokens. No tenant has this name.
SERVICE = "service"
#: the one tenant of an embedded service; a server on the same state knows its jobs by this name
LOCAL = "local"
#: the one entry of ``Agreement.workflows`` that covers all of them
EVERY_WORKFLOW = "*"
#: everything that a token may be for
SCOPES = ("jobs:read", "jobs:write", "data:read", "data:write")


class Role(StrEnum):
    """What kind of holder a token has."""

    CONSUMER = "consumer"
    REVIEWER = "reviewer"
    ADMIN = "admin"


class AtEnd(StrEnum):
    """What becomes of started jobs when their agreement ends."""

    STOP = "stop"
    DRAIN = "drain"


class AgreementState(StrEnum):
    """Whether an agreement holds. Only the first one lets jobs be made."""

    ACTIVE = "active"
    ENDED = "ended"
    REVOKED = "revoked"


@attrs.frozen(kw_only=True)
class Agreement:
    """What a tenant may do, and how long: from ``valid_from`` up to before ``valid_until``.

    ``workflows`` are ids, or ``("*",)`` for all. ``seq`` is the number of its last event.
    ``due_at`` is when its end has to be seen to: the end itself, then until nothing is left to do.
    """

    id: str
    tenant: str
    workflows: tuple[str, ...]
    created_at: datetime
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    at_end: AtEnd = AtEnd.STOP
    state: AgreementState = AgreementState.ACTIVE
    seq: int = 0
    due_at: datetime | None = None


@attrs.frozen(kw_only=True)
class Token:
    """A token as it is kept: ``digest`` is the sha256, in hex, of the text as it is sent.

    ``agreement`` is None for the provider's own tokens.
    """

    id: str
    digest: str = attrs.field(repr=False)
    tenant: str
    created_at: datetime
    role: Role = Role.CONSUMER
    agreement: str | None = None
    scopes: tuple[str, ...] = SCOPES
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@attrs.frozen(kw_only=True)
class Caller:
    """Who holds the token that came with a request: ``token`` is its id.

    By its ``digest`` (see ``Token``) it is looked up again where something goes on for long.
    """

    token: str
    digest: str = attrs.field(repr=False)
    role: Role
    tenant: str
    agreement: Agreement | None
    scopes: tuple[str, ...]
    expires_at: datetime | None
