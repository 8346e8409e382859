"""How the mover's transport moves bytes, and what it does about everything that goes wrong."""

import hashlib
import io
import os
import random
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import attrs
import pytest
from tests.faultproxy import Asked, Fault, FaultProxy
from tests.mover.objects import HOUR, MIB, Objects, planned, signed

from longshore.errors import (
    ChecksumMismatch,
    DataRefused,
    LongshoreError,
    NotFound,
    StorageUnavailable,
    TooLarge,
)
from longshore.staging.chunks import chunked
from longshore.transfer import SignedRequest, SignedUpload, TransferPlan, UploadReceipt
from longshore_mover import fetching, sending
from longshore_mover.crew import NAME
from longshore_mover.line import Line
from longshore_mover.patience import Patience
from longshore_mover.transport import HttpTransport

DATA = random.Random(5).randbytes(3 * MIB + 12345)
#: every 5 % of a transfer
STEPS = [len(DATA) * percent // 100 for percent in range(0, 100, 5)]
CUT = Fault(up=False, cut=True)
SHORT = timedelta(seconds=0.3)
Pump = Callable[..., UploadReceipt]


class Quick(Patience):
    """Waits a hundredth, so that no test does."""

    def pause(self, seconds: float) -> None:
        super().pause(seconds / 100)


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpTransport]:
    """A transport whose ranges are small."""
    monkeypatch.setattr(fetching, "RANGE", 400_000)
    made = HttpTransport(patience=Quick(20))
    yield made
    made.close()
    assert NAME not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def fetched(transport: HttpTransport, objects: Objects, tmp_path: Path) -> Callable[..., bytes]:
    """Fetch an object of this content and return the file that came."""

    def fetch(content: bytes = DATA, by: HttpTransport | None = None, **changes: Any) -> bytes:
        objects.put("it", content)
        plan = planned(objects, "it", content, **changes)
        with (tmp_path / "it").open("w+b", buffering=0) as into:
            (by or transport).fetch(
                plan.request, cast("BinaryIO", into), size=plan.size, sha256=plan.sha256
            )
        return (tmp_path / "it").read_bytes()

    return fetch


@pytest.fixture
def sent(transport: HttpTransport, objects: Objects, tmp_path: Path) -> Callable[..., bytes]:
    """Send this content, commit it, and return the object."""

    def send(
        content: bytes = DATA,
        *,
        stream: bool = False,
        by: HttpTransport | None = None,
        max_size: int = 10**8,
    ) -> bytes:
        upload = objects.open("it", max_size)
        path = tmp_path / "source"
        path.write_bytes(content)
        with path.open("rb", buffering=0) as file:
            source = chunked(iter([content])) if stream else cast("BinaryIO", file)
            receipt = (by or transport).send(
                objects.sign_upload(upload, max_size), source, max_size=max_size
            )
        assert objects.get("it") is None  # readable by a commit alone
        assert receipt.size == len(content)
        assert receipt.sha256 == hashlib.sha256(content).hexdigest()
        objects.commit(upload, receipt.parts)
        return objects.get("it") or b""

    return send


SIZES = (0, 1, MIB, MIB + 1, 400_000, len(DATA))


class TestFetching:
    @pytest.mark.parametrize("size", SIZES)
    def test_what_is_fetched_is_the_object(self, fetched: Callable[..., bytes], size: int) -> None:
        assert fetched(DATA[:size]) == DATA[:size]

    def test_a_file_without_a_descriptor_is_filled_too(
        self, transport: HttpTransport, objects: Objects
    ) -> None:
        objects.put("it", DATA)
        into = io.BytesIO()
        transport.fetch(objects.sign_get("it"), into, size=len(DATA), sha256=None)
        assert into.getvalue() == DATA

    @pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1, len(DATA) + 10**6, 1])
    def test_another_size_than_announced_is_refused(
        self, fetched: Callable[..., bytes], size: int
    ) -> None:
        with pytest.raises(ChecksumMismatch, match="instead of"):
            fetched(size=size)

    @pytest.mark.parametrize("content", [DATA, DATA[:100]])
    def test_another_checksum_than_announced_is_refused(
        self, fetched: Callable[..., bytes], content: bytes
    ) -> None:
        with pytest.raises(ChecksumMismatch, match="sha256"):
            fetched(content, sha256="0" * 64)

    def test_an_object_that_is_not_there_is_said_at_once(
        self, objects: Objects, proxy: FaultProxy
    ) -> None:
        request = attrs.evolve(objects.sign_get("it"), url=f"{proxy.url}/objects/x?generation=1")
        with pytest.raises(NotFound, match="404 NoSuchKey"):
            HttpTransport().fetch(request, io.BytesIO(), size=1, sha256=None)
        assert len(proxy.seen) == 1

    @pytest.mark.parametrize("at", STEPS)
    def test_cut_anywhere_it_goes_on_where_it_was(
        self, fetched: Callable[..., bytes], proxy: FaultProxy, at: int
    ) -> None:
        cut = at % 400_000
        piece = at // 400_000 * 400_000
        proxy.once(Fault(up=False, at=cut, cut=True), first_of(piece))
        assert fetched() == DATA
        pieces = -(-len(DATA) // 400_000)
        assert pieces <= len(proxy.seen) <= pieces + 1

    def test_what_was_there_before_an_error_is_not_asked_for_again(
        self, fetched: Callable[..., bytes], proxy: FaultProxy, objects: Objects
    ) -> None:
        proxy.once(Fault(up=False, at=200_000, cut=True))
        content = DATA[:300_000]  # one request
        assert fetched(content) == content
        assert len(objects.asked) == 2

    @pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
    def test_a_busy_server_is_asked_again(
        self, fetched: Callable[..., bytes], proxy: FaultProxy, status: int
    ) -> None:
        proxy.once(Fault(status=status))
        assert fetched() == DATA

    def test_a_byte_changed_on_the_way_is_noticed_and_fetched_again(
        self, fetched: Callable[..., bytes], proxy: FaultProxy
    ) -> None:
        proxy.once(Fault(up=False, at=1000, changed=True))
        assert fetched() == DATA

    def test_a_byte_that_is_always_changed_is_refused(
        self, fetched: Callable[..., bytes], proxy: FaultProxy
    ) -> None:
        proxy.choose = lambda _: Fault(up=False, at=1000, changed=True)
        with pytest.raises(ChecksumMismatch, match="sha256"):
            fetched()

    def test_an_object_replaced_under_way_is_refused(
        self, fetched: Callable[..., bytes], proxy: FaultProxy, objects: Objects
    ) -> None:
        # the storage here knows no If-Match: the sizes tell, and the checksum
        def replace() -> None:
            objects.put("it", DATA[::-1])

        proxy.once(Fault(up=False, at=None, act=replace))
        with pytest.raises(ChecksumMismatch):
            fetched()

    def test_a_server_without_ranges_is_enough(
        self, fetched: Callable[..., bytes], objects: Objects
    ) -> None:
        objects.has_ranges = False
        assert fetched() == DATA

    @pytest.mark.parametrize("at", [0, 3000, 2 * MIB])
    def test_a_server_without_ranges_may_be_cut(
        self, fetched: Callable[..., bytes], objects: Objects, proxy: FaultProxy, at: int
    ) -> None:
        objects.has_ranges = False
        proxy.once(Fault(up=False, at=at, cut=True), lambda _: len(objects.asked) > 12)
        assert fetched() == DATA

    def test_a_redirect_is_not_followed(
        self, fetched: Callable[..., bytes], proxy: FaultProxy
    ) -> None:
        proxy.choose = lambda _: Fault(status=307, headers=(("Location", proxy.url),))
        with pytest.raises(StorageUnavailable, match="307"):
            fetched()

    def test_no_proxy_of_the_environment_is_used(
        self, fetched: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert fetched() == DATA


def first_of(piece: int) -> Callable[[Asked], bool]:
    """Say of a request whether it is for a piece; ranges are not in what the proxy tells."""
    asked = iter(range(10**6))
    return lambda _: next(asked) == piece // 400_000


class TestSending:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("size", SIZES)
    def test_what_is_committed_is_what_was_sent(
        self, sent: Callable[..., bytes], size: int, *, stream: bool
    ) -> None:
        assert sent(DATA[:size], stream=stream) == DATA[:size]

    @pytest.mark.parametrize("stream", [False, True])
    def test_exactly_the_most_that_is_allowed_is_sent(
        self, sent: Callable[..., bytes], *, stream: bool
    ) -> None:
        assert sent(DATA, stream=stream, max_size=len(DATA)) == DATA

    @pytest.mark.parametrize("stream", [False, True])
    def test_more_than_allowed_is_never_sent_whole(
        self, sent: Callable[..., bytes], objects: Objects, *, stream: bool
    ) -> None:
        with pytest.raises(TooLarge):
            sent(DATA, stream=stream, max_size=2 * MIB)
        (upload,) = objects.uploads.values()
        assert sum(map(len, upload.parts.values())) <= 2 * MIB
        assert stream or not upload.parts  # what is on disk has its size beforehand

    def test_a_part_too_large_for_memory_is_kept_in_a_file_without_a_name(
        self, sent: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sending, "IN_MEMORY", 1000)
        assert sent(stream=True) == DATA

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("at", STEPS)
    def test_cut_anywhere_a_part_is_sent_again(
        self, sent: Callable[..., bytes], proxy: FaultProxy, at: int, *, stream: bool
    ) -> None:
        number = at // MIB + 1
        proxy.once(Fault(at=at % MIB, cut=True), lambda asked: f"/{number}?" in asked.target)
        assert sent(stream=stream) == DATA
        assert len(proxy.seen) == 5

    def test_an_answer_that_was_lost_is_asked_for_again(
        self, sent: Callable[..., bytes], proxy: FaultProxy
    ) -> None:
        proxy.once(Fault(at=None, cut=True))
        assert sent() == DATA

    def test_a_byte_changed_on_the_way_is_refused_by_the_server_and_sent_again(
        self, sent: Callable[..., bytes], proxy: FaultProxy
    ) -> None:
        proxy.once(Fault(at=1234, changed=True))
        assert sent() == DATA
        assert len(proxy.seen) == 5

    def test_without_the_checksum_of_a_part_the_change_would_stay(
        self,
        sent: Callable[..., bytes],
        proxy: FaultProxy,
        objects: Objects,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(objects, "commit", lambda upload, _: _join(objects, upload))
        objects.verifies = False
        proxy.once(Fault(at=1234, changed=True))
        assert sent() != DATA

    def test_an_upload_that_is_no_longer_open_is_said_at_once(
        self, transport: HttpTransport, objects: Objects
    ) -> None:
        upload = objects.open("it", 10)
        request = objects.sign_upload(upload, 10)
        del objects.uploads[upload]
        with pytest.raises(NotFound, match="404 NoSuchUpload"):
            transport.send(request, io.BytesIO(b"1"), max_size=10)

    def test_a_file_that_shrinks_meanwhile_is_refused(
        self, transport: HttpTransport, objects: Objects, tmp_path: Path
    ) -> None:
        path = tmp_path / "it"
        path.write_bytes(DATA)
        objects.at_upload = lambda *_: os.truncate(path, 10)
        upload = objects.sign_upload(objects.open("it", 10**7), 10**7)
        with path.open("rb", buffering=0) as file, pytest.raises(DataRefused, match="changed"):
            transport.send(upload, cast("BinaryIO", file), max_size=10**7)

    def test_what_has_arrived_is_not_sent_again(
        self, objects: Objects, tmp_path: Path, proxy: FaultProxy
    ) -> None:
        transport = HttpTransport(patience=Quick(0.2))
        upload = objects.sign_upload(objects.open("it", 10**7), 10**7)
        (tmp_path / "it").write_bytes(DATA)

        def send() -> UploadReceipt:
            with (tmp_path / "it").open("rb", buffering=0) as file:
                return transport.send(upload, cast("BinaryIO", file), max_size=10**7)

        proxy.choose = lambda asked: Fault(status=500) if "/4?" in asked.target else None
        with pytest.raises(StorageUnavailable):
            send()
        proxy.choose = lambda _: None
        done = len(proxy.seen)
        assert len(send().parts) == 4
        assert len(proxy.seen) == done + 1


def _join(objects: Objects, upload: str) -> None:
    parts = objects.uploads[upload].parts
    objects.objects["it"] = b"".join(parts[number] for number in sorted(parts))


class TestOutages:
    def test_an_outage_within_the_allowance_is_waited_for(
        self, sent: Callable[..., bytes], proxy: FaultProxy
    ) -> None:
        proxy.is_down = True
        timer = threading.Timer(0.3, lambda: setattr(proxy, "is_down", False))
        timer.start()
        assert sent() == DATA
        timer.join()

    @pytest.mark.parametrize("way", ["up", "down"])
    def test_a_longer_one_is_said(
        self,
        sent: Callable[..., bytes],
        fetched: Callable[..., bytes],
        proxy: FaultProxy,
        way: str,
    ) -> None:
        transport = HttpTransport(outage=SHORT)
        proxy.is_down = True
        with pytest.raises(StorageUnavailable, match=r"tried again for 0\.3 s"):
            (sent if way == "up" else fetched)(by=transport)

    def test_nobody_listening_is_an_outage(self) -> None:
        request = signed("GET", "http://127.0.0.1:1/objects/it?generation=1")
        with pytest.raises(StorageUnavailable, match="Connection refused; tried again"):
            HttpTransport(outage=SHORT).fetch(request, io.BytesIO(), size=1, sha256=None)

    def test_what_a_server_asks_for_is_waited(
        self, proxy: FaultProxy, fetched: Callable[..., bytes]
    ) -> None:
        waited: list[float] = []
        transport = HttpTransport(patience=Patience(600, wait=waited.append))
        proxy.once(Fault(status=503, headers=(("Retry-After", "120"),)))
        assert fetched(by=transport) == DATA
        assert waited == [120.0]

    def test_everything_that_failed_in_one_outage_shares_its_allowance(
        self, proxy: FaultProxy, objects: Objects
    ) -> None:
        transport = HttpTransport(outage=SHORT)
        proxy.is_down = True
        for _ in range(3):
            with pytest.raises(StorageUnavailable):
                transport.fetch(objects.sign_get("it"), io.BytesIO(), size=1, sha256=None)
        assert transport.patience.outage == SHORT.total_seconds()

    def test_it_ends_at_once_when_it_is_told_to(
        self, proxy: FaultProxy, fetched: Callable[..., bytes]
    ) -> None:
        transport = HttpTransport()
        proxy.choose = lambda _: Fault(up=False, at=1000, pause=20)
        timer = threading.Timer(0.2, transport.end_by, (0.0,))
        timer.start()
        with pytest.raises(StorageUnavailable, match="no more time"):
            fetched(by=transport)
        timer.join()
        proxy.choose = lambda _: None
        transport.end_by(None)
        assert fetched(by=transport) == DATA

    def test_no_message_holds_a_url(self, proxy: FaultProxy, fetched: Callable[..., bytes]) -> None:
        said = []
        for fault in (Fault(status=403), Fault(status=404), Fault(status=400), CUT):
            proxy.choose = partial(_always, fault)
            with pytest.raises(LongshoreError) as caught:
                fetched(by=HttpTransport(outage=SHORT))
            said.append("".join(map(str, (caught.value, caught.value.__cause__))))
        assert len(said) == 4
        assert not any("generation" in text or proxy.url in text for text in said)


def plan_of(objects: Objects, upload: SignedUpload) -> TransferPlan:
    request = objects.sign_get("it")
    plan = planned(objects, "it", DATA)
    return TransferPlan(
        job_id="job",
        attempt=1,
        inputs=(attrs.evolve(plan, request=request),),
        log=upload,
        manifest=upload,
        valid_until=request.expires_at,
        generation=objects.generation,
    )


def _always(fault: Fault, _: Asked) -> Fault:
    return fault


class TestRenewal:
    def test_a_refused_request_is_replaced_by_that_of_a_newer_plan(
        self, objects: Objects, fetched: Callable[..., bytes]
    ) -> None:
        upload = objects.open("up", 10)
        old = plan_of(objects, objects.sign_upload(upload, 10))
        objects.generation = 2
        new = plan_of(objects, objects.sign_upload(upload, 10))
        objects.generation = 1
        plans = [old]

        def renew() -> TransferPlan:
            plans.append(new)  # the second look finds it
            return plans[-2]

        transport = HttpTransport(old, patience=Quick(20), newer=renew)
        objects.valid = {2}
        assert fetched(by=transport) == DATA
        assert transport.send(old.log, io.BytesIO(b"1"), max_size=10).size == 1

    def test_a_request_that_ends_soon_is_replaced_before_it_is_refused(
        self, objects: Objects
    ) -> None:
        upload = objects.sign_upload(objects.open("up", 10), 10)
        objects.generation = 2
        new = plan_of(objects, upload)
        objects.generation = 1
        soon = attrs.evolve(
            objects.sign_get("it"), expires_at=new.valid_until - HOUR + timedelta(seconds=60)
        )
        old = attrs.evolve(new, generation=1, inputs=(attrs.evolve(new.inputs[0], request=soon),))
        objects.valid = {1, 2}
        objects.put("it", DATA)
        transport = HttpTransport(old, newer=lambda: new)
        into = io.BytesIO()
        transport.fetch(soon, into, size=len(DATA), sha256=None)
        assert transport._lines[0]._renewal.current(soon) == new.inputs[0].request

    def test_without_a_newer_plan_it_is_said_after_the_allowance(
        self, objects: Objects, fetched: Callable[..., bytes]
    ) -> None:
        plan = plan_of(objects, objects.sign_upload(objects.open("up", 10), 10))
        objects.valid = set()
        transport = HttpTransport(plan, outage=SHORT, newer=lambda: plan)
        with pytest.raises(NotFound, match="no newer plan came"):
            fetched(by=transport)

    def test_where_there_are_no_newer_plans_it_is_said_at_once(
        self, objects: Objects, fetched: Callable[..., bytes]
    ) -> None:
        objects.valid = set()
        with pytest.raises(NotFound, match="no longer valid"):
            fetched()
        assert len(objects.asked) <= 4

    def test_a_plan_that_cannot_be_read_just_now_is_looked_for_again(
        self, objects: Objects, fetched: Callable[..., bytes]
    ) -> None:
        old = plan_of(objects, objects.sign_upload(objects.open("up", 10), 10))
        objects.generation = 2
        new = plan_of(objects, old.log)
        objects.generation = 1
        looks: list[Exception | TransferPlan] = [ValueError("half"), FileNotFoundError(), new]

        def renew() -> TransferPlan:
            found = looks.pop(0) if len(looks) > 1 else looks[0]
            if isinstance(found, Exception):
                raise found
            return found

        objects.valid = {2}
        assert fetched(by=HttpTransport(old, patience=Quick(20), newer=renew)) == DATA


def test_requests_of_https_need_a_trusted_certificate(objects: Objects) -> None:
    url = objects.url.replace("http:", "https:")
    with pytest.raises(StorageUnavailable, match="tried again"):  # it speaks no TLS at all
        HttpTransport(outage=SHORT).fetch(signed("GET", url), io.BytesIO(), size=1, sha256=None)


def test_a_line_keeps_its_connection(objects: Objects, transport: HttpTransport) -> None:
    objects.put("it", b"1")
    line: Line = transport._lines[0]
    for _ in range(2):
        transport.fetch(objects.sign_get("it"), io.BytesIO(), size=1, sha256=None)
        kept = line.connection._http
        assert kept is not None
        assert kept.sock is not None
    transport.fetch(objects.sign_get("it"), io.BytesIO(), size=1, sha256=None)
    assert line.connection._http is kept


def test_headers_that_are_signed_are_sent(objects: Objects, proxy: FaultProxy) -> None:
    objects.put("it", b"1")
    request: SignedRequest = attrs.evolve(objects.sign_get("it"), headers={"X-Amz-A": "b"})
    HttpTransport().fetch(request, io.BytesIO(), size=1, sha256=None)
    assert len(proxy.seen) == 1


def test_after_a_transfer_that_failed_the_next_one_is_as_any(
    objects: Objects, proxy: FaultProxy, sent: Callable[..., bytes]
) -> None:
    transport = HttpTransport(outage=SHORT)
    proxy.choose = lambda _: Fault(status=500)
    with pytest.raises(StorageUnavailable):
        sent(by=transport)
    proxy.choose = lambda _: None
    assert sent(b"small", by=transport) == b"small"
