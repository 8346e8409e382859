"""Whole jobs on S3: by ``longshore serve`` with the client, and by the embedded service."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
from tests.faultproxy import Asked, Fault, FaultProxy, fault_proxy
from tests.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.serving import SETTINGS, Service, end_everything, serving
from tests.support import until

from longshore import Longshore
from longshore.models import Input, InputKind, Output, OutputKind, Workflow
from longshore_client import Client, JobFailed

Serve = Callable[..., AbstractContextManager[Service]]
SIZE = 40 * 1024**2
DATA = random.Random(6).randbytes(SIZE)
COPY = Workflow(
    id="copy",
    command=("/bin/sh", "-c", "cp {inputs.text} {outputs.copy}; echo copied"),
    inputs={"text": Input(name="text", kind=InputKind.FILE, max_size=64 * 1024**2)},
    outputs={"copy": Output(name="copy", kind=OutputKind.FILE, max_size=64 * 1024**2)},
)


@attrs.frozen
class Ways:
    """What goes between the service and the bucket, the jobs and the bucket, and to the service."""

    of_service: FaultProxy
    of_jobs: FaultProxy


@pytest.fixture
def ways(s3_server: S3Server) -> Iterator[Ways]:
    with fault_proxy(s3_server.endpoint) as one, fault_proxy(s3_server.endpoint) as other:
        yield Ways(one, other)


@pytest.fixture
def storage(ways: Ways, s3_server: S3Server, bucket: str) -> dict[str, str]:
    return {
        "plugin": "s3",
        "bucket": bucket,
        "endpoint": ways.of_service.url,
        "job_endpoint": ways.of_jobs.url,
        "public_endpoint": s3_server.endpoint,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
    }


@pytest.fixture
def serve(tmp_path: Path, storage: dict[str, str]) -> Iterator[Serve]:
    """Start the service with its storage on S3."""

    @contextmanager
    def start(more: Mapping[str, str] | None = None, **known: str) -> Iterator[Service]:
        lines = [f'{name} = "{text}"' for name, text in storage.items() if "secret" not in name]
        settings = "\n".join([SETTINGS, "[storage]", *lines, ""])
        environment = {"LONGSHORE_STORAGE__SECRET_KEY": storage["secret_key"], **(more or {})}
        with serving(tmp_path, settings=settings, environment=environment, **known) as service:
            yield service

    yield start
    end_everything(tmp_path)


def test_no_byte_of_a_job_goes_through_the_service(
    serve: Serve, ways: Ways, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with serve() as service, fault_proxy(service.url) as front:
        with Client(front.url, service.consumer(workflows=["hello"])) as client:
            job = client.run("hello", inputs={"text": source})
            results = job.result()
            assert results["copy"].read_bytes() == DATA
            assert b"hello" in b"".join(job.logs())
            assert job.job.state == "SUCCEEDED"
        # what the service moved, on either side, is what JSON and XML it takes to run the job
        through = front.moved + ways.of_service.moved
        assert through < SIZE / 200
        assert ways.of_jobs.moved >= 2 * SIZE  # up and down, by the mover
        assert SECRET_KEY not in service.said()
        assert "X-Amz-Signature" not in service.said()


def test_control_a_service_that_reads_results_itself_is_noticed(
    serve: Serve, ways: Ways, storage: dict[str, str]
) -> None:
    storage["public_endpoint"] = ways.of_service.url  # as if the client's bytes went this way
    with serve() as service, Client(service.url, service.consumer(workflows=["hello"])) as client:
        job = client.run("hello", inputs={"text": DATA})
        assert job.result()["copy"].read_bytes() == DATA
    assert ways.of_service.moved >= 2 * SIZE


def test_a_wrong_input_is_found_before_the_job_runs(
    serve: Serve,
) -> None:
    asked = {
        "workflow": "hello",
        "inputs": {"text": {"upload": {"size": 4, "sha256": "0" * 64}}},
    }
    with serve() as service, service.client(service.consumer(workflows=["hello"])) as http:
        job = http.post("/v1/jobs", json=asked).json()
        upload = job["uploads"]["text"]
        sent = httpx2.put(upload["url"], content=b"data", headers=upload["headers"])
        assert sent.status_code == 200
        assert http.post(f"/v1/jobs/{job['id']}/start").status_code == 200

        def ended() -> dict[str, Any]:
            now: dict[str, Any] = http.get(f"/v1/jobs/{job['id']}").json()
            return now if now["state"] in {"FAILED", "SUCCEEDED"} else {}

        job = until(ended, "the end of the job")
        assert job["state"] == "FAILED"
        assert job["reason"]["code"] == "input-checksum"


def test_results_wait_for_a_storage_that_is_away_and_the_worker_does_not_run_again(
    serve: Serve, ways: Ways, tmp_path: Path
) -> None:
    with serve() as service, Client(service.url, service.consumer()) as client:
        job = client.run("patient", parameters={"gate": str(tmp_path / "gate")})
        until(lambda: job.state == "RUNNING", "the worker")
        ways.of_jobs.is_down = True
        (tmp_path / "gate").touch()
        until(lambda: ways.of_jobs.refused > 2, "the mover to try")
        assert job.state == "STAGING_OUT"
        ways.of_jobs.is_down = False
        assert job.result()["said"].read_bytes() == b"done\n"
        assert job.job.attempt == 1


def test_results_that_could_not_be_stored_in_time_are_said_to_be_lost(
    serve: Serve, ways: Ways, tmp_path: Path
) -> None:
    given = {"LONGSHORE_BACKENDS__LOCAL__OUTAGE": "0.5s"}
    with serve(given) as service, Client(service.url, service.consumer()) as client:
        job = client.run("patient", parameters={"gate": str(tmp_path / "gate")})
        until(lambda: job.state == "RUNNING", "the worker")
        ways.of_jobs.is_down = True
        (tmp_path / "gate").touch()
        with pytest.raises(JobFailed) as failed:
            job.result()
        assert failed.value.reason_code == "manifest-missing"


@pytest.mark.kill
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_service_that_is_killed_after_a_completion_commits_when_it_is_back(
    serve: Serve, ways: Ways, tmp_path: Path, which: int
) -> None:
    """Of output, log and manifest, one is complete at the server, and no row says so."""
    with serve() as service:
        token, admin = service.consumer(), service.admin
        with Client(service.url, token) as client:
            job = client.run("patient", parameters={"gate": str(tmp_path / "gate")})
            until(lambda: job.state == "RUNNING", "the worker")
            job_id = job.job.id
        left = [Fault(at=None, act=service.process.kill, cut=True)] + [None] * which

        def choose(asked: Asked) -> Fault | None:
            is_complete = asked.method == "POST" and "uploadId=" in asked.target
            return left.pop() if left and is_complete else None

        ways.of_service.choose = choose
        (tmp_path / "gate").touch()
        until(lambda: service.process.poll() is not None, "the kill")
        assert not left
    with serve(admin=admin) as service, Client(service.url, token) as client:
        again = client.job(job_id)
        assert again.result()["said"].read_bytes() == b"done\n"
        assert again.job.attempt == 1
        assert b"over" in b"".join(again.logs())


def test_the_embedded_service_runs_a_job_on_s3(
    home: Path, storage: dict[str, str], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA[:1000])
    table = {
        "workflows": {"shipped": False},
        "backends": {"local": {"isolation": "none"}},
        "storage": storage,
    }
    with Longshore.open(home, settings=table, workflows=[COPY]) as longshore:
        job = longshore.run("copy", inputs={"text": source})
        assert job.result()["copy"].read_bytes() == DATA[:1000]
