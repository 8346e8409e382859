"""Agreements and their tokens, for administrators."""

from collections.abc import Sequence
from datetime import datetime

from longshore_client.models import Agreement, Token
from longshore_client.session import Json
from longshore_client.transport import Transport, path


def _time(moment: datetime | None) -> str | None:
    """Return a time of the wire; one without a zone is taken for this machine's."""
    return moment.astimezone().isoformat() if moment else None


def _given(**members: object) -> Json:
    return {name: value for name, value in members.items() if value is not None}


class Agreements:
    """Who may run what, and until when. For tokens of the role admin."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(
        self,
        tenant: str,
        workflows: Sequence[str],
        *,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        at_end: str | None = None,
    ) -> Agreement:
        """Let ``tenant`` run ``workflows`` (``["*"]``: all).

        Args:
            tenant: the consumer; every tenant sees its own jobs only.
            workflows: ids; ``warnings`` of what is returned name those that are not offered now.
            valid_from: not before; at once by default.
            valid_until: not after; without end by default.
            at_end: ``stop`` (the default) or ``drain``: what happens to jobs that still run then.

        Raises:
            Invalid: what is wrong, with its place.
            Denied: the token is no administrator's.
        """
        body = _given(
            tenant=tenant,
            workflows=list(workflows),
            validFrom=_time(valid_from),
            validUntil=_time(valid_until),
            atEnd=at_end,
        )
        made = await self._transport.json("POST", path("agreements"), body)
        return Agreement.from_wire(made)

    async def list(self) -> Sequence[Agreement]:
        """Return all agreements, newest first."""
        return [Agreement.from_wire(one) for one in await self._all(path("agreements"))]

    async def _all(self, route: str) -> Sequence[Json]:
        found: list[Json] = []
        query: dict[str, str | int] = {"limit": 1000}
        while True:
            page = await self._transport.json("GET", route, query=query)
            found += page["items"]
            if not page.get("next"):
                return found
            query["cursor"] = page["next"]

    async def revoke(self, agreement_id: str) -> None:
        """End an agreement now: its tokens end, its jobs are stopped, its bytes removed."""
        await self._transport.json("DELETE", path("agreements", agreement_id))

    async def issue_token(
        self,
        agreement_id: str,
        *,
        expires_at: datetime | None = None,
        scopes: Sequence[str] | None = None,
    ) -> Token:
        """Return a new token of an agreement; its ``secret`` is shown this once.

        ``scopes`` are of ``jobs:read``, ``jobs:write``, ``data:read``, ``data:write``; all of them
        by default.
        """
        body = _given(expiresAt=_time(expires_at), scopes=list(scopes) if scopes else None)
        route = path("agreements", agreement_id, "tokens")
        return Token.from_wire(await self._transport.json("POST", route, body))

    async def tokens(self, agreement_id: str) -> Sequence[Token]:
        """Return all tokens of an agreement, newest first, without their secrets."""
        found = await self._all(path("agreements", agreement_id, "tokens"))
        return [Token.from_wire(one) for one in found]

    async def revoke_token(self, agreement_id: str, token_id: str) -> None:
        """End a token now."""
        route = path("agreements", agreement_id, "tokens", token_id)
        await self._transport.json("DELETE", route)
