"""R10 on S3: a result is whole at its key, or nothing can be read there.

The transfer, the server and the committing process are cut or killed at every 5 %, while somebody
else looks all the time.
"""

import hashlib
import io
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from tests.faultproxy import Fault, fault_proxy
from tests.s3 import Open, S3Server, StartS3
from tests.s3sending import PlainTransport, send

from longshore.errors import LongshoreError, NotFound
from longshore.storages.abc import StorageBackend
from longshore.transfer import Audience, SignedRequest, SignedUpload, UploadReceipt, UploadTicket
from longshore_s3.storage import S3Storage

pytestmark = pytest.mark.anyio

KEY = "i/acme/job/outputs/result"
DATA = random.Random(10).randbytes(512 * 1024)
STEPS = [len(DATA) * percent // 100 for percent in range(0, 100, 5)]
HOUR = timedelta(hours=1)


class Onlooker:
    """Looks at the key as often as it can; ``seen`` is what could be read."""

    def __init__(self, client: Any, bucket: str, name: str) -> None:
        self.seen: set[str] = set()
        self.looks = 0
        self._ended = threading.Event()
        self._client, self._bucket, self._name = client, bucket, name
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def looking(self) -> Iterator["Onlooker"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._thread.join()

    def look(self) -> None:
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._name)
            self.seen.add(hashlib.sha256(found["Body"].read()).hexdigest())
        except Exception:  # noqa: BLE001, S110 - not there, or the server is being killed
            pass
        self.looks += 1

    def _run(self) -> None:
        while not self._ended.is_set():
            self.look()


@pytest.fixture(scope="module")
def own_server(start_s3: StartS3) -> S3Server:
    """A server that may be killed."""
    server = start_s3()
    server.client().create_bucket(Bucket="results")
    return server


@pytest.fixture(scope="module")
def own_client(own_server: S3Server) -> Any:
    return own_server.client()


@pytest.fixture
def open_own(opened: Open, own_server: S3Server) -> Callable[..., Any]:
    return lambda endpoint=own_server.endpoint: opened(endpoint=endpoint, bucket="results")


async def begin(storage: StorageBackend) -> tuple[UploadTicket, SignedUpload]:
    ticket = await storage.prepare_upload(KEY, max_size=len(DATA))
    return ticket, await storage.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)


def send_all(signed: SignedUpload) -> UploadReceipt:
    return PlainTransport().send(signed, io.BytesIO(DATA), max_size=len(DATA))


async def check_nothing_is_readable_before_the_commit(
    storage: S3Storage, server: S3Server, client: Any, cut: Callable[[int], None]
) -> None:
    """The property: cut at every 5 %, seen by nobody, and whole in the end."""
    ticket, signed = await begin(storage)
    with Onlooker(client, "results", storage._name(KEY)).looking() as onlooker:
        for at in STEPS:
            cut(at)
            with pytest.raises((OSError, LongshoreError)):
                send_all(signed)
            onlooker.look()
        receipt = send_all(signed)
        onlooker.look()
        assert onlooker.seen == set()
        assert onlooker.looks > len(STEPS)
        await storage.commit(ticket, receipt)
        onlooker.look()
    assert onlooker.seen == {hashlib.sha256(DATA).hexdigest()}


async def test_a_transfer_that_is_cut_at_every_step_shows_nothing(
    open_own: Callable[..., Any], own_server: S3Server, own_client: Any
) -> None:
    with fault_proxy(own_server.endpoint) as proxy:

        def cut(at: int) -> None:
            proxy.once(Fault(at=at, cut=True))

        async with open_own(proxy.url) as storage:
            await check_nothing_is_readable_before_the_commit(storage, own_server, own_client, cut)


async def test_a_server_that_is_killed_at_every_step_shows_nothing(
    open_own: Callable[..., Any], own_server: S3Server, own_client: Any
) -> None:
    with fault_proxy(own_server.endpoint) as proxy:

        def kill_and_start() -> None:
            own_server.kill()
            own_server.start()

        def cut(at: int) -> None:
            proxy.once(Fault(at=at, cut=True, act=kill_and_start))

        async with open_own(proxy.url) as storage:
            await check_nothing_is_readable_before_the_commit(storage, own_server, own_client, cut)


async def test_control_a_plain_put_would_show_the_result_before_its_commit(
    open_own: Callable[..., Any],
    own_server: S3Server,
    own_client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def sign_a_put(self: S3Storage, ticket: UploadTicket, **_: Any) -> SignedUpload:
        credentials, at, seconds = await self._valid(HOUR)
        signer = self._bucket.signers[Audience.JOB]
        url = signer.sign(credentials, "PUT", self._name(ticket.key), at=at, expires=seconds)
        request = SignedRequest(method="PUT", url=url, expires_at=at + HOUR)
        return SignedUpload(ticket_id=ticket.id, part_size=ticket.part_size, parts=(request,))

    monkeypatch.setattr(S3Storage, "sign_upload", sign_a_put)
    with fault_proxy(own_server.endpoint) as proxy:

        def cut(at: int) -> None:
            proxy.once(Fault(at=at, cut=True))

        async with open_own(proxy.url) as storage:
            with pytest.raises(AssertionError, match=r"== set\(\)"):
                await check_nothing_is_readable_before_the_commit(
                    storage, own_server, own_client, cut
                )


async def check_the_first_attempt_cannot_disturb_the_second(storage: S3Storage) -> None:
    """The property: of a zombie nothing is read, and nothing of the other changes."""
    first, of_first = await begin(storage)
    assert send("PUT", of_first.parts[0].url, b"of a zombie").status == 200
    await storage.abort(first)
    second, of_second = await begin(storage)
    assert send("PUT", of_first.parts[0].url, b"of a zombie").status == 404
    receipt = send_all(of_second)
    assert send("PUT", of_first.parts[0].url, b"of a zombie").status == 404
    stored = await storage.commit(second, receipt)
    for said in (UploadReceipt(), receipt):
        with pytest.raises(NotFound):
            await storage.commit(first, said)
    assert await storage.stat(KEY) == stored
    assert b"".join([chunk async for chunk in storage.read(KEY)]) == DATA


async def test_the_first_attempt_cannot_disturb_the_second(
    open_own: Callable[..., Any],
) -> None:
    async with open_own() as storage:
        await check_the_first_attempt_cannot_disturb_the_second(storage)


async def test_control_without_the_abort_the_zombie_goes_on(
    open_own: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: S3Storage, ticket: UploadTicket) -> None:
        pass

    monkeypatch.setattr(S3Storage, "abort", nothing)
    async with open_own() as storage:
        with pytest.raises(AssertionError, match="404"):
            await check_the_first_attempt_cannot_disturb_the_second(storage)


async def test_control_without_the_tickets_id_the_zombies_commit_passes(
    open_own: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = S3Storage._find

    async with open_own() as storage:
        first, _ = await begin(storage)

        async def without_id(self: S3Storage, key: str) -> Any:
            found = await find(self, key)
            return found and (found[0], first.id)

        await storage.abort(first)
        second, signed = await begin(storage)
        await storage.commit(second, send_all(signed))
        with pytest.raises(NotFound):
            await storage.commit(first, UploadReceipt())
        monkeypatch.setattr(S3Storage, "_find", without_id)
        assert await storage.commit(first, UploadReceipt())
