"""Plans of storages whose requests end early, whose credentials are replaced, or with bounds."""

from datetime import timedelta
from typing import Any

import attrs
import pytest

from longshore.errors import TooLarge, WorkflowInvalid
from longshore.models import JobRequest, Output, Workflow
from longshore.storages.local import LocalStorage

pytestmark = pytest.mark.anyio

SOON = timedelta(minutes=10)


def dispatcher_of(host: Any) -> Any:
    return host._supervisors["engine"]._dispatcher


async def test_a_plan_is_renewed_before_its_first_request_ends(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = LocalStorage.sign_upload

    async def for_ten_minutes(self: LocalStorage, ticket: Any, **asked: Any) -> Any:
        return await sign(self, ticket, **{**asked, "expires": SOON})

    monkeypatch.setattr(LocalStorage, "sign_upload", for_ten_minutes)
    async with lab.host() as host:
        begun = host.clock.now()
        _, ref = await lab.submitted(host)
        plan = lab.engine.plans[ref]
        assert begun <= plan.valid_until - SOON <= host.clock.now()
        assert dispatcher_of(host)._occupied[ref] <= host.clock.now() + SOON / 2


async def test_all_plans_are_renewed_when_another_signs(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    signs = ["one"]

    async def signer(_: LocalStorage) -> str:
        return signs[-1]

    monkeypatch.setattr(LocalStorage, "signer", signer, raising=False)
    async with lab.host() as host:
        _, ref = await lab.submitted(host)
        dispatcher = dispatcher_of(host)
        await dispatcher.renew_due()
        assert ("renew", ref) not in lab.engine.calls
        signs.append("another")
        await dispatcher.renew_due()
        assert lab.engine.calls.count(("renew", ref)) == 1
        await dispatcher.renew_due()
        assert lab.engine.calls.count(("renew", ref)) == 1


LARGE = Workflow(
    id="large",
    title="Large",
    version="1",
    command=("true",),
    outputs={"result": Output(name="result", max_size=2000)},
)


def at_most_1000(_: LocalStorage, max_size: int, *, least_part: int = 1) -> int:
    del least_part
    if max_size > 1000:
        raise TooLarge(f"{max_size} bytes; at most 1000")
    return max_size


async def test_a_workflow_whose_outputs_a_storage_never_takes_is_refused_by_name(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab.host() as host:
        assert await host.offer(attrs.evolve(LARGE, version="0")), "without bounds it is not"
        await host.retire("large")
        monkeypatch.setattr(LocalStorage, "part_size", at_most_1000, raising=False)
        with pytest.raises(WorkflowInvalid) as caught:
            await host.offer(LARGE)
        [problem] = caught.value.problems
        assert problem.where == "large: outputs.result.max_size"
        assert problem.message == "2000 bytes; at most 1000; declare less"
        assert "large" not in [one.id for one in await host.store.workflows()]


async def test_parts_grow_with_all_that_a_workflow_declares(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, int] = {}
    prepare = LocalStorage.prepare_upload

    async def noting(self: LocalStorage, key: str, *, least_part: int = 1, **more: Any) -> Any:
        asked[key.rpartition("/")[2]] = least_part
        return await prepare(self, key, least_part=least_part, **more)

    monkeypatch.setattr(LocalStorage, "prepare_upload", noting)
    outputs = {name: Output(name=name, max_size=7 * 10**9) for name in ("one", "two")}
    async with lab.host() as host:
        await host.offer(attrs.evolve(LARGE, outputs=outputs))
        job = (await host.service.submit("acme", JobRequest(workflow="large"))).job
        await lab.reached(host, job, lambda job: job.dispatched)
    assert asked["one"] == asked["two"] == 2 * 10**6, "of both together there are 7,000"
