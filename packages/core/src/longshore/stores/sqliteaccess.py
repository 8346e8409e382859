"""Agreements and tokens in the embedded store. Part of ``SQLiteStore``."""

import abc
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from longshore.codec import from_json, to_json
from longshore.errors import Stale
from longshore.models import SERVICE, Agreement, JobEvent, Token
from longshore.stores import rows
from longshore.stores.abc import Store
from longshore.stores.groupcommit import GroupCommit

T = TypeVar("T")
_INSERT = (
    "INSERT INTO agreements (tenant, state, seq, due_at, document, id) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO NOTHING"
)
_UPDATE = (
    "UPDATE agreements SET tenant = ?, state = ?, seq = ?, due_at = ?, document = ? "
    "WHERE id = ? AND seq = ?"
)
_CREDENTIALS = (
    "SELECT tokens.document, agreements.document FROM tokens "
    "LEFT JOIN agreements ON agreements.id = tokens.agreement WHERE digest = ?"
)
#: sorts after every id
_ABOVE_ALL = "~"


class SQLiteAccess(Store):
    """The part of ``SQLiteStore`` that knows agreements and tokens."""

    _writer: GroupCommit

    @abc.abstractmethod
    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``query`` on a connection for reading."""

    @abc.abstractmethod
    async def _read_quickly(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``query``, which finds one row by a key."""

    @abc.abstractmethod
    async def _documents(self, kind: type[T], sql: str, values: tuple[Any, ...]) -> tuple[T, ...]:
        """Return the models whose documents ``sql`` selects."""

    async def put_agreement(
        self,
        agreement: Agreement,
        events: Sequence[JobEvent],
        *,
        expected: int,
        tokens: Sequence[Token] = (),
    ) -> None:
        """Insert, or update by compare-and-swap."""
        due_at = None if agreement.due_at is None else rows.encode_time(agreement.due_at)
        row = (agreement.tenant, agreement.state, agreement.seq, due_at, to_json(agreement))

        def put(cursor: sqlite3.Cursor) -> None:
            if expected:
                done = cursor.execute(_UPDATE, (*row, agreement.id, expected))
            else:
                done = cursor.execute(_INSERT, (*row, agreement.id))
            if not done.rowcount:
                raise Stale(f"agreement {agreement.id} is no longer at seq {expected}")
            rows.insert_events(cursor, events, [rows.encode_changes(one.data) for one in events])
            for token in tokens:
                cursor.execute(
                    "INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?)",
                    (token.id, token.digest, token.agreement, to_json(token)),
                )

        await self._writer.write(put)

    async def agreement(self, agreement_id: str) -> Agreement | None:
        """Select by primary key."""
        sql = "SELECT document FROM agreements WHERE id = ?"
        found = await self._documents(Agreement, sql, (agreement_id,))
        return found[0] if found else None

    async def agreements(
        self, *, tenant: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[Agreement, ...]:
        """Select along the primary key, or the index of (tenant, id)."""
        mine, values = ("", ()) if tenant is None else ("tenant = ? AND ", (tenant,))
        return await self._documents(
            Agreement,
            f"SELECT document FROM agreements WHERE {mine} id < ? AND id <> '{SERVICE}' "  # noqa: S608 - our own words
            "ORDER BY id DESC LIMIT ?",
            (*values, before or _ABOVE_ALL, limit),
        )

    async def agreements_due(self, until: datetime) -> tuple[Agreement, ...]:
        """Select along the partial index of what is due."""
        sql = "SELECT document FROM agreements WHERE due_at <= ? ORDER BY due_at"
        return await self._documents(Agreement, sql, (rows.encode_time(until),))

    async def token(self, token_id: str) -> Token | None:
        """Select by primary key."""
        sql = "SELECT document FROM tokens WHERE id = ?"
        found = await self._documents(Token, sql, (token_id,))
        return found[0] if found else None

    async def tokens(
        self, agreement: str | None, *, before: str | None = None, limit: int = 50
    ) -> tuple[Token, ...]:
        """Select along the index of (agreement, id)."""
        return await self._documents(
            Token,
            "SELECT document FROM tokens WHERE agreement IS ? AND id < ? ORDER BY id DESC LIMIT ?",
            (agreement, before or _ABOVE_ALL, limit),
        )

    async def credentials(self, digest: str) -> tuple[Token, Agreement | None] | None:
        """Select along the unique index of digests: here, as a busy loop lets threads wait."""

        def query(connection: sqlite3.Connection) -> tuple[Token, Agreement | None] | None:
            found = connection.execute(_CREDENTIALS, (digest,)).fetchone()
            if found is None:
                return None
            token, agreement = found
            return (
                from_json(Token, token),
                None if agreement is None else from_json(Agreement, agreement),
            )

        return await self._read_quickly(query)
