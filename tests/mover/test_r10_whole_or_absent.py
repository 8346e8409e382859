"""R10: whatever is killed at whatever point, a result is whole, or it is not there.

Every mover is a process of its own that is killed at every 5 % of a transfer, and started again as
its container does; so is the launcher, and the storage goes away for a while.
"""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Self

import attrs
import pytest
from tests.faultproxy import Asked, Fault, FaultProxy, fault_proxy
from tests.mover.attempts import Attempt, problems
from tests.mover.conftest import Begin
from tests.mover.objects import MIB, Objects, S3Objects, Storage
from tests.s3 import S3Server
from tests.support import PATIENCE, until

from longshore.models import OutcomeKind, Output
from longshore.reasons import REASONS
from longshore.staging import files
from longshore_mover import sending
from longshore_mover.fetching import RANGE
from longshore_mover.transport import HttpTransport

pytestmark = [pytest.mark.kill, pytest.mark.thorough]

DATA = random.Random(10).randbytes(4 * MIB)
LARGE = random.Random(3).randbytes(16 * MIB)  # two ranges of one size
RESULT = Output(name="result", max_size=8 * MIB)
COPY = "cat in/0/text > out/result; echo said"
#: every 5 % of a transfer
STEPS = [percent / 100 for percent in range(0, 100, 5)]


class Readers:
    """Look all the time whether anything is readable that was not committed."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._ended = threading.Event()
        self.looks = 0
        self.found: set[str] = set()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        assert self.looks

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            self.looks += 1
            self.found |= self._attempt.readable()


def at_share(share: float, *, up: bool, size: int, act: Callable[[], Any]) -> Any:
    """Return what does ``act`` once, when this share of what goes up, or down, has passed."""
    passed, lock, done = [0], threading.Lock(), threading.Event()

    def choose(asked: Asked) -> Fault | None:
        if (asked.method == "PUT") != up:
            return None
        with lock:
            before = passed[0]
            passed[0] += asked.length if up else min(RANGE, size - before)
            if done.is_set() or passed[0] <= share * size:
                return None
            done.set()
        return Fault(up=up, at=max(0, int(share * size) - before), act=act, cut=True)

    return choose


def carried(
    begin: Begin,
    storage: Storage,
    proxy: FaultProxy,
    choose: Any,
    data: bytes = DATA,
    result: Output = RESULT,
    *,
    watched: bool = True,
) -> Attempt:
    """Carry a job through faults: the mover is started again until it says that it is done."""
    proxy.choose = choose
    attempt = begin(storage, result, inputs={"text": data})
    holder.append(attempt)
    launcher = attempt.worker(COPY)
    # a client of a server that is killed would only see that
    with Readers(attempt) if watched else contextlib.nullcontext() as readers:
        while (code := attempt.begin().wait(PATIENCE)) != 0:
            assert code < 0, attempt.errors()  # killed, and nothing else
            assert len(attempt.movers) < 4
        assert launcher.wait(PATIENCE) == 0
    assert (readers.found if readers else attempt.readable()) == set()
    return attempt


holder: list[Attempt] = []


def kill_mover() -> None:
    """Kill the mover of the attempt that goes on."""
    with contextlib.suppress(IndexError):
        holder[-1].movers[-1].kill()


@pytest.mark.parametrize("share", STEPS)
@pytest.mark.parametrize("way", ["down", "up"])
def test_a_mover_killed_anywhere_goes_on(
    begin: Begin, objects: Objects, proxy: FaultProxy, way: str, share: float
) -> None:
    choose = at_share(share, up=way == "up", size=len(DATA), act=kill_mover)
    attempt = carried(begin, objects, proxy, choose)
    assert len(attempt.movers) == 2
    assert attempt.commit() == {"result": DATA, "log": b"said\n"}


@pytest.mark.parametrize("share", STEPS[::4])
def test_a_storage_away_for_less_than_the_allowance_costs_nothing_but_time(
    begin: Begin, objects: Objects, proxy: FaultProxy, share: float
) -> None:
    timers: list[threading.Timer] = []

    def go_away() -> None:
        proxy.is_down = True
        timers.append(threading.Timer(0.5, setattr, (proxy, "is_down", False)))
        timers[-1].start()

    choose = at_share(share, up=True, size=len(DATA), act=go_away)
    attempt = carried(begin, objects, proxy, choose)
    for timer in timers:
        timer.join()
    assert len(timers) == len(attempt.movers) == 1
    assert attempt.commit()["result"] == DATA


@pytest.mark.parametrize("share", STEPS[::4])
def test_a_storage_away_for_longer_fails_with_a_code_that_says_so(
    begin: Begin, objects: Objects, proxy: FaultProxy, share: float
) -> None:
    proxy.choose = at_share(
        share, up=True, size=len(DATA), act=lambda: setattr(proxy, "is_down", True)
    )
    options = {"outage": timedelta(seconds=0.5)}
    attempt = begin(objects, RESULT, inputs={"text": DATA}, options=options)
    attempt.worker(COPY)
    with Readers(attempt) as readers:
        assert attempt.serve() == 4
    assert readers.found == set()
    (said,) = [line for line in attempt.said() if line["what"] == "failed"]
    assert said["code"] in REASONS
    assert "tried again for 0.5 s" in said["message"]
    # and one of whose outputs alone it lost says so in the manifest
    proxy.is_down = False
    result = attempt.uploads["result"]
    proxy.choose = lambda asked: Fault(status=503) if result in asked.target else None
    assert attempt.serve() == 0
    assert problems(attempt.manifest()) == {"result": "output-unavailable"}


@pytest.mark.parametrize("share", STEPS[::4])
def test_a_launcher_killed_while_its_inputs_come_is_said_never_to_have_run(
    begin: Begin, objects: Objects, proxy: FaultProxy, share: float
) -> None:
    attempt = begin(objects, RESULT, inputs={"text": DATA})
    launcher = attempt.worker(COPY)
    until((attempt.place.directory / files.ATTEMPT).exists, "the launcher")
    proxy.choose = at_share(share, up=False, size=len(DATA), act=launcher.kill)
    with Readers(attempt) as readers:
        assert attempt.serve() == 0
    assert readers.found == set()
    manifest = attempt.manifest()
    assert manifest.outcome is None or manifest.outcome.kind is OutcomeKind.LOST
    assert manifest.outputs == ()


def test_of_an_attempt_that_was_given_up_nothing_can_be_committed(
    begin: Begin, objects: Objects
) -> None:
    first, second = (begin(objects, RESULT, inputs={"text": DATA[n:]}) for n in range(2))
    for attempt in (first, second):
        attempt.worker(COPY)
    for upload in first.uploads.values():
        del objects.uploads[upload]  # aborted: a second attempt has begun
    assert first.serve() == 4
    assert second.serve() == 0
    assert second.commit()["result"] == DATA[1:]
    assert first.readable() == set()


def test_without_the_manifest_coming_last_half_a_result_would_be_taken_for_one(
    begin: Begin, objects: Objects, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: parts that are taken for sent without having been make a result that is not."""
    transport = HttpTransport(outage=timedelta(seconds=1))
    upload = objects.sign_upload(objects.open("it", 10**7), 10**7)
    monkeypatch.setattr(sending.Sending, "_send", _pretend)
    source = begin(objects).home / "source"
    source.write_bytes(DATA)
    with source.open("rb", buffering=0) as file:
        receipt = transport.send(upload, file, max_size=10**7)
    with pytest.raises(KeyError):
        objects.commit(upload.ticket_id, receipt.parts)


def _pretend(self: Any, _: object, number: int, md5: bytes, size: int, __: object) -> None:
    self._sent[self._upload.ticket_id, number] = md5, size, md5.hex()


class TestOnS3:
    @pytest.fixture
    def proxy(self, s3_server: S3Server) -> Iterator[FaultProxy]:
        with fault_proxy(s3_server.endpoint) as standing:
            yield standing

    @pytest.fixture
    def s3(self, s3_server: S3Server, bucket: str, proxy: FaultProxy) -> S3Objects:
        """A bucket of a real server, behind a proxy."""
        signer = attrs.evolve(s3_server, endpoint=proxy.url).client()
        return S3Objects(s3_server.client(), bucket, signer)

    @pytest.mark.parametrize("share", STEPS)
    @pytest.mark.parametrize("way", ["down", "up"])
    def test_a_mover_killed_anywhere_goes_on(
        self, begin: Begin, s3: S3Objects, proxy: FaultProxy, way: str, share: float
    ) -> None:
        choose = at_share(share, up=way == "up", size=len(LARGE), act=kill_mover)
        result = Output(name="result", max_size=20 * MIB)
        attempt = carried(begin, s3, proxy, choose, LARGE, result)
        assert len(attempt.movers) == 2
        assert attempt.commit() == {"result": LARGE, "log": b"said\n"}

    def test_a_server_killed_under_way_costs_nothing_but_time(
        self, begin: Begin, s3: S3Objects, proxy: FaultProxy, s3_server: S3Server
    ) -> None:
        restarts: list[threading.Thread] = []

        def crash() -> None:
            s3_server.kill()
            restarts.append(threading.Thread(target=s3_server.start))
            restarts[-1].start()

        choose = at_share(0.5, up=True, size=len(LARGE), act=crash)
        result = Output(name="result", max_size=20 * MIB)
        attempt = carried(begin, s3, proxy, choose, LARGE, result, watched=False)
        for restart in restarts:
            restart.join()
        assert len(restarts) == len(attempt.movers) == 1
        assert attempt.commit()["result"] == LARGE
