"""Plans of large outputs: few enough parts, small enough for a Secret, the same after JSON."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given, settings, strategies as st
from tests.s3sending import send

from longshore.clock import SystemClock
from longshore.codec import from_json, to_json
from longshore.models import Job, Output, Workflow
from longshore.supervisor import plans
from longshore.supervisor.plans import MOST_PARTS, Plans, too_large
from longshore.testing.memory_store import MemoryStore
from longshore.testing.store_samples import make_job
from longshore.transfer import (
    PlannedOutput,
    Transfer,
    TransferKind,
    TransferPlan,
    UploadTicket,
)
from longshore_s3.opening import open_storage
from longshore_s3.parts import LARGEST, part_size
from longshore_s3.settings import Addressing, S3Settings
from longshore_s3.storage import S3Storage

pytestmark = pytest.mark.anyio

JOB = make_job(attempt=1, created_at=datetime(2026, 1, 2, tzinfo=UTC))
GB, TIB, LARGEST_PART = 10**9, 1024**4, 5 * 1024**3
Unreached = Callable[..., AbstractAsyncContextManager[S3Storage]]


def workflow_of(*sizes: int) -> Workflow:
    outputs = {f"o{n}": Output(name=f"o{n}", max_size=size) for n, size in enumerate(sizes)}
    return Workflow(id="large", title="Large", version="1", command=("true",), outputs=outputs)


@pytest.fixture
def unreached() -> Unreached:
    """Open a storage whose server is never asked: signing needs none."""

    @asynccontextmanager
    async def open_it(**more: Any) -> AsyncIterator[S3Storage]:
        given: dict[str, Any] = {
            "bucket": "longshore",
            "endpoint": "https://s3.internal",
            "access_key": "AKIAIOSFODNN7EXAMPLE",
            "secret_key": "hidden",
            **more,
        }
        async with open_storage(S3Settings(**given), SystemClock()) as storage:
            yield storage

    return open_it


def transfers_of(job: Job, workflow: Workflow) -> tuple[Transfer, ...]:
    """Return tickets as ``Plans.prepare`` would, without a server."""
    least = plans._least_part(workflow)
    wanted = [(TransferKind.OUTPUT, one.name, one.max_size) for one in workflow.outputs.values()]
    wanted += [(TransferKind.LOG, "log", 100 * 1024**2), (TransferKind.MANIFEST, "manifest", 4096)]
    return tuple(
        Transfer(
            job_id=job.id,
            attempt=1,
            kind=kind,
            name=name,
            ticket=UploadTicket(
                id=f"{job.id}-{name}",
                key=f"0123456789/acme/{job.id}/outputs/{name}",
                upload_id="b4a7c2fe-8d1c-4b39-9f2a-6e2f0e7a1c55",
                max_size=size,
                part_size=part_size(size, least),
            ),
        )
        for kind, name, size in wanted
    )


async def plan_of(storage: S3Storage, workflow: Workflow) -> TransferPlan:
    made = Plans(MemoryStore(), storage, SystemClock())
    return await made.sign(JOB, workflow, transfers_of(JOB, workflow))


def parts_in(plan: TransferPlan) -> int:
    return sum(len(one.upload.parts) for one in plan.outputs)


@pytest.mark.parametrize("token", [None, "FwoGZXIvYXdz/+=" * 120], ids=["no-token", "token"])
@pytest.mark.parametrize("addressing", [Addressing.PATH, Addressing.VIRTUAL], ids=str)
async def test_a_plan_is_the_same_after_json_and_small(
    unreached: Unreached, addressing: Addressing, token: str | None
) -> None:
    async with unreached(addressing=addressing, session_token=token) as storage:
        plan = await plan_of(storage, workflow_of(1, 7 * GB, 100 * GB))
    text = to_json(plan)
    assert from_json(TransferPlan, text) == plan
    assert parts_in(plan) > 1000
    assert len(text) < 70 * parts_in(plan) + 6 * 4096


async def test_the_largest_plan_that_is_allowed_fits_into_a_secret(unreached: Unreached) -> None:
    workflow = workflow_of(*[LARGEST] * 7)
    async with unreached(session_token="t" * 1500) as storage:
        assert not list(too_large(workflow, storage))
        plan = await plan_of(storage, workflow)
    assert 7 * 1000 < parts_in(plan) <= MOST_PARTS
    assert len(to_json(plan)) <= 900 * 1024
    assert from_json(TransferPlan, to_json(plan)) == plan


async def test_ten_thousand_parts_are_what_the_documentation_says(unreached: Unreached) -> None:
    ticket = UploadTicket(id="t", key="a/b", upload_id="u" * 36, max_size=10_000, part_size=1)
    async with unreached() as storage:
        one, *rest = transfers_of(JOB, workflow_of(1))
        many = attrs.evolve(one, ticket=ticket)
        made = Plans(MemoryStore(), storage, SystemClock())
        plan = await made.sign(JOB, workflow_of(1), (many, *rest))
    assert 650 * 1024 < len(to_json(plan)) < 660 * 1024


sizes = st.lists(
    st.integers(0, LARGEST) | st.sampled_from([0, 1, 16 * 1024**2, 125 * GB, LARGEST, LARGEST + 1]),
    max_size=60,
)


@settings(max_examples=1000, deadline=None)
@given(sizes=sizes)
def test_whatever_is_declared_has_few_enough_parts_or_is_refused(sizes: Sequence[int]) -> None:
    check(sizes)


def test_without_larger_parts_there_would_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "_least_part", lambda _: 1)
    with pytest.raises(AssertionError):
        check([125 * GB] * 20)


def check(sizes: Sequence[int]) -> None:
    """Check that a plan is possible, or refused, and that the parts are such as S3 takes."""
    workflow = workflow_of(*sizes)
    storage: Any = object.__new__(S3Storage)  # sizing looks at nothing of it
    problems = list(too_large(workflow, storage))
    if sum(sizes) <= 30 * TIB and max(sizes, default=0) <= LARGEST:
        assert not problems, "nothing of a usual size is refused"
    if problems:
        assert all(one.where.startswith("large: outputs") for one in problems)
        return
    least = plans._least_part(workflow)
    parts = 0
    for size in sizes:
        each = storage.part_size(size, least_part=least)
        count = max(1, -(-size // each))
        assert each <= LARGEST_PART
        assert count <= 10_000
        parts += count
    assert parts <= MOST_PARTS


def test_what_s3_cannot_hold_is_named_with_what_to_do() -> None:
    storage: Any = object.__new__(S3Storage)
    [problem] = too_large(workflow_of(1, LARGEST + 1), storage)
    assert problem.where == "large: outputs.o1.max_size"
    assert str(LARGEST) in problem.message
    assert problem.message.endswith("declare less")
    [problem] = too_large(workflow_of(*[LARGEST] * 8), storage)
    assert problem.where == "large: outputs"
    assert "8192 parts" in problem.message


async def test_a_real_server_takes_parts_by_a_plan_that_was_written_and_read(
    storage: S3Storage,
) -> None:
    store = MemoryStore()
    workflow = workflow_of(*[100 * GB] * 12)
    written = to_json(await Plans(store, storage, SystemClock()).prepare(JOB, workflow))
    assert len(written) <= 900 * 1024
    plan = from_json(TransferPlan, written)
    assert parts_in(plan) <= MOST_PARTS
    upload: PlannedOutput = plan.outputs[3]
    for number in (1, 500):
        assert send("PUT", upload.upload.parts[number - 1].url, b"data").status == 200
    tickets = await store.transfers(JOB.id, JOB.attempt)
    ticket = next(one.ticket for one in tickets if one.name == upload.name)
    assert [one.number for one in await storage.sent(ticket)] == [1, 500]
    for one in tickets:
        await storage.abort(one.ticket)
