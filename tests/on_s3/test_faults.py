"""R10, whole jobs on a real server: the storage goes away at every 5 % of what a job moves.

For less than the allowance that costs time alone; for longer the job fails, and says what is lost.
"""

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.faultproxy import Asked, Fault, fault_proxy
from tests.mover.faults import EVERYWHERE, WAYS, Outage, Readers, at_share
from tests.on_s3.ways import Ways
from tests.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.serving import SETTINGS, Service, end_everything, serving
from tests.support import PATIENCE, until

from longshore_client import Client, JobFailed
from longshore_client.blocking import JobHandle

pytestmark = [pytest.mark.kill, pytest.mark.thorough]

DATA = random.Random(5).randbytes(4 * 1024**2)
#: leaves a line for each time it runs
WORKFLOW = """\
id = "copy"
command = ["/bin/sh", "-c", "echo ran >> $LS_PARAM_MARK; cp {inputs.text} {outputs.copy}"]
[parameters]
type = "object"
[parameters.properties.mark]
type = "string"
[inputs.text]
kind = "file"
max_size = "8 MiB"
[outputs.copy]
kind = "file"
max_size = "8 MiB"
[resources]
memory = "256 MiB"
"""


@attrs.define(kw_only=True)
class Provider:
    """A service that may be killed and started again, the ways to its bucket, and a consumer."""

    place: Path
    server: S3Server
    bucket: str
    ways: Ways
    outage: str
    s3: Any = attrs.field(init=False)
    service: Service = attrs.field(init=False)
    client: Client = attrs.field(init=False)
    _running: ExitStack = attrs.field(init=False, factory=ExitStack)
    _token: str = attrs.field(init=False, default="")

    def __attrs_post_init__(self) -> None:
        self.s3 = self.server.client()
        (self.place / "workflows").mkdir()
        (self.place / "workflows" / "copy.toml").write_text(WORKFLOW)

    def start(self) -> None:
        """Start the service, or another one in the place of one that was killed."""
        self._running.close()
        storage = {
            "plugin": "s3",
            "bucket": self.bucket,
            "endpoint": self.ways.of_service.url,
            "job_endpoint": self.ways.of_jobs.url,
            "public_endpoint": self.ways.of_consumers.url,
            "access_key": ACCESS_KEY,
            "prefix": self.place.name,
        }
        lines = [f'{name} = "{text}"' for name, text in storage.items()]
        environment = {
            "LONGSHORE_STORAGE__SECRET_KEY": SECRET_KEY,
            "LONGSHORE_BACKENDS__LOCAL__OUTAGE": self.outage,
        }
        self.service = self._running.enter_context(
            serving(
                self.place,
                settings="\n".join([SETTINGS, "[storage]", *lines, ""]),
                environment=environment,
            )
        )
        self._token = self._token or self.service.consumer()
        self.client = self._running.enter_context(Client(self.service.url, self._token))

    def stop(self) -> None:
        """End whatever runs for it."""
        self._running.close()
        end_everything(self.place)

    def run(self, mark: Path) -> JobHandle:
        """Start a job that copies ``DATA``."""
        return self.client.run("copy", inputs={"text": DATA}, parameters={"mark": str(mark)})

    def readable(self, job: str) -> set[str]:
        """Return the keys of a job that can be read, its inputs not."""
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=self.place.name)
        keys = {one["Key"] for one in listed.get("Contents", ())}
        return {key for key in keys if f"/{job}/" in key and "/inputs/" not in key}

    def committed(self) -> set[str]:
        """Return the keys that the service has asked to be made readable."""
        seen = [it for it in self.ways.of_service.seen if it.method == "POST"]
        return {self.key_of(it) for it in seen if "uploadId=" in it.target}

    def too_early(self, job: str) -> set[str]:
        """Return what of a job is readable that was not yet committed."""
        readable = self.readable(job)  # before what was asked for
        return readable - self.committed()

    def key_of(self, asked: Asked) -> str:
        return asked.target.partition("?")[0].removeprefix(f"/{self.bucket}/")


@contextmanager
def provider(place: Path, server: S3Server, bucket: str, outage: str) -> Iterator[Provider]:
    at = server.endpoint
    with fault_proxy(at) as one, fault_proxy(at) as two, fault_proxy(at) as three:
        ways = Ways(one, two, three)
        made = Provider(place=place, server=server, bucket=bucket, ways=ways, outage=outage)
        made.start()
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture(scope="module")
def patient(
    tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server, bucket: str
) -> Iterator[Provider]:
    """A service whose jobs wait for their storage longer than it is away."""
    with provider(tmp_path_factory.mktemp("patient"), s3_server, bucket, "60s") as one:
        yield one


@pytest.fixture(scope="module")
def impatient(
    tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server, bucket: str
) -> Iterator[Provider]:
    """A service whose jobs give their storage up soon."""
    with provider(tmp_path_factory.mktemp("impatient"), s3_server, bucket, "0.3s") as one:
        yield one


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Where each run of a worker leaves a line."""
    return tmp_path / "mark"


def runs(mark: Path) -> int:
    return len(mark.read_text().splitlines()) if mark.exists() else 0


@EVERYWHERE
@WAYS
def test_a_storage_away_for_less_than_the_allowance_costs_a_job_nothing_but_time(
    patient: Provider, mark: Path, way: str, share: float
) -> None:
    outage = Outage(patient.ways.of_jobs, patient.ways.of_service)
    patient.ways.of_jobs.choose = at_share(share, up=way == "up", size=len(DATA), act=outage)
    job = patient.run(mark)
    with Readers(lambda: patient.too_early(job.id)) as readers:
        assert job.result()["copy"].read_bytes() == DATA
    outage.join()
    assert readers.found == set()
    assert (job.job.state, job.job.attempt, runs(mark)) == ("SUCCEEDED", 1, 1)


@EVERYWHERE
@pytest.mark.parametrize(
    ("way", "code", "ran"), [("down", "input-unavailable", 0), ("up", "manifest-missing", 1)]
)
def test_a_storage_away_for_longer_fails_a_job_with_a_code_that_says_so(
    impatient: Provider, mark: Path, way: str, code: str, ran: int, share: float
) -> None:
    of_jobs = impatient.ways.of_jobs
    go_away = partial(setattr, of_jobs, "is_down", True)
    of_jobs.choose = at_share(share, up=way == "up", size=len(DATA), act=go_away)
    job = impatient.run(mark)
    with (
        Readers(lambda: impatient.too_early(job.id)) as readers,
        pytest.raises(JobFailed) as failed,
    ):
        job.result()
    of_jobs.is_down = False
    assert "tried again for 0.3 s" in failed.value.message
    assert readers.found == set()
    assert failed.value.reason_code == code
    assert (job.job.state, job.job.attempt, runs(mark)) == ("FAILED", 1, ran)
    assert not any("/outputs/" in key for key in impatient.readable(job.id))


@EVERYWHERE
@WAYS
def test_a_service_killed_under_way_finds_the_job_and_its_results_when_it_is_back(
    patient: Provider, mark: Path, way: str, share: float
) -> None:
    has_begun = threading.Event()

    def act() -> None:
        assert has_begun.wait(PATIENCE)  # the consumer knows the job
        patient.service.process.kill()

    patient.ways.of_jobs.choose = at_share(share, up=way == "up", size=len(DATA), act=act)
    job = patient.run(mark)
    has_begun.set()
    with Readers(lambda: patient.too_early(job.id)) as readers:
        patient.service.process.wait(PATIENCE)
        patient.start()
        again = patient.client.job(job.id)
        assert again.result()["copy"].read_bytes() == DATA
    assert readers.found == set()
    assert (again.job.state, again.job.attempt, runs(mark)) == ("SUCCEEDED", 1, 1)


def test_control_a_result_that_lies_at_its_key_before_it_is_committed_is_noticed(
    patient: Provider, mark: Path
) -> None:
    found = threading.Event()

    def choose(asked: Asked) -> Fault | None:
        if asked.method != "PUT" or "/outputs/" not in asked.target or found.is_set():
            return None
        place = {"Bucket": patient.bucket, "Key": patient.key_of(asked)}

        def act() -> None:  # as a mover does whose upload is one PUT
            patient.s3.put_object(**place, Body=DATA[:1000])
            until(lambda: readers.found, "the reader to see it")
            found.set()

        return Fault(at=0, act=act)

    patient.ways.of_jobs.choose = choose
    job = patient.run(mark)
    with Readers(lambda: patient.too_early(job.id)) as readers:
        job.result()
    assert [key.rpartition("/")[2] for key in readers.found] == ["copy"]
