"""R10: whatever is killed at whatever point, a result is whole, or it is not there.

Every mover is a process of its own that is killed at every 5 % of a transfer, and started again as
its container does; and at each of these points the storage goes away, for a while or for too long.
"""

import contextlib
import random
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import attrs
import pytest
from tests.faultproxy import Fault, FaultProxy, fault_proxy
from tests.mover.attempts import Attempt, problems
from tests.mover.conftest import Begin
from tests.mover.faults import COPY, DATA, EVERYWHERE, RESULT, WAYS, Outage, Readers, at_share, runs
from tests.mover.objects import MIB, Objects, S3Objects, Storage
from tests.s3 import S3Server
from tests.support import PATIENCE

from longshore.errors import StorageUnavailable
from longshore.models import Output
from longshore.reasons import REASONS
from longshore.staging import StagingFailed, stage_in
from longshore_mover import mover, sending
from longshore_mover.mover import open_mover
from longshore_mover.patience import Patience
from longshore_mover.progress import Progress
from longshore_mover.transport import HttpTransport

pytestmark = [pytest.mark.kill, pytest.mark.thorough]

LARGE = random.Random(3).randbytes(16 * MIB)  # two ranges of one size
#: seconds; an outage of this length ends the patience of a mover that is given no more
LITTLE = 0.3


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
    with Readers(attempt.readable) if watched else contextlib.nullcontext() as readers:
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


@EVERYWHERE
@WAYS
def test_a_mover_killed_anywhere_goes_on(
    begin: Begin, objects: Objects, proxy: FaultProxy, way: str, share: float
) -> None:
    choose = at_share(share, up=way == "up", size=len(DATA), act=kill_mover)
    attempt = carried(begin, objects, proxy, choose)
    assert len(attempt.movers) == 2
    assert attempt.commit() == {"result": DATA, "log": b"said\n"}


@EVERYWHERE
@WAYS
def test_a_storage_away_for_less_than_the_allowance_costs_nothing_but_time(
    begin: Begin, objects: Objects, proxy: FaultProxy, way: str, share: float
) -> None:
    outage = Outage(proxy)
    choose = at_share(share, up=way == "up", size=len(DATA), act=outage)
    attempt = carried(begin, objects, proxy, choose)
    outage.join()
    assert (len(attempt.movers), runs(attempt)) == (1, 1)
    assert attempt.commit() == {"result": DATA, "log": b"said\n"}


def without_storage(
    begin: Begin, objects: Objects, proxy: FaultProxy, *, up: bool, share: float
) -> tuple[Attempt, dict[str, Any]]:
    """Return an attempt whose storage went away for too long, and how its mover failed."""
    go_away = partial(setattr, proxy, "is_down", True)
    proxy.choose = at_share(share, up=up, size=len(DATA), act=go_away)
    options = {"outage": timedelta(seconds=LITTLE)}
    attempt = begin(objects, RESULT, inputs={"text": DATA}, options=options)
    attempt.worker(COPY)
    with Readers(attempt.readable) as readers:
        assert attempt.serve() == 4
    assert readers.found == set()
    said = next(line for line in attempt.said() if line["what"] == "failed")
    assert said["code"] in REASONS
    assert f"tried again for {LITTLE:g} s" in said["message"]
    proxy.is_down = False
    return attempt, said


@EVERYWHERE
def test_results_that_a_storage_did_not_take_in_time_are_said_to_be_lost(
    begin: Begin, objects: Objects, proxy: FaultProxy, share: float
) -> None:
    attempt, said = without_storage(begin, objects, proxy, up=True, share=share)
    assert said["code"] == "output-unavailable"
    # and one of whose outputs alone it lost says so in the manifest
    result = attempt.uploads["result"]
    proxy.choose = lambda asked: Fault(status=503) if result in asked.target else None
    assert attempt.serve() == 0
    assert problems(attempt.manifest()) == {"result": "output-unavailable"}
    assert runs(attempt) == 1


@EVERYWHERE
def test_without_an_input_that_did_not_come_in_time_a_worker_never_starts(
    begin: Begin, objects: Objects, proxy: FaultProxy, share: float
) -> None:
    attempt, said = without_storage(begin, objects, proxy, up=False, share=share)
    assert (said["name"], said["code"]) == ("text", "input-unavailable")
    assert attempt.serve() == 0  # the storage is back, and hears what happened
    check_that_it_never_ran(attempt)


def check_that_it_never_ran(attempt: Attempt) -> None:
    manifest = attempt.manifest()
    assert problems(manifest) == {"text": "input-unavailable"}
    assert (manifest.outcome, manifest.outputs, runs(attempt)) == (None, (), 0)


def test_control_a_mover_that_starts_a_worker_all_the_same_is_noticed(
    begin: Begin, objects: Objects, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(*given: Any) -> None:
        with contextlib.suppress(StagingFailed):
            stage_in(*given)

    monkeypatch.setattr(mover, "stage_in", careless)
    proxy.choose = at_share(0.5, up=False, size=len(DATA), act=lambda: None)
    options = {"outage": timedelta(0)}
    attempt = begin(objects, RESULT, inputs={"text": DATA}, options=options)
    attempt.worker(COPY)
    assert in_this_process(attempt) == 0
    with pytest.raises(AssertionError):
        check_that_it_never_ran(attempt)


def test_control_a_mover_without_patience_does_not_outlast_an_outage(
    begin: Begin, objects: Objects, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(self: Patience, what: str, *_: object, **__: object) -> None:
        raise StorageUnavailable(what)

    monkeypatch.setattr(Patience, "again", give_up)
    proxy.choose = at_share(0.5, up=True, size=len(DATA), act=lambda: None)
    attempt = begin(objects, RESULT, inputs={"text": DATA})
    attempt.worker(COPY)
    assert in_this_process(attempt) == 0
    assert problems(attempt.manifest()) == {"result": "output-unavailable"}


def in_this_process(attempt: Attempt) -> int:
    """Carry an attempt where a test can change how that is done."""
    carrying = open_mover(attempt.plan, Progress())
    try:
        return carrying.serve()
    finally:
        carrying._carriage._inner.close()  # type: ignore[attr-defined]  # of HTTP, as here


def test_control_a_storage_that_shows_what_is_only_sent_is_noticed(
    begin: Begin, objects: Objects, proxy: FaultProxy
) -> None:
    objects.at_upload = lambda upload, _: objects.put(objects.uploads[upload].name, b"half")
    with pytest.raises(AssertionError, match="result"):
        carried(begin, objects, proxy, lambda _: None)


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

    @EVERYWHERE
    @WAYS
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
