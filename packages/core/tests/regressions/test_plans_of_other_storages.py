"""Plans of storages whose requests end early, or whose credentials are replaced."""

from datetime import timedelta
from typing import Any

import pytest

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
