"""Agreements and tokens: made, shown once, listed, and taken back."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import attrs

from longshore.agreements import agreement_problems, record, token_problems
from longshore.authentication import Authentication, token_digest, token_text
from longshore.clock import Clock
from longshore.errors import Conflict, NotFound, RequestInvalid, Stale
from longshore.ids import is_id, new_id
from longshore.models import SCOPES, SERVICE, Agreement, AgreementState, AtEnd, Role, Token
from longshore.stores.abc import Store

T = TypeVar("T")
#: how long a token lives when nobody says otherwise
TOKEN_LIFE = timedelta(days=90)
_TRIES = 100


@attrs.frozen
class Issued:
    """A new token, and its text, which nobody can show a second time."""

    token: Token
    text: str = attrs.field(repr=False)


class Access(Authentication):
    """The agreements and tokens of one store. ``random`` gives secret bytes.

    ``by`` is who makes a change, a token's id, and is kept in its event, with the reason ``why``.
    An agreement id of None means the provider's own people.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
        make_id: Callable[[datetime], str] = new_id,
    ) -> None:
        super().__init__(store, clock)
        self._random = random
        self._make_id = make_id

    async def bootstrap(self) -> str | None:
        """Make the first administrator's token of a store; return its text, exactly once ever.

        It does not expire. Of several processes one gets it, the others None.
        """
        now = self._clock.now()
        holder = Agreement(id=SERVICE, tenant=SERVICE, workflows=(), created_at=now)
        issued = self._make(holder, Role.ADMIN, SCOPES, None)
        try:
            await self._keep(holder, issued, "longshore")
        except Stale:
            return None
        return issued.text

    # agreements

    async def create_agreement(
        self,
        *,
        tenant: str,
        workflows: Sequence[str],
        by: str,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        at_end: AtEnd = AtEnd.STOP,
    ) -> Agreement:
        """Keep an agreement: ``tenant`` may run ``workflows`` (``["*"]``: all) in the given time.

        Raises:
            RequestInvalid: mistakes, all of them.
        """
        now = self._clock.now()
        agreement = Agreement(
            id=self._make_id(now),
            tenant=tenant,
            workflows=tuple(workflows),
            created_at=now,
            valid_from=valid_from,
            valid_until=valid_until,
            at_end=AtEnd(at_end),
            due_at=valid_until,
        )
        if problems := list(agreement_problems(agreement)):
            raise RequestInvalid("the agreement has mistakes", problems)
        data = {
            "tenant": tenant,
            "workflows": agreement.workflows,
            "valid_from": valid_from,
            "valid_until": valid_until,
            "at_end": str(at_end),
            "by": by,
        }
        return await record(self._store, agreement, "AgreementCreated", data, now)

    async def agreement(self, agreement_id: str) -> Agreement:
        """Return an agreement.

        Raises:
            NotFound: there is none.
        """
        found = await self._store.agreement(agreement_id) if is_id(agreement_id) else None
        if found is None:
            raise NotFound(f"there is no agreement {agreement_id!r}", hint="list the agreements")
        return found

    async def agreements(
        self, *, tenant: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[Agreement, ...]:
        """Return a page of agreements, newest first; ``before`` is the last id of the page before.

        One whose time is over says ``ended`` from the next look of whoever supervises.
        """
        return await self._store.agreements(tenant=tenant, before=before, limit=limit)

    async def revoke_agreement(self, agreement_id: str, *, by: str, why: str = "") -> Agreement:
        """Take an agreement back; durable when it returns, and repeatable.

        Its tokens open nothing from now on. Its jobs are stopped and, once they are final, their
        bytes are purged by whoever supervises.

        Raises:
            NotFound: there is none.
        """

        async def revoke() -> Agreement:
            agreement = await self.agreement(agreement_id)
            if agreement.state is AgreementState.REVOKED:
                return agreement
            now = self._clock.now()
            revoked = attrs.evolve(agreement, state=AgreementState.REVOKED, due_at=now)
            data = {"by": by, "why": why}
            return await record(self._store, revoked, "AgreementRevoked", data, now)

        return await self._revoking(revoke)

    # tokens

    async def issue_token(
        self,
        agreement_id: str | None,
        *,
        by: str,
        role: Role = Role.CONSUMER,
        scopes: Sequence[str] = SCOPES,
        expires_at: datetime | None = None,
    ) -> Issued:
        """Make a token for the holder of an agreement; by default it expires after ``TOKEN_LIFE``.

        An agreement that has ended may get one, for reading what there is.

        Raises:
            NotFound: there is no such agreement.
            Conflict: the agreement was revoked.
            RequestInvalid: mistakes, all of them.
        """
        expires_at = expires_at or self._clock.now() + TOKEN_LIFE

        async def issue() -> Issued:
            holder = await self._holder(agreement_id)
            if holder.state is AgreementState.REVOKED:
                raise Conflict(f"agreement {holder.id} was revoked", hint="make a new one")
            issued = self._make(holder, role, scopes, expires_at)
            if problems := list(token_problems(issued.token)):
                raise RequestInvalid("the token has mistakes", problems)
            await self._keep(holder, issued, by)
            return issued

        return await _patiently(issue)

    async def _holder(self, agreement_id: str | None) -> Agreement:
        if agreement_id is not None:
            return await self.agreement(agreement_id)
        found = await self._store.agreement(SERVICE)
        if found is None:
            raise NotFound("the first administrator's token was not made yet")
        return found

    def _make(
        self, holder: Agreement, role: Role, scopes: Sequence[str], expires_at: datetime | None
    ) -> Issued:
        text = token_text(self._random(32))
        now = self._clock.now()
        token = Token(
            id=self._make_id(now),
            digest=token_digest(text),
            tenant=holder.tenant,
            created_at=now,
            role=Role(role),
            agreement=None if holder.id == SERVICE else holder.id,
            scopes=tuple(scopes),
            expires_at=expires_at,
        )
        return Issued(token, text)

    async def _keep(self, holder: Agreement, issued: Issued, by: str) -> None:
        token = issued.token
        data = {
            "token": token.id,
            "role": str(token.role),
            "scopes": token.scopes,
            "expires_at": token.expires_at,
            "by": by,
        }
        await record(self._store, holder, "TokenIssued", data, token.created_at, token)

    async def tokens(
        self, agreement_id: str | None, *, before: str | None = None, limit: int = 50
    ) -> tuple[Token, ...]:
        """Return a page of the tokens of an agreement, newest first.

        Raises:
            NotFound: there is no such agreement.
        """
        if agreement_id is not None:
            await self.agreement(agreement_id)
        return await self._store.tokens(agreement_id, before=before, limit=limit)

    async def revoke_token(
        self, agreement_id: str | None, token_id: str, *, by: str, why: str = ""
    ) -> Token:
        """Take a token back; durable when it returns, and repeatable.

        Raises:
            NotFound: the agreement has no such token.
        """

        async def revoke() -> Token:
            holder = await self._holder(agreement_id)
            token = await self._store.token(token_id) if is_id(token_id) else None
            if token is None or token.agreement != agreement_id:
                raise NotFound(f"there is no token {token_id!r}", hint="list the tokens")
            if token.revoked_at is not None:
                return token
            now = self._clock.now()
            token = attrs.evolve(token, revoked_at=now)
            data = {"token": token.id, "by": by, "why": why}
            await record(self._store, holder, "TokenRevoked", data, now, token)
            return token

        return await self._revoking(revoke)

    async def _revoking(self, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            return await _patiently(attempt)
        finally:  # also when it failed: it may have been written all the same
            self.forget()


async def _patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Do what reads, decides and writes until no other writer was in between."""
    for _ in range(_TRIES):
        try:
            return await attempt()
        except Stale:
            continue
    raise Stale("it changes faster than it can be written")
