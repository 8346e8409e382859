"""The client's transfers straight to and from a real S3 server, whatever happens on the way."""

import random
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from fsspec.asyn import sync
from tests.faultproxy import Asked, Fault
from tests.on_s3.ways import Serve, Ways, is_get, is_put, puts
from tests.s3 import S3Server, StartS3
from tests.serving import Service

from longshore_client import Client, Retry, uploads
from longshore_client.blocking import JobHandle
from longshore_client.errors import ChecksumMismatch, JobFailed, RetryError
from longshore_client.filesystem import LongshoreFileSystem

MIB = 1024**2
#: four parts
SIZE = 60 * MIB + 3
DATA = random.Random(7).randbytes(SIZE)


@pytest.fixture(scope="module")
def s3_server(start_s3: StartS3) -> S3Server:
    """A server of this module's own, since its tests kill it."""
    return start_s3("-domain", "localhost")


@pytest.fixture(scope="module")
def s3_client(s3_server: S3Server) -> Any:
    return s3_server.client()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


@attrs.frozen
class Made:
    """A job that has its result, and who may read it."""

    url: str
    token: str
    job: JobHandle


class Once:
    """Progress that does something when half of the bytes went by."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.total = 0
        self._left = [then]

    def __call__(self, count: int) -> None:
        self.total += count
        if self._left and self.total >= SIZE // 2:
            self._left.pop()()


def client_of(service: Service, **more: Any) -> Client:
    return Client(service.url, service.consumer(workflows=["hello"]), **more)


def is_second_part(asked: Asked) -> bool:
    return is_put(asked) and "partNumber=2&" in asked.target


FAULTS = {
    "cut": Fault(at=8 * MIB, cut=True),
    "answer lost": Fault(at=None, cut=True),
    "busy": Fault(status=503, headers=(("Retry-After", "1"),)),
    "failing": Fault(status=500, body=b"<Error><Code>InternalError</Code></Error>"),
    "refused": Fault(status=403, body=b"<Error><Code>AccessDenied</Code></Error>"),
    "changed": Fault(at=5 * MIB, changed=True),
}


@pytest.mark.parametrize("name", FAULTS)
def test_after_a_fault_one_part_is_sent_again_and_the_input_is_whole(
    serve: Serve, ways: Ways, source: Path, name: str
) -> None:
    told: list[int] = []
    ways.of_consumers.once(FAULTS[name], is_second_part)
    with serve() as service, client_of(service) as client:
        job = client.run("hello", inputs={"text": source}, progress=told.append)
        sent = puts(ways.of_consumers)
        assert sum(told) == SIZE
        assert job.result()["copy"].read_bytes() == DATA
    second = [asked for asked in sent if is_second_part(asked)]
    assert len(second) == (1 if name == "answer lost" else 2)
    assert len(sent) - len(second) == 3


def test_control_a_part_that_was_changed_unseen_is_found_before_the_job_runs(
    serve: Serve, ways: Ways, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a sender that says no MD5 and does not look at what the server answers."""
    monkeypatch.setattr(uploads, "method_for", lambda _: "sha256")
    monkeypatch.setattr(uploads, "checksum_in", lambda _: None)
    ways.of_consumers.once(FAULTS["changed"], is_second_part)
    with serve() as service, client_of(service) as client:
        job = client.run("hello", inputs={"text": source})
        with pytest.raises(JobFailed) as failed:
            job.result()
    assert failed.value.reason_code == "input-checksum"


def test_a_storage_that_consumers_do_not_reach_is_named(
    serve: Serve, ways: Ways, source: Path
) -> None:
    with serve() as service, client_of(service, retry=Retry(patience=2)) as client:
        ways.of_consumers.is_down = True
        with pytest.raises(RetryError, match=ways.of_consumers.url.partition("//")[2]) as caught:
            client.run("hello", inputs={"text": source})
        assert caught.value.tries > 1
        (job,) = client.jobs()
        assert job.state == "CANCELED"


def test_parts_are_sent_several_at_once(serve: Serve, ways: Ways, source: Path) -> None:
    together = threading.Barrier(4)
    ways.of_consumers.choose = lambda asked: (
        Fault(act=lambda: together.wait(20)) if is_put(asked) else None
    )
    with serve() as service, client_of(service) as client:
        client.run("hello", inputs={"text": source})
    assert len(puts(ways.of_consumers)) == 4


@pytest.mark.kill
def test_an_upload_goes_on_when_a_server_that_was_killed_is_back(
    serve: Serve, s3_server: S3Server, source: Path
) -> None:
    back = threading.Timer(1.0, s3_server.start)

    def kill() -> None:
        s3_server.kill()
        back.start()

    told = Once(kill)
    with serve() as service, client_of(service) as client:
        job = client.run("hello", inputs={"text": source}, progress=told)
        back.join()
        assert told.total == SIZE
        assert job.result()["copy"].read_bytes() == DATA


@pytest.fixture
def rotating(
    s3_server: S3Server, bucket: str, storage: dict[str, str], tmp_path: Path
) -> Callable[..., None]:
    """Give the service an account of its own, and return what puts another one in its place."""
    access, secret = tmp_path / "access", tmp_path / "secret"
    early, late = (f"{when}{uuid.uuid4().hex[:6]}" for when in ("early", "late"))
    s3_server.add_user(bucket, early, "early-secret")
    access.write_text(early)
    secret.write_text("early-secret")
    storage.pop("access_key")
    storage.pop("secret_key")
    storage.update(access_key_file=str(access), secret_key_file=str(secret))

    def rotate(*, tell: bool = True) -> None:
        s3_server.replace_user(bucket, early, late, "late-secret")
        if tell:
            access.write_text(late)
            secret.write_text("late-secret")

    return rotate


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send one part after another: a request that is under way is not refused any more."""
    monkeypatch.setattr(uploads, "PARALLEL", 1)


@pytest.mark.usefixtures("in_turn")
def test_an_upload_goes_on_when_the_credentials_of_the_service_are_replaced(
    serve: Serve, ways: Ways, rotating: Callable[..., None], source: Path
) -> None:
    told = Once(rotating)
    with serve() as service, client_of(service) as client:
        job = client.run("hello", inputs={"text": source}, progress=told)
        assert told.total == SIZE
        assert job.result()["copy"].read_bytes() == DATA
    first, last = puts(ways.of_consumers)[0], puts(ways.of_consumers)[-1]
    assert "Credential=early" in first.target
    assert "Credential=late" in last.target


@pytest.mark.usefixtures("in_turn")
def test_an_upload_that_nobody_may_sign_any_more_ends_with_what_the_storage_says(
    serve: Serve, ways: Ways, rotating: Callable[..., None], source: Path
) -> None:
    told = Once(lambda: rotating(tell=False))
    with serve() as service, client_of(service, retry=Retry(patience=3)) as client:
        with pytest.raises(RetryError, match="did not take or give bytes") as caught:
            client.run("hello", inputs={"text": source}, progress=told)
        assert caught.value.tries > 1
        assert "late-secret" not in str(caught.value)
        (job,) = client.jobs()
        assert job.state == "CANCELED"
        said = service.said()
    assert "does not know the access key" in said
    assert "early-secret" not in said


DOWN = {
    "cut": Fault(up=False, at=30 * MIB, cut=True),
    "busy": Fault(status=503, headers=(("Retry-After", "1"),)),
    "refused": Fault(status=403, body=b"<Error><Code>AccessDenied</Code></Error>"),
}


@pytest.fixture
def made(serve: Serve, source: Path) -> Iterator[Made]:
    """A job that has its result."""
    with serve() as service:
        token = service.consumer(workflows=["hello"])
        with Client(service.url, token) as client:
            job = client.run("hello", inputs={"text": source})
            job.result()
            yield Made(service.url, token, job)


@pytest.mark.kill
def test_a_result_is_fetched_whole_whatever_happens_on_the_way(
    made: Made, ways: Ways, s3_server: S3Server, tmp_path: Path
) -> None:
    for name, fault in DOWN.items():
        told: list[int] = []
        ways.of_consumers.once(fault, is_get)
        saved = made.job.outputs["copy"].save(tmp_path / name, told.append)
        assert saved.read_bytes() == DATA
        assert sum(told) == SIZE
    back = threading.Timer(1.0, s3_server.start)

    def kill() -> None:
        s3_server.kill()
        back.start()

    ways.of_consumers.once(Fault(up=False, at=30 * MIB, act=kill, pause=0.2), is_get)
    saved = made.job.outputs["copy"].save(tmp_path / "killed")
    back.join()
    assert saved.read_bytes() == DATA


def test_a_result_that_was_changed_on_the_way_never_gets_its_name(
    made: Made, ways: Ways, tmp_path: Path
) -> None:
    ways.of_consumers.once(Fault(up=False, at=30 * MIB, changed=True), is_get)
    with pytest.raises(ChecksumMismatch, match="copy is not what was stored") as caught:
        made.job.outputs["copy"].save(tmp_path / "out")
    assert caught.value.hint == "fetch it again"
    assert list((tmp_path / "out").iterdir()) == []
    assert made.job.outputs["copy"].save(tmp_path / "out").read_bytes() == DATA


def test_results_are_read_in_place_by_ranges(made: Made, ways: Ways) -> None:
    files = LongshoreFileSystem(server=made.url, token=made.token, skip_instance_cache=True)
    before = ways.of_consumers.moved
    try:
        assert files.cat_file(f"{made.job.id}/outputs/copy", 5000, 6000) == DATA[5000:6000]
    finally:
        sync(files.loop, files._transport.close)
    assert ways.of_consumers.moved - before == 1000
