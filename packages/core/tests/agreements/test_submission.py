"""What a tenant may submit and start under an agreement, and what is kept of who did it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import attrs
import pytest

from longshore.access import Access
from longshore.errors import Denied, NotFound
from longshore.jobs import replay
from longshore.models import (
    Agreement,
    AgreementState,
    AnnouncedInput,
    AtEnd,
    InlineInput,
    Input,
    JobRequest,
    JobState,
    Workflow,
)
from longshore.service import JobService
from longshore.storages.local import LocalStorage
from longshore.stores.abc import JobQuery, Store
from longshore.supervisor import AgreementKeeper
from longshore.testing.fakes import FakeClock
from longshore.transfer import TransferState, UploadTicket

pytestmark = pytest.mark.anyio
DUMMY = JobRequest(workflow="dummy")
HOUR = timedelta(hours=1)


async def chunks() -> AsyncIterator[bytes]:
    yield b"text"


@pytest.fixture(autouse=True)
async def offered(store: Store) -> None:
    text = Input(name="text", required=False)
    for workflow in (
        Workflow(id="dummy", command=("true",), inputs={"text": text}),
        Workflow(id="dummies", command=("true",)),
    ):
        await store.put_workflow(workflow, origin="code")


async def test_there_is_no_workflow_but_those_of_the_agreement(
    service: JobService, agreement: Agreement
) -> None:
    assert [one.id for one in await service.workflows(agreement)] == ["dummy"]
    assert [one.id for one in await service.workflows()] == ["dummies", "dummy"]
    assert (await service.workflow("dummy", agreement)).id == "dummy"
    said: list[str] = []
    for workflow in ("dummies", "dummiez"):
        with pytest.raises(NotFound) as caught:
            await service.submit("acme", JobRequest(workflow=workflow), agreement=agreement)
        said.append(str(caught.value).replace(workflow, "..."))
    assert said[0] == said[1], "one that is not covered shows by nothing that it is there"
    assert "dummies" not in said[0]


async def test_an_agreement_for_all_workflows_covers_all(
    service: JobService, agreement: Agreement
) -> None:
    agreement = attrs.evolve(agreement, workflows=("*",))
    assert len(await service.workflows(agreement)) == 2
    await service.submit("acme", JobRequest(workflow="dummies"), agreement=agreement)


async def test_a_job_names_its_agreement_and_its_events_name_who_asked(
    service: JobService, store: Store, agreement: Agreement
) -> None:
    request = JobRequest(workflow="dummy", inputs={"text": AnnouncedInput()}, start=False)
    job = (await service.submit("acme", request, agreement=agreement, by="t1")).job

    await service.put_input("acme", job.id, "text", chunks(), by="t2")
    await service.start("acme", job.id, by="t3")
    await service.cancel("acme", job.id, by="t4")
    job = await service.purge("acme", job.id, by="t5")
    events = await store.events(job.id)
    assert [(event.type, event.data.get("by")) for event in events] == [
        ("JobCreated", "t1"),
        ("InputReceived", "t2"),
        ("JobQueued", "t3"),
        ("JobCanceled", None),
        ("BytesPurged", "t5"),
    ]
    assert job.agreement == events[0].data["agreement"] == agreement.id
    assert job.stop is not None
    assert job.stop.by == "t4"
    assert replay(events) == job == await store.job(job.id)


async def test_without_a_token_the_tenant_is_who_cancels(service: JobService, store: Store) -> None:
    job = (await service.submit("local", DUMMY)).job
    job = await service.cancel("local", job.id)
    assert job.stop is not None
    assert job.stop.by == "local"
    assert all("by" not in event.data for event in await store.events(job.id))


@pytest.mark.parametrize(
    ("after", "reason"),
    [(-HOUR, "agreement-not-started"), (HOUR, "agreement-ended")],
)
async def test_outside_of_its_time_nothing_is_submitted(
    service: JobService,
    store: Store,
    agreement: Agreement,
    clock: FakeClock,
    after: timedelta,
    reason: str,
) -> None:
    agreement = attrs.evolve(agreement, valid_from=clock.now())
    clock.set(clock.now() + after)
    with pytest.raises(Denied) as caught:
        await service.submit("acme", DUMMY, agreement=agreement)
    assert caught.value.reason == reason
    assert await store.jobs(JobQuery()) == ()


async def test_a_revocation_that_nobody_here_has_seen_is_no_gap(
    service: JobService, access: Access, store: Store, agreement: Agreement
) -> None:
    """The caller's agreement may be seconds old; what is stored counts."""
    await access.revoke_agreement(agreement.id, by="admin")
    assert agreement.state is AgreementState.ACTIVE
    request = JobRequest(workflow="dummy", inputs={"text": AnnouncedInput()})
    with pytest.raises(Denied) as caught:
        await service.submit("acme", request, agreement=agreement)
    assert caught.value.reason == "agreement-revoked"
    assert await store.jobs(JobQuery()) == ()


End = Callable[[Agreement], Awaitable[None]]


@pytest.fixture(params=["by its dates", "by the keeper"])
async def over(
    request: pytest.FixtureRequest, access: Access, clock: FakeClock, keeper: AgreementKeeper
) -> End:
    """Return what lets an agreement end, seen by the keeper or not yet."""

    async def end(agreement: Agreement) -> None:
        assert agreement.valid_until is not None
        clock.set(agreement.valid_until)
        if request.param == "by the keeper":
            await keeper.keep()

    return end


async def test_after_the_end_nothing_that_waited_is_started(
    service: JobService, access: Access, clock: FakeClock, over: End
) -> None:
    agreement = await access.create_agreement(
        tenant="acme",
        workflows=["dummy"],
        valid_until=clock.now() + HOUR,
        at_end=AtEnd.DRAIN,
        by="admin",
    )
    request = JobRequest(workflow="dummy", start=False)
    job = (await service.submit("acme", request, agreement=agreement, key="k")).job
    await over(agreement)
    with pytest.raises(Denied):
        await service.start("acme", job.id)
    with pytest.raises(Denied):
        await service.submit("acme", request, agreement=agreement, key="k")
    assert (await service.job("acme", job.id)).state is JobState.CREATED


async def test_after_the_end_a_repeated_submission_still_gives_its_job(
    service: JobService, agreement: Agreement, clock: FakeClock
) -> None:
    job = (await service.submit("acme", DUMMY, agreement=agreement, key="k")).job
    clock.set(clock.now() + 2 * HOUR)
    again = await service.submit("acme", DUMMY, agreement=agreement, key="k")
    assert (again.job.id, again.is_new) == (job.id, False)


async def test_a_refused_submission_leaves_no_upload_behind(
    service: JobService,
    storage: LocalStorage,
    access: Access,
    agreement: Agreement,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aborted: list[str] = []
    abort = storage.abort

    async def counted(ticket: UploadTicket) -> None:
        aborted.append(ticket.key)
        await abort(ticket)

    monkeypatch.setattr(storage, "abort", counted)
    await access.revoke_agreement(agreement.id, by="admin")
    request = JobRequest(workflow="dummy", inputs={"text": AnnouncedInput()})
    with pytest.raises(Denied):
        await service.submit("acme", request, agreement=agreement)
    assert len(aborted) == 1


async def test_inline_inputs_come_with_who_sent_them(
    service: JobService, store: Store, agreement: Agreement
) -> None:
    request = JobRequest(workflow="dummy", inputs={"text": InlineInput(content=b"x")})
    job = (await service.submit("acme", request, agreement=agreement, by="t1")).job
    events = await store.events(job.id)
    assert [(event.type, event.data.get("by")) for event in events] == [
        ("JobCreated", "t1"),
        ("InputReceived", "t1"),
        ("JobQueued", "t1"),
    ]
    assert all(one.state is not TransferState.OPEN for one in await store.transfers(job.id))
