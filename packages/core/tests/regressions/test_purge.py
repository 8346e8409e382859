"""What is purged is gone: also what was on its way when the purge came."""

from collections.abc import AsyncIterable
from pathlib import Path

import pytest

from longshore.access import Access
from longshore.models import (
    Agreement,
    AnnouncedInput,
    InlineInput,
    Input,
    JobRequest,
    Workflow,
)
from longshore.service import JobService
from longshore.storages.local import LocalStorage
from longshore.stores.abc import Store
from longshore.supervisor import AgreementKeeper
from longshore.transfer import StoredObject

pytestmark = pytest.mark.anyio
WORKFLOW = Workflow(id="dummy", command=("true",), inputs={"data": Input(name="data")})
ANNOUNCED = JobRequest(workflow="dummy", inputs={"data": AnnouncedInput(size=6)})
INLINE = JobRequest(workflow="dummy", inputs={"data": InlineInput(content=b"secret")})


@pytest.fixture(autouse=True)
async def offered(store: Store) -> None:
    await store.put_workflow(WORKFLOW, origin="code")


def files(place: Path) -> list[Path]:
    return [one for one in place.rglob("*") if one.is_file()]


async def test_the_end_of_a_revoked_agreement_drops_uploads_that_nobody_committed(
    service: JobService,
    access: Access,
    keeper: AgreementKeeper,
    agreement: Agreement,
    store: Store,
    tmp_path: Path,
) -> None:
    """Nobody but the keeper is there: the job was never an engine's."""
    job = (await service.submit("acme", ANNOUNCED, agreement=agreement)).job
    (transfer,) = await store.transfers(job.id, 0)
    (tmp_path / "storage" / "uploads" / transfer.ticket.upload_id).write_bytes(b"secret")

    await access.revoke_agreement(agreement.id, by="admin")
    await keeper.keep()

    assert (await service.job("acme", job.id)).purged
    assert files(tmp_path / "storage") == []


@pytest.mark.parametrize("moment", ["before", "between", "after"])
async def test_a_purge_takes_an_input_that_comes_meanwhile(
    service: JobService,
    access: Access,
    keeper: AgreementKeeper,
    agreement: Agreement,
    storage: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    moment: str,
) -> None:
    """A submission is cut in two by the revocation: its bytes come at some moment of the purge."""
    write, delete = storage.write, storage.delete

    async def revoke() -> None:
        await access.revoke_agreement(agreement.id, by="admin")
        await keeper.keep()

    async def write_then(key: str, data: AsyncIterable[bytes]) -> StoredObject:
        if moment == "after":
            await revoke()
            return await write(key, data)
        stored = list[StoredObject]()

        async def delete_then(prefix: str) -> int:
            count = await delete(prefix)
            if not stored:
                stored.append(await write(key, data))
            return count

        if moment == "before":
            stored.append(await write(key, data))
        monkeypatch.setattr(storage, "delete", delete_then)
        await revoke()
        return stored[0]

    monkeypatch.setattr(storage, "write", write_then)
    done = await service.submit("acme", INLINE, agreement=agreement)

    assert (await service.job("acme", done.job.id)).purged
    assert files(tmp_path / "storage") == []
