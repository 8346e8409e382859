"""How agreements and tokens are written: what may stand in them, and the one way to keep a change.

Every change is an event of its agreement (of SERVICE for the provider's own tokens), in one commit
with the change. No event holds a token or its digest.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from longshore import grammar
from longshore.errors import Problem
from longshore.models import (
    EVERY_WORKFLOW,
    LOCAL,
    SCOPES,
    SERVICE,
    Agreement,
    JobEvent,
    Role,
    Token,
)
from longshore.stores.abc import Store


async def record(
    store: Store,
    agreement: Agreement,
    kind: str,
    data: Mapping[str, Any],
    at: datetime,
    *tokens: Token,
) -> Agreement:
    """Keep a changed agreement and the event that says so; return it as it is then.

    Raises:
        Stale: somebody else changed it; nothing was written.
    """
    changed = attrs.evolve(agreement, seq=agreement.seq + 1)
    event = JobEvent(job_id=agreement.id, seq=changed.seq, type=kind, at=at, data=data)
    await store.put_agreement(changed, [event], expected=agreement.seq, tokens=tokens)
    return changed


def agreement_problems(agreement: Agreement) -> Iterator[Problem]:
    """Yield what is wrong with a new agreement."""
    try:
        grammar.tenant(agreement.tenant)
    except ValueError as exc:
        yield Problem("/tenant", str(exc))
    if agreement.tenant == SERVICE:
        yield Problem("/tenant", f"{SERVICE!r} is the provider itself; choose another name")
    if agreement.tenant == LOCAL:
        yield Problem("/tenant", f"{LOCAL!r} is whoever works on this machine; choose another name")
    yield from _workflow_problems(agreement.workflows)
    start, end = agreement.valid_from, agreement.valid_until
    wrong = [*_time_problems("/validFrom", start), *_time_problems("/validUntil", end)]
    yield from wrong
    if end is not None and not wrong:
        if end <= agreement.created_at:
            yield Problem("/validUntil", "is not in the future")
        elif start is not None and end <= start:
            yield Problem("/validUntil", "is not after validFrom")


def _workflow_problems(workflows: Sequence[str]) -> Iterator[Problem]:
    if not workflows:
        yield Problem("/workflows", f"name at least one workflow, or {EVERY_WORKFLOW!r} for all")
    if EVERY_WORKFLOW in workflows and len(workflows) > 1:
        yield Problem("/workflows", f"{EVERY_WORKFLOW!r} stands alone")
    for number, workflow_id in enumerate(workflows):
        if workflow_id != EVERY_WORKFLOW:
            try:
                grammar.workflow_id(workflow_id)
            except ValueError as exc:
                yield Problem(f"/workflows/{number}", str(exc))


def token_problems(token: Token) -> Iterator[Problem]:
    """Yield what is wrong with a new token."""
    if (token.role is Role.CONSUMER) is (token.agreement is None):
        yield Problem("/role", "a consumer has an agreement, all others have none")
    if not token.scopes:
        yield Problem("/scopes", f"name at least one of {', '.join(SCOPES)}")
    for number, scope in enumerate(token.scopes):
        if scope not in SCOPES:
            yield Problem(f"/scopes/{number}", f"{scope!r} is none of {', '.join(SCOPES)}")
    wrong = list(_time_problems("/expiresAt", token.expires_at))
    yield from wrong
    if token.expires_at is not None and not wrong and token.expires_at <= token.created_at:
        yield Problem("/expiresAt", "is not in the future")


def _time_problems(where: str, at: datetime | None) -> Iterator[Problem]:
    if at is None:
        return
    if at.tzinfo is None:
        yield Problem(where, "has no time zone")
        return
    try:
        at.astimezone(UTC)
    except OverflowError:
        yield Problem(where, "is no time of the years 1 to 9999 in UTC")
