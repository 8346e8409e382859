"""The contract of a store, third part: agreements and tokens. Part of ``StoreContract``."""

import anyio
import attrs
import pytest

from longshore.errors import Denied, Stale
from longshore.jobs import Step
from longshore.lifecycle import FINAL, JobState
from longshore.models import SERVICE, AgreementState, AtEnd, JobEvent, Role, Token
from longshore.stores.abc import JobQuery, Store
from longshore.testing.store_samples import (
    SECOND,
    T0,
    add,
    agree,
    make_agreement,
    make_job,
    make_token,
    move,
)


class StoreAccess:
    """What every store knows of agreements and tokens; ``StoreContract`` inherits it."""

    async def test_an_empty_store_knows_nobody(self, store: Store) -> None:
        assert await store.agreement("nothing") is None
        assert await store.agreements() == ()
        assert await store.agreements_due(T0) == ()
        assert await store.token("nothing") is None
        assert await store.tokens(None) == ()
        assert await store.credentials("nothing") is None

    async def test_every_field_of_an_agreement_and_of_a_token_survives(self, store: Store) -> None:
        agreement = make_agreement(
            workflows=("a", "b"),
            valid_from=T0,
            valid_until=T0 + SECOND,
            at_end=AtEnd.DRAIN,
            state=AgreementState.ENDED,
            due_at=T0 + SECOND,
        )
        token = make_token(
            role=Role.REVIEWER,
            agreement=agreement.id,
            scopes=("jobs:read",),
            expires_at=T0 + SECOND,
            revoked_at=T0,
        )
        agreement = await agree(store, agreement, token)
        assert await store.agreement(agreement.id) == agreement
        assert await store.token(token.id) == token
        assert await store.credentials(token.digest) == (token, agreement)

    async def test_the_events_of_an_agreement_are_in_the_one_log(self, store: Store) -> None:
        job = await add(store, make_job())
        agreement = make_agreement(1, seq=1)
        data = {
            "by": "me",
            "workflows": ("a", "b"),
            "valid_until": T0 + SECOND,
            "scopes": ("jobs:read",),
            "expires_at": T0,
        }
        event = JobEvent(job_id=agreement.id, seq=1, type="AgreementCreated", at=T0, data=data)
        await store.put_agreement(agreement, [event], expected=0)
        await agree(store, agreement)
        stored = await store.events(agreement.id)
        assert [(one.seq, one.position) for one in stored] == [(1, 2), (2, 3)]
        assert stored[0] == attrs.evolve(event, position=2)
        assert [one.job_id for one in await store.log(after=0)] == [
            job.id,
            agreement.id,
            agreement.id,
        ]
        assert await store.job(agreement.id) is None

    async def test_a_stale_change_of_an_agreement_writes_nothing(self, store: Store) -> None:
        first = await agree(store, make_agreement())
        current = await agree(store, first)
        token = make_token(agreement=first.id)
        for stale in (first, attrs.evolve(first, seq=0), make_agreement(9, seq=4)):
            with pytest.raises(Stale):
                await agree(store, stale, token)
        assert await store.agreement(first.id) == current
        assert await store.position() == 2
        assert await store.token(token.id) is None

    async def test_of_racing_changes_of_an_agreement_exactly_one_wins(self, store: Store) -> None:
        won: list[Token] = []

        async def race(number: int) -> None:
            token = make_token(number)
            try:
                await agree(store, make_agreement(), token)
            except Stale:
                return
            won.append(token)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(race, number)
        assert len(won) == 1
        assert await store.tokens(None) == tuple(won)
        assert await store.position() == 1

    async def test_agreements_come_newest_first_in_pages(self, store: Store) -> None:
        mine = [await agree(store, make_agreement(number)) for number in range(3)]
        theirs = await agree(store, make_agreement(3, tenant="other"))
        await agree(store, make_agreement(4, id=SERVICE, tenant=SERVICE))
        assert await store.agreements() == (theirs, *mine[::-1])
        assert await store.agreements(tenant="acme") == tuple(mine[::-1])
        assert await store.agreements(limit=2) == (theirs, mine[2])
        assert await store.agreements(before=mine[2].id) == (mine[1], mine[0])
        assert await store.agreements(tenant="other", before=theirs.id) == ()

    async def test_agreements_are_due_until_their_end_was_seen_to(self, store: Store) -> None:
        late = await agree(store, make_agreement(1, due_at=T0 + 2 * SECOND))
        early = await agree(store, make_agreement(2, due_at=T0 + SECOND))
        await agree(store, make_agreement(3))
        assert await store.agreements_due(T0) == ()
        assert await store.agreements_due(T0 + SECOND) == (early,)
        assert await store.agreements_due(T0 + 9 * SECOND) == (early, late)
        done = attrs.evolve(early, due_at=None)
        await store.put_agreement(done, [], expected=early.seq)
        assert await store.agreements_due(T0 + 9 * SECOND) == (late,)
        assert await store.agreement(early.id) == done

    async def test_tokens_are_found_by_id_digest_and_agreement(self, store: Store) -> None:
        agreement = make_agreement()
        bound = [make_token(number, agreement=agreement.id) for number in range(3)]
        agreement = await agree(store, agreement, *bound)
        free = make_token(7, role=Role.ADMIN, tenant=SERVICE)
        await agree(store, make_agreement(9, id=SERVICE, tenant=SERVICE), free)
        assert await store.tokens(agreement.id) == tuple(bound[::-1])
        assert await store.tokens(agreement.id, before=bound[2].id, limit=1) == (bound[1],)
        assert await store.tokens(None) == (free,)
        assert await store.credentials(free.digest) == (free, None)
        assert await store.credentials(free.digest[:-1]) is None
        revoked = attrs.evolve(bound[1], revoked_at=T0)
        agreement = await agree(store, agreement, revoked)
        assert await store.credentials(revoked.digest) == (revoked, agreement)
        assert await store.tokens(agreement.id) == (bound[2], revoked, bound[0])

    async def test_jobs_are_found_by_their_agreement(self, store: Store) -> None:
        one, other = await agree(store, make_agreement(1)), await agree(store, make_agreement(2))
        kept = await add(store, make_job(1, agreement=one.id))
        gone = await add(store, make_job(2, agreement=one.id, state=JobState.FAILED))
        await add(store, make_job(3, agreement=other.id))
        await add(store, make_job(4))
        gone = await move(store, gone, Step(None, {"purged": True}, "BytesPurged"))
        assert await store.jobs(JobQuery(agreement=one.id)) == (gone, kept)
        assert await store.jobs(JobQuery(agreement=one.id, purged=False)) == (kept,)
        assert await store.jobs(JobQuery(agreement=one.id, purged=True)) == (gone,)
        assert await store.jobs(JobQuery(agreement=one.id, states=tuple(FINAL))) == (gone,)

    @pytest.mark.parametrize("state", [AgreementState.ENDED, AgreementState.REVOKED, None])
    async def test_no_job_is_added_to_an_agreement_that_is_over(
        self, store: Store, state: AgreementState | None
    ) -> None:
        agreement = make_agreement()
        if state is not None:
            agreement = await agree(store, await agree(store, agreement))
            agreement = await agree(store, attrs.evolve(agreement, state=state))
        before = await store.position()
        job = make_job(key="k", agreement=agreement.id)
        with pytest.raises(Denied) as caught:
            await add(store, job)
        assert caught.value.reason == f"agreement-{state or 'unknown'}"
        assert await store.job(job.id) is None
        assert await store.position() == before
        assert (await add(store, make_job(key="k"))).seq == 1, "the refused job left its key"

    async def test_who_looks_after_the_end_finds_every_job(self, store: Store) -> None:
        """A submission that races with the end is refused, or is there for whoever stops it."""
        agreement = await agree(store, make_agreement())
        refused: list[str] = []
        found: list[str] = []

        async def submit(number: int) -> None:
            try:
                await add(store, make_job(number, agreement=agreement.id))
            except Denied:
                refused.append(make_job(number).id)

        async def end() -> None:
            await agree(store, attrs.evolve(agreement, state=AgreementState.ENDED))
            query = JobQuery(agreement=agreement.id, limit=100)
            found.extend([job.id for job in await store.jobs(query)])

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(submit, number)
            tasks.start_soon(end)
            for number in range(20, 40):
                tasks.start_soon(submit, number)
        made = [job.id for job in await store.jobs(JobQuery(limit=100))]
        assert sorted(made) == sorted(found)
        assert sorted([*made, *refused]) == [make_job(number).id for number in range(40)]
