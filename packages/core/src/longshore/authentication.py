"""Who holds the token that came with a request.

A token is 256 random bits as text. Only its sha256 is kept, so what lies in a store lets nobody in.
"""

import base64
import hashlib
import hmac
import logging
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from longshore.clock import Clock
from longshore.errors import Unauthenticated
from longshore.models import Agreement, AgreementState, Caller, Token
from longshore.stores.abc import Store

#: another process's revocation counts here at the latest after this
REMEMBERED = timedelta(seconds=5)
#: from then on one caller reads again, while the others go on with what is remembered
_REFRESHED = timedelta(seconds=4)
_MOST_REMEMBERED = 4096
_TOKEN = re.compile(r"ls_[A-Za-z0-9_-]{43}\Z")
_log = logging.getLogger("longshore.access")

_REFUSALS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "missing": ("there is no token", "send it as 'Authorization: Bearer ls_...'"),
        "unknown": ("this token is not known", "check it, or ask the provider for a new one"),
        "expired": ("this token has expired", "ask the provider for a new one"),
        "revoked": ("this token was revoked", "ask the provider for a new one"),
    }
)


def token_text(secret: bytes) -> str:
    """Return the token of 32 secret bytes: ``ls_`` and 43 base64url characters."""
    return f"ls_{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"


def token_digest(text: str) -> str:
    """Return what is kept of a token: the sha256, in hex, of the text as it was sent."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def derive_token(key: bytes, flow_id: str, generation: int) -> str:
    """Return the token of a flow for a protocol that must be able to repeat it.

    The same arguments give the same token, any other ones another; without ``key`` it cannot be
    told from a random one.
    """
    message = f"longshore token {generation} {flow_id}".encode()
    return token_text(hmac.digest(key, message, "sha256"))


class _Known:
    """What is remembered of a token that let its holder in."""

    __slots__ = ("caller", "digest", "expires_at", "read_at", "refresh_at")

    def __init__(self, caller: Caller, digest: str, read_at: datetime) -> None:
        self.caller = caller
        self.digest = digest
        self.expires_at = caller.expires_at
        self.read_at = read_at
        self.refresh_at = read_at + _REFRESHED


class Authentication:
    """Looks tokens up, and remembers for a moment which are good."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._forgotten = 0

    async def authenticate(self, text: str | None) -> Caller:
        """Return who holds the token ``text``.

        The token may be that of an agreement that has ended: its holder still reads. A revocation
        by this process counts at once, another's at the latest after ``REMEMBERED``; an expiry
        counts at once.

        Raises:
            Unauthenticated: ``reason`` is ``missing``, ``unknown``, ``expired`` or ``revoked``.
                Only who has the token learns the last two, as nobody guesses 256 bits.
            StoreUnavailable: it cannot be looked up now.
        """
        if not text:
            raise _refusal("missing")
        digest = token_digest(text)
        return self._recall(digest) or await self._look_up(
            digest, is_token=_TOKEN.match(text) is not None
        )

    async def confirm(self, caller: Caller) -> None:
        """Return where the caller's token is good still, as ``authenticate`` would find it.

        Raises:
            Unauthenticated: it has expired or was revoked since.
            StoreUnavailable: it cannot be looked up now.
        """
        if self._recall(caller.digest) is None:
            await self._look_up(caller.digest)

    def _recall(self, digest: str) -> Caller | None:
        known = self._known.get(digest)
        if known is not None and hmac.compare_digest(known.digest, digest):
            now = self._clock.now()
            if known.expires_at is None or now < known.expires_at:
                if known.read_at <= now < known.refresh_at:
                    return known.caller
                if known.read_at <= now < known.read_at + REMEMBERED:
                    known.refresh_at = known.read_at + REMEMBERED
        return None

    async def _look_up(self, digest: str, *, is_token: bool = True) -> Caller:
        now, before = self._clock.now(), self._forgotten
        found = await self._store.credentials(digest) if is_token else None
        if found is None or not hmac.compare_digest(found[0].digest, digest):
            _log.info("refused: a token that is not known")
            raise _refusal("unknown")
        token, agreement = found
        reason = _why_not(token, agreement, now)
        if reason is not None:
            self._known.pop(digest, None)
            _log.info("refused: token %s of %s: %s", token.id, token.tenant, reason)
            raise _refusal(reason)
        caller = Caller(
            token=token.id,
            digest=digest,
            role=token.role,
            tenant=token.tenant,
            agreement=agreement,
            scopes=token.scopes,
            expires_at=token.expires_at,
        )
        if before == self._forgotten:  # else something was revoked while this was read
            self._remember(_Known(caller, digest, now))
        return caller

    def _remember(self, known: _Known) -> None:
        """Keep a token that is good; none else gets here, so whoever guesses fills nothing."""
        self._known.pop(known.digest, None)
        while len(self._known) >= _MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[known.digest] = known

    def forget(self) -> None:
        """Look every token up again."""
        self._forgotten += 1
        self._known.clear()


def _refusal(reason: str) -> Unauthenticated:
    message, hint = _REFUSALS[reason]
    return Unauthenticated(message, reason=reason, hint=hint)


def _why_not(token: Token, agreement: Agreement | None, now: datetime) -> str | None:
    is_over = agreement is not None and agreement.state is AgreementState.REVOKED
    if token.revoked_at is not None or is_over:
        return "revoked"
    if token.expires_at is not None and now >= token.expires_at:
        return "expired"
    return None
