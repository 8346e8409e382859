"""What a consumer sends is not kept in memory by the thousand."""

import tracemalloc

import attrs
import pytest

from longshore.ledger import Ledger
from longshore.models import Job
from longshore.parameters import check_parameters, is_light
from longshore.stores.sqlite import SQLiteStore
from longshore.testing.store_samples import make_job

pytestmark = pytest.mark.anyio
#: parameters that pass as 60 KB, and are twenty times that in memory
HEAVY: dict[str, object] = {"a": [[] for _ in range(30_000)]}
JOBS = 20
MIB = 1024**2


@pytest.fixture
def store(sqlite: SQLiteStore) -> SQLiteStore:
    return sqlite


async def use(ledger: Ledger, store: SQLiteStore, number: int) -> None:
    parameters: dict[str, object] = {"a": [[] for _ in range(30_000)]}
    job = attrs.evolve(make_job(number), parameters=parameters)
    await ledger.open(job, queue=False)
    found = await store.job(job.id)
    assert found is not None
    assert found.parameters == parameters


@pytest.mark.thorough
async def test_jobs_with_large_parameters_are_not_remembered(
    ledger: Ledger, sqlite: SQLiteStore
) -> None:
    assert check_parameters({"additionalProperties": True}, HEAVY) == ()
    tracemalloc.start()
    try:
        for number in range(JOBS):
            await use(ledger, sqlite, number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3 * MIB


@pytest.mark.parametrize(
    ("parameters", "light"),
    [
        ({}, True),
        ({"gate": "/tmp/gate", "top": 5, "share": 0.5, "all": True, "none": None}, True),
        ({"list": [1, 2, {"a": "b"}]}, True),
        ({"text": "x" * 9000}, False),
        ({"x" * 9000: 1}, False),
        ({"list": [0] * 1000}, False),
        ({"list": [[[] for _ in range(10)] for _ in range(10)]}, False),
        (HEAVY, False),
    ],
)
def test_what_is_light_is_small(parameters: dict[str, object], light: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert is_light(parameters) is light


async def test_jobs_with_small_parameters_are_remembered(
    ledger: Ledger, sqlite: SQLiteStore
) -> None:
    job: Job = attrs.evolve(make_job(1), parameters={"top": 5})
    opened = await ledger.open(job, queue=False)

    assert await ledger.latest(job.id) is opened
    assert await sqlite.job(job.id) is await sqlite.job(job.id)
