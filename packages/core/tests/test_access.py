"""Agreements and tokens: made, listed, taken back, and what the events say of it."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, strategies as st

from longshore import grammar
from longshore.access import Access
from longshore.errors import (
    Conflict,
    LongshoreError,
    NotFound,
    RequestInvalid,
    Unauthenticated,
)
from longshore.models import SCOPES, SERVICE, Agreement, AgreementState, AtEnd, Role, Token
from longshore.storages.objects import ObjectFiles
from longshore.stores.abc import Store
from longshore.stores.sqlite import open_sqlite
from longshore.testing.fakes import FakeClock

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
FORM = re.compile(r"ls_[A-Za-z0-9_-]{43}\Z")


async def refusal(access: Access, text: str | None) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await access.authenticate(text)
    return caught.value.reason


# the first token


async def test_the_first_administrators_token_is_made_once(
    access: Access, clock: FakeClock
) -> None:
    text = await access.bootstrap()
    assert text is not None
    clock.set(clock.now() + 10_000 * HOUR)
    caller = await access.authenticate(text)
    assert (caller.role, caller.tenant, caller.agreement) == (Role.ADMIN, SERVICE, None)
    assert [await access.bootstrap() for _ in range(3)] == [None] * 3
    assert await access.agreements() == ()


async def test_of_many_that_start_at_once_one_gets_the_first_token(
    tmp_path: Path, clock: FakeClock
) -> None:
    texts: list[str | None] = []

    async def start() -> None:
        async with open_sqlite(tmp_path / "state.db") as store:
            texts.append(await Access(store, clock).bootstrap())

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(start)
    assert len([text for text in texts if text is not None]) == 1
    async with open_sqlite(tmp_path / "state.db") as store:
        assert len(await store.tokens(None)) == 1


async def test_the_provider_gives_and_takes_tokens_of_its_own(access: Access) -> None:
    with pytest.raises(NotFound, match="first administrator"):
        await access.issue_token(None, by="nobody", role=Role.ADMIN)
    await access.bootstrap()
    reviewer = await access.issue_token(None, by="admin", role=Role.REVIEWER)
    assert (await access.authenticate(reviewer.text)).role is Role.REVIEWER
    assert reviewer.token in await access.tokens(None)
    await access.revoke_token(None, reviewer.token.id, by="admin")
    assert await refusal(access, reviewer.text) == "revoked"


# agreements


async def test_an_agreement_is_kept_as_it_was_made(access: Access, clock: FakeClock) -> None:
    start, end = clock.now() + HOUR, clock.now() + 2 * HOUR
    made = await access.create_agreement(
        tenant="acme",
        workflows=["one", "two"],
        valid_from=start,
        valid_until=end,
        at_end=AtEnd.DRAIN,
        by="admin",
    )
    assert await access.agreement(made.id) == made
    assert (made.tenant, made.workflows, made.at_end) == ("acme", ("one", "two"), AtEnd.DRAIN)
    assert (made.valid_from, made.valid_until, made.due_at) == (start, end, end)
    assert (made.state, made.seq) == (AgreementState.ACTIVE, 1)


async def test_agreements_and_tokens_come_in_pages(access: Access, clock: FakeClock) -> None:
    made: list[Agreement] = []
    for tenant in ("acme", "other", "acme"):
        clock.set(clock.now() + SECOND)
        made.append(await access.create_agreement(tenant=tenant, workflows=["*"], by="admin"))
    one, two, three = made
    assert await access.agreements() == (three, two, one)
    assert await access.agreements(tenant="acme") == (three, one)
    assert await access.agreements(limit=1, before=three.id) == (two,)
    tokens: list[Token] = []
    for _ in range(3):
        clock.set(clock.now() + SECOND)
        tokens.append((await access.issue_token(one.id, by="admin")).token)
    assert await access.tokens(one.id) == tuple(tokens[::-1])
    assert await access.tokens(one.id, before=tokens[2].id, limit=1) == (tokens[1],)
    assert await access.tokens(two.id) == ()


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({"tenant": ""}, {"/tenant"}),
        ({"tenant": ".."}, {"/tenant"}),
        ({"tenant": "a/b"}, {"/tenant"}),
        ({"tenant": "a" * 64}, {"/tenant"}),
        ({"tenant": "acme\n"}, {"/tenant"}),
        ({"tenant": SERVICE}, {"/tenant"}),
        ({"workflows": []}, {"/workflows"}),
        ({"workflows": ["*", "dummy"]}, {"/workflows"}),
        ({"workflows": ["dummy", "No Id"]}, {"/workflows/1"}),
        ({"valid_until": "past"}, {"/validUntil"}),
        ({"valid_until": "naive"}, {"/validUntil"}),
        ({"valid_from": "later", "valid_until": "soon"}, {"/validUntil"}),
        ({"tenant": "", "workflows": [], "valid_until": "past"}, {"/tenant", "/workflows"}),
    ],
)
async def test_every_mistake_of_an_agreement_is_named(
    access: Access, store: Store, clock: FakeClock, fields: dict[str, Any], places: set[str]
) -> None:
    times = {
        "past": clock.now() - SECOND,
        "soon": clock.now() + SECOND,
        "later": clock.now() + HOUR,
        "naive": clock.now().replace(tzinfo=None) + HOUR,
    }
    given: dict[str, Any] = {"tenant": "acme", "workflows": ["dummy"], "by": "admin"}
    for name, value in fields.items():
        given[name] = times[value] if name.startswith("valid") else value
    with pytest.raises(RequestInvalid) as caught:
        await access.create_agreement(**given)
    assert {problem.where for problem in caught.value.problems} >= places
    assert await store.position() == 0


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["jobs:read", "jobs:all"]}, "/scopes/1"),
        ({"role": Role.ADMIN}, "/role"),
        ({"expires_at": -SECOND}, "/expiresAt"),
    ],
)
async def test_every_mistake_of_a_token_is_named(
    access: Access, clock: FakeClock, agreement: Agreement, fields: dict[str, Any], place: str
) -> None:
    given: dict[str, Any] = {
        name: clock.now() + value if isinstance(value, timedelta) else value
        for name, value in fields.items()
    }
    with pytest.raises(RequestInvalid) as caught:
        await access.issue_token(agreement.id, by="admin", **given)
    assert [problem.where for problem in caught.value.problems] == [place]
    assert await access.tokens(agreement.id) == ()


async def test_a_consumers_token_needs_an_agreement(access: Access) -> None:
    await access.bootstrap()
    with pytest.raises(RequestInvalid, match="/role"):
        await access.issue_token(None, by="admin")


@pytest.mark.parametrize("unknown", ["nothing", SERVICE, "\udcff", "0" * 26])
async def test_what_is_not_there_is_not_found(
    access: Access, agreement: Agreement, unknown: str
) -> None:
    await access.bootstrap()
    (first,) = await access.tokens(None)
    calls = [
        access.agreement(unknown),
        access.tokens(unknown),
        access.issue_token(unknown, by="admin"),
        access.revoke_agreement(unknown, by="admin"),
        access.revoke_token(unknown, first.id, by="admin"),
        access.revoke_token(agreement.id, unknown, by="admin"),
        access.revoke_token(agreement.id, first.id, by="admin"),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            await call


async def test_a_revoked_agreement_gets_no_more_tokens(
    access: Access, agreement: Agreement
) -> None:
    await access.revoke_agreement(agreement.id, by="admin")
    with pytest.raises(Conflict, match="revoked"):
        await access.issue_token(agreement.id, by="admin")


@given(st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9._/-]{1,70}", fullmatch=True))
def test_a_tenant_that_is_accepted_is_one_segment_of_a_storage_key(name: str) -> None:
    root = Path("/root-of-objects")
    try:
        grammar.tenant(name)
    except ValueError:
        return
    path = ObjectFiles(root).path(f"instance/{name}/job/inputs/text")
    assert path.parts[3:] == (name, "job", "inputs", "text")
    assert len(name) <= 63


# events


async def test_every_change_is_an_event_that_names_who_and_why(
    access: Access, store: Store, clock: FakeClock
) -> None:
    await access.bootstrap()
    end = clock.now() + HOUR
    agreement = await access.create_agreement(
        tenant="acme", workflows=["dummy"], valid_until=end, by="t1"
    )
    issued = await access.issue_token(agreement.id, by="t2")
    await access.revoke_token(agreement.id, issued.token.id, by="t3", why="leaked")
    await access.revoke_agreement(agreement.id, by="t4", why="the contract was broken")
    log = [(event.job_id, event.type, event.data) for event in await store.log(after=0)]
    (first,) = await access.tokens(None)
    scopes: dict[str, Any] = {"scopes": SCOPES}
    assert log == [
        (SERVICE, "TokenIssued",
         scopes | {"token": first.id, "role": "admin", "expires_at": None, "by": "longshore"}),
        (agreement.id, "AgreementCreated",
         {"tenant": "acme", "workflows": ("dummy",), "valid_from": None, "valid_until": end,
          "at_end": "stop", "by": "t1"}),
        (agreement.id, "TokenIssued",
         scopes | {"token": issued.token.id, "role": "consumer",
                   "expires_at": issued.token.expires_at, "by": "t2"}),
        (agreement.id, "TokenRevoked", {"token": issued.token.id, "by": "t3", "why": "leaked"}),
        (agreement.id, "AgreementRevoked", {"by": "t4", "why": "the contract was broken"}),
    ]  # fmt: skip


async def test_what_changes_nothing_is_no_event(access: Access, agreement: Agreement) -> None:
    store = access._store
    await access.revoke_agreement(agreement.id, by="admin")
    position = await store.position()
    await access.revoke_agreement(agreement.id, by="admin")
    await access.bootstrap()
    await access.bootstrap()
    with pytest.raises(LongshoreError):
        await access.issue_token(agreement.id, by="admin")
    assert await store.position() == position + 1


async def test_tokens_that_are_given_and_taken_at_once_are_all_kept(
    access: Access, agreement: Agreement, store: Store
) -> None:
    texts: list[str] = []

    async def give_and_take(number: int) -> None:
        issued = await access.issue_token(agreement.id, by="admin")
        if number % 2:
            await access.revoke_token(agreement.id, issued.token.id, by="admin")
        else:
            texts.append(issued.text)

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(give_and_take, number)
    for text in texts:
        await access.authenticate(text)
    tokens = await access.tokens(agreement.id)
    assert len([token for token in tokens if token.revoked_at]) == 5
    events = await store.events(agreement.id)
    assert [event.seq for event in events] == list(range(1, 17))
