"""Who holds a token, for how long, and what is remembered of it."""

import hashlib
import re
from datetime import datetime, timedelta
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import given, strategies as st

from longshore import authentication
from longshore.access import TOKEN_LIFE, Access, Issued
from longshore.authentication import REMEMBERED, derive_token, token_digest
from longshore.errors import (
    StoreUnavailable,
    Unauthenticated,
)
from longshore.models import Agreement, Role, Token
from longshore.stores.abc import Store
from longshore.testing.fakes import FakeClock

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
FORM = re.compile(r"ls_[A-Za-z0-9_-]{43}\Z")


class CountingStore:
    """A store whose lookups of tokens are counted, and can be made to wait or to fail."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.lookups = 0
        self.gate: anyio.Event | None = None
        self.is_gone = False

    async def credentials(self, digest: str) -> tuple[Token, Agreement | None] | None:
        self.lookups += 1
        if self.is_gone:
            raise StoreUnavailable("the disk is gone")
        found = await self._store.credentials(digest)
        if self.gate is not None:
            await self.gate.wait()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def counting(store: Store) -> CountingStore:
    return CountingStore(store)


async def refusal(access: Access, text: str | None) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await access.authenticate(text)
    return caught.value.reason


# tokens


async def test_a_token_says_who_holds_it(access: Access, agreement: Agreement) -> None:
    issued = await access.issue_token(agreement.id, by="admin", scopes=["jobs:read"])
    caller = await access.authenticate(issued.text)
    assert FORM.match(issued.text)
    assert (caller.token, caller.role, caller.tenant) == (issued.token.id, Role.CONSUMER, "acme")
    assert caller.agreement == await access.agreement(agreement.id)
    assert caller.scopes == ("jobs:read",)
    assert caller.expires_at == issued.token.expires_at


async def test_a_token_is_256_random_bits_and_kept_as_the_hash_of_its_text(
    store: Store, clock: FakeClock
) -> None:
    asked: list[int] = []

    def random(size: int) -> bytes:
        asked.append(size)
        return bytes(range(size))

    access = Access(store, clock, random=random)
    text = await access.bootstrap()
    assert text == "ls_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert asked == [32]
    (token,) = await access.tokens(None)
    assert token.digest == hashlib.sha256(text.encode()).hexdigest()


async def test_two_tokens_are_never_the_same(access: Access, agreement: Agreement) -> None:
    texts = {(await access.issue_token(agreement.id, by="admin")).text for _ in range(20)}
    assert len(texts) == 20


@pytest.mark.parametrize("form", ["{}=", " {}", "{} ", "{}\n", "L{}", "{}{}"])
async def test_a_token_counts_as_it_was_issued_and_in_no_other_form(
    access: Access, issued: Issued, form: str
) -> None:
    assert await refusal(access, form.format(issued.text, issued.text)) == "unknown"
    assert await refusal(access, issued.text.swapcase()) == "unknown"


async def test_the_last_character_is_not_decoded_to_an_equal_one(
    access: Access, issued: Issued
) -> None:
    """43 base64 characters hold 2 bits more than the secret: eight texts decode to one value."""
    others = [issued.text[:-1] + last for last in "AEIMQUYcgkosw048" if last != issued.text[-1]]
    assert [await refusal(access, other) for other in others] == ["unknown"] * 15


@pytest.mark.parametrize(
    "text", ["ls_", "x" * 46, "ls_" + "ü" * 43, "ls_" + "\udcff" * 43, "\0", "ls_" + "a" * 10**6]
)
async def test_what_is_no_token_is_refused_without_a_look(
    counting: CountingStore, clock: FakeClock, text: str
) -> None:
    assert await refusal(Access(counting, clock), text) == "unknown"  # type: ignore[arg-type]  # a stand-in
    assert counting.lookups == 0


async def test_a_missing_token_says_how_to_send_one(access: Access) -> None:
    for nothing in (None, ""):
        with pytest.raises(Unauthenticated, match="Authorization: Bearer") as caught:
            await access.authenticate(nothing)
        assert caught.value.reason == "missing"
        assert caught.value.code == "unauthenticated"


async def test_a_token_expires_to_the_microsecond_though_it_is_remembered(
    access: Access, agreement: Agreement, clock: FakeClock
) -> None:
    expires_at = clock.now() + SECOND
    issued = await access.issue_token(agreement.id, by="admin", expires_at=expires_at)
    clock.set(expires_at - timedelta(microseconds=1))
    await access.authenticate(issued.text)
    clock.set(expires_at)
    assert await refusal(access, issued.text) == "expired"


async def test_a_token_expires_after_ninety_days_when_nobody_says_otherwise(
    issued: Issued, clock: FakeClock
) -> None:
    assert issued.token.expires_at == clock.now() + TOKEN_LIFE


async def test_a_revoked_token_is_refused_at_once(
    access: Access, agreement: Agreement, issued: Issued, clock: FakeClock
) -> None:
    other = await access.issue_token(agreement.id, by="admin")
    await access.authenticate(issued.text)
    revoked = await access.revoke_token(agreement.id, issued.token.id, by="admin", why="leaked")
    assert revoked.revoked_at == clock.now()
    assert await refusal(access, issued.text) == "revoked"
    assert (await access.authenticate(other.text)).token == other.token.id
    again = await access.revoke_token(agreement.id, issued.token.id, by="other", why="again")
    assert again == revoked


async def test_a_revoked_agreement_closes_all_its_tokens_at_once(
    access: Access, agreement: Agreement, issued: Issued
) -> None:
    await access.authenticate(issued.text)
    await access.revoke_agreement(agreement.id, by="admin")
    assert await refusal(access, issued.text) == "revoked"


async def test_the_token_of_an_agreement_that_has_ended_still_lets_its_holder_in(
    access: Access, issued: Issued, clock: FakeClock
) -> None:
    clock.set(clock.now() + 2 * HOUR)
    caller = await access.authenticate(issued.text)
    assert caller.agreement is not None
    assert caller.agreement.valid_until is not None
    assert caller.agreement.valid_until < clock.now()


async def test_who_holds_a_token_is_told_what_is_wrong_and_who_guesses_is_not(
    access: Access, issued: Issued, caplog: pytest.LogCaptureFixture, agreement: Agreement
) -> None:
    await access.revoke_token(agreement.id, issued.token.id, by="admin")
    guessed = "ls_" + "A" * 43
    with caplog.at_level("INFO"):
        assert [await refusal(access, text) for text in (issued.text, guessed)] == [
            "revoked",
            "unknown",
        ]
    assert f"token {issued.token.id} of acme: revoked" in caplog.text
    assert issued.text not in caplog.text
    assert guessed not in caplog.text
    assert issued.token.digest not in caplog.text


def test_a_tokens_text_and_hash_are_in_no_repr() -> None:
    token = Token(id="t", digest="d" * 64, tenant="acme", created_at=datetime.now().astimezone())
    shown = repr(Issued(token, "ls_secret"))
    assert "secret" not in shown
    assert "dddd" not in shown


# what is remembered


async def test_a_token_that_is_asked_again_is_looked_up_once(
    counting: CountingStore, clock: FakeClock, issued: Issued
) -> None:
    access = Access(counting, clock)  # type: ignore[arg-type]  # a stand-in
    callers = [await access.authenticate(issued.text) for _ in range(10)]
    assert counting.lookups == 1
    assert all(caller is callers[0] for caller in callers)


async def test_the_revocation_by_another_process_counts_after_five_seconds(
    store: Store, access: Access, clock: FakeClock, issued: Issued, agreement: Agreement
) -> None:
    other = Access(store, clock)
    await other.authenticate(issued.text)
    await access.revoke_token(agreement.id, issued.token.id, by="admin")
    clock.set(clock.now() + REMEMBERED)
    assert await refusal(other, issued.text) == "revoked"


async def test_what_was_remembered_in_the_future_is_looked_up_again(
    store: Store, access: Access, clock: FakeClock, issued: Issued, agreement: Agreement
) -> None:
    other = Access(store, clock)
    await other.authenticate(issued.text)
    await access.revoke_token(agreement.id, issued.token.id, by="admin")
    clock.set(clock.now() - 24 * HOUR)
    assert await refusal(other, issued.text) == "revoked"


async def test_while_one_looks_again_the_others_do_not_wait(
    counting: CountingStore, clock: FakeClock, issued: Issued
) -> None:
    access = Access(counting, clock)  # type: ignore[arg-type]  # a stand-in
    caller = await access.authenticate(issued.text)
    clock.set(clock.now() + REMEMBERED - SECOND / 2)
    counting.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(access.authenticate, issued.text)
        await anyio.wait_all_tasks_blocked()
        for _ in range(100):
            assert await access.authenticate(issued.text) is caller
        assert counting.lookups == 2
        counting.gate.set()


async def test_a_look_that_a_revocation_overtakes_is_not_remembered(
    counting: CountingStore, clock: FakeClock, issued: Issued, agreement: Agreement
) -> None:
    access = Access(counting, clock)  # type: ignore[arg-type]  # a stand-in
    counting.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(access.authenticate, issued.text)  # reads, and is held up
        await anyio.wait_all_tasks_blocked()
        await access.revoke_token(agreement.id, issued.token.id, by="admin")
        counting.gate.set()
    assert await refusal(access, issued.text) == "revoked"


async def test_a_store_that_is_gone_closes_nobody_out_who_is_remembered(
    counting: CountingStore, clock: FakeClock, issued: Issued
) -> None:
    access = Access(counting, clock)  # type: ignore[arg-type]  # a stand-in
    await access.authenticate(issued.text)
    counting.is_gone = True
    await access.authenticate(issued.text)
    clock.set(clock.now() + REMEMBERED)
    with pytest.raises(StoreUnavailable):
        await access.authenticate(issued.text)
    counting.is_gone = False
    await access.authenticate(issued.text)


async def test_who_guesses_fills_no_memory_and_drives_nobody_out(
    counting: CountingStore,
    clock: FakeClock,
    issued: Issued,
    agreement: Agreement,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authentication, "_MOST_REMEMBERED", 10)
    access = Access(counting, clock)  # type: ignore[arg-type]  # a stand-in
    await access.authenticate(issued.text)
    for number in range(50):
        assert await refusal(access, f"ls_{number:043d}") == "unknown"
    assert len(access._known) == 1
    for _ in range(20):
        more = await access.issue_token(agreement.id, by="admin")
        await access.authenticate(more.text)
    assert len(access._known) == 10


# derived tokens


@given(st.binary(min_size=32, max_size=32), st.text(max_size=20), st.integers(0, 10**6))
def test_a_derived_token_has_the_form_of_all_and_is_always_the_same(
    key: bytes, flow: str, generation: int
) -> None:
    text = derive_token(key, flow, generation)
    assert FORM.match(text)
    assert derive_token(key, flow, generation) == text


@given(
    st.sets(st.tuples(st.text("1 2", max_size=4), st.integers(0, 22)), min_size=2, max_size=20),
)
def test_two_flows_or_generations_never_derive_one_token(flows: set[tuple[str, int]]) -> None:
    assert len({derive_token(b"k" * 32, *flow) for flow in flows}) == len(flows)
    assert derive_token(b"k" * 32, "flow", 1) != derive_token(b"l" * 32, "flow", 1)


def test_a_derived_token_is_known_by_its_vector() -> None:
    """What is stored for a flow must be found again by every later version."""
    text = derive_token(b"k" * 32, "flow-1", 3)
    assert text == "ls_Kt_A9irw6Kf1A4Kc-0CqOnyfYXurQnKN1Jqpi4QTJRg"
    assert token_digest(text) == hashlib.sha256(text.encode()).hexdigest()


async def test_the_agreement_in_a_caller_cannot_be_changed(access: Access, issued: Issued) -> None:
    caller = await access.authenticate(issued.text)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        caller.tenant = "other"  # type: ignore[misc]  # what is tried
