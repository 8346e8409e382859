"""The contract of a store, second part: what it finds. Part of ``StoreContract``."""

from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from longshore.errors import Conflict
from longshore.jobs import Step
from longshore.lifecycle import FINAL, JobState
from longshore.models import (
    Job,
    Workflow,
)
from longshore.stores.abc import JobQuery, Store
from longshore.testing.store_samples import SECOND, STOP, T0, add, make_job, move

_WITH_WORKER = (JobState.QUEUED, JobState.STAGING_IN, JobState.RUNNING)


class StoreQueries:
    """What every store finds; ``StoreContract`` inherits it."""

    # lists

    async def test_jobs_come_newest_first_in_pages(self, store: Store) -> None:
        ids = [(await add(store, make_job(number))).id for number in range(7)]
        pages: list[str] = []
        query = JobQuery(tenant="acme", limit=3)
        for number in range(4):
            page = await store.jobs(query)
            assert len(page) == (3, 3, 1, 0)[number]
            pages += [job.id for job in page]
            await add(store, make_job(100 + number))  # a new job moves no page that is read later
            if page:
                query = attrs.evolve(query, before=page[-1].id)
        assert pages == ids[::-1]

    async def test_jobs_are_filtered(self, store: Store) -> None:
        mine = await add(store, make_job(1))
        queued = await add(store, make_job(2, state=JobState.QUEUED))
        failed = await add(store, make_job(3, state=JobState.FAILED, workflow="plot"))
        theirs = await add(store, make_job(4, tenant="other"))

        async def ids(**filters: object) -> list[str]:
            return [job.id for job in await store.jobs(JobQuery(**filters))]  # type: ignore[arg-type]  # the caller names fields of JobQuery

        assert await ids() == [theirs.id, failed.id, queued.id, mine.id]
        assert await ids(tenant="acme") == [failed.id, queued.id, mine.id]
        assert await ids(tenant="nobody") == []
        assert await ids(workflow="plot") == [failed.id]
        assert await ids(states=(JobState.QUEUED, JobState.FAILED)) == [failed.id, queued.id]
        assert await ids(tenant="acme", before=failed.id, limit=1) == [queued.id]
        assert await ids(tenant="other", states=(JobState.QUEUED,)) == []

    async def test_jobs_are_counted_by_state(self, store: Store) -> None:
        assert await store.counts() == {}
        first = await add(store, make_job(1))
        await add(store, make_job(2, tenant="other"))
        await add(store, make_job(3, state=JobState.FAILED))
        assert await store.counts() == {JobState.CREATED: 2, JobState.FAILED: 1}
        await move(store, first, Step(JobState.QUEUED, {}))
        assert (await store.counts())[JobState.CREATED] == 1

    async def test_waiting_are_the_oldest_that_no_engine_has(self, store: Store) -> None:
        first = await add(store, make_job(1, state=JobState.QUEUED))
        await add(store, make_job(2, state=JobState.QUEUED, dispatched=True))
        await add(store, make_job(3, state=JobState.QUEUED, backend="other"))
        for number, state in enumerate(JobState, start=10):
            if state is not JobState.QUEUED:
                await add(store, make_job(number, state=state))
        last = await add(store, make_job(4, state=JobState.QUEUED))
        assert await store.waiting("local", limit=9) == (first, last)
        assert await store.waiting("local", limit=1) == (first,)
        assert await store.waiting_ids("local", limit=9) == [first.id, last.id]
        assert await store.waiting_ids("local", limit=1) == [first.id]
        gone = await move(store, first, Step(None, {"dispatched": True}, "JobDispatched"))
        assert await store.waiting("local", limit=9) == (last,)
        assert await store.waiting_ids("local", limit=9) == [last.id]
        back = Step(JobState.QUEUED, {"dispatched": False, "attempt": 2})
        again = await move(store, gone, back)
        assert await store.waiting("local", limit=9) == (again, last)

    async def test_stopping_are_those_whose_worker_may_still_run(self, store: Store) -> None:
        expected: list[Job] = []
        asked = {"stop": STOP, "dispatched": True}
        for number, state in enumerate(JobState):
            job = await add(store, make_job(number, state=state, **asked))
            if state in _WITH_WORKER:
                expected.append(job)
        await add(store, make_job(20, state=JobState.QUEUED, stop=STOP))
        await add(store, make_job(21, state=JobState.RUNNING, dispatched=True))
        await add(store, make_job(22, state=JobState.RUNNING, backend="other", **asked))
        stopping = await store.stopping("local", limit=9)
        assert sorted(stopping, key=lambda job: job.id) == expected
        assert len(await store.stopping("local", limit=2)) == 2

    async def test_unfinished_come_in_pages_by_id(self, store: Store) -> None:
        expected: list[str] = []
        for number, state in enumerate(JobState):
            job = await add(store, make_job(number, state=state))
            if state in (*_WITH_WORKER, JobState.STAGING_OUT):
                expected.append(job.id)
        await add(store, make_job(20, state=JobState.RUNNING, backend="other"))
        seen: list[str] = []
        while page := await store.unfinished("local", after=seen[-1] if seen else "", limit=3):
            seen += [job.id for job in page]
        assert seen == expected

    async def test_due_are_those_whose_time_has_come_oldest_first(self, store: Store) -> None:
        late = await add(store, make_job(1, next_by=T0 + 3 * SECOND))
        early = await add(store, make_job(2, next_by=T0 + SECOND))
        await add(store, make_job(3))
        microsecond = timedelta(microseconds=1)
        assert await store.next_due() == T0 + SECOND
        assert await store.due(T0 + SECOND - microsecond) == ()
        assert await store.due(T0 + SECOND) == (early,)
        assert await store.due(T0 + 9 * SECOND) == (early, late)
        assert await store.due(T0 + 9 * SECOND, limit=1) == (early,)
        await move(store, early, Step(None, {"next_by": None}, "Done"))
        assert await store.next_due() == T0 + 3 * SECOND
        await move(store, late, Step(None, {"next_by": None}, "Done"))
        assert await store.next_due() is None

    async def test_a_final_job_is_in_no_list_of_work(self, store: Store) -> None:
        for number, state in enumerate(sorted(FINAL)):
            job = await add(store, make_job(number, state=JobState.STAGING_OUT, next_by=T0))
            await move(store, job, Step(state, {"next_by": None}))
        assert await store.unfinished("local") == []
        assert await store.waiting("local", limit=9) == ()
        assert await store.stopping("local", limit=9) == ()
        assert await store.next_due() is None
        assert len(await store.jobs(JobQuery())) == len(FINAL)

    # workflows

    async def test_the_version_put_last_is_offered_and_all_are_kept(self, store: Store) -> None:
        one, two = Workflow(id="wordcount"), Workflow(id="wordcount", version="2", title="New")
        await store.put_workflow(one, origin="files")
        await store.put_workflow(two, origin="files")
        await store.put_workflow(Workflow(id="plot"), origin="code")
        assert await store.workflow("wordcount") == two
        assert await store.workflow("wordcount", "1") == one
        assert await store.workflow("wordcount", "3") is None
        assert await store.workflows() == (Workflow(id="plot"), two)
        assert await store.workflows(origin="code") == (Workflow(id="plot"),)
        assert await store.workflows(origin="api") == ()
        await store.put_workflow(one, origin="files")
        assert await store.workflow("wordcount") == one

    async def test_a_retired_workflow_is_kept_for_its_jobs_and_may_return(
        self, store: Store
    ) -> None:
        workflow = Workflow(id="wordcount")
        await store.put_workflow(workflow, origin="files")
        await store.retire_workflow("wordcount")
        await store.retire_workflow("wordcount")
        await store.retire_workflow("never was")
        assert await store.workflow("wordcount") is None
        assert await store.workflows() == ()
        assert await store.workflow("wordcount", "1") == workflow
        await store.put_workflow(workflow, origin="files")
        assert await store.workflow("wordcount") == workflow

    async def test_a_version_is_immutable_once_a_job_used_it(self, store: Store) -> None:
        draft = Workflow(id="wordcount", title="draft")
        await store.put_workflow(draft, origin="files")
        workflow = attrs.evolve(draft, title="final", directory=Path("/one"))
        await store.put_workflow(workflow, origin="files")
        assert await store.workflow("wordcount", "1") == workflow
        await add(store, make_job())
        with pytest.raises(Conflict, match="version"):
            await store.put_workflow(draft, origin="files")
        assert await store.workflow("wordcount") == workflow
        moved = attrs.evolve(workflow, directory=Path("/two"))
        await store.put_workflow(moved, origin="files")
        assert await store.workflow("wordcount") == moved
        newer = attrs.evolve(draft, version="2")
        await store.put_workflow(newer, origin="files")
        assert await store.workflow("wordcount") == newer
        assert await store.workflow("wordcount", "1") == moved
