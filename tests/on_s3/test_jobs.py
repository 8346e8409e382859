"""Whole jobs on S3: by ``longshore serve`` with the client, and by the embedded service."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.faultproxy import Asked, Fault, fault_proxy
from tests.on_s3.ways import Serve, Ways
from tests.s3 import SECRET_KEY
from tests.support import until

from longshore import Longshore
from longshore.models import Input, InputKind, Output, OutputKind, Workflow
from longshore_client import Client, JobFailed
from longshore_client.errors import NotFound

SIZE = 40 * 1024**2
DATA = random.Random(6).randbytes(SIZE)
COPY = Workflow(
    id="copy",
    command=("/bin/sh", "-c", "cp {inputs.text} {outputs.copy}; echo copied"),
    inputs={"text": Input(name="text", kind=InputKind.FILE, max_size=64 * 1024**2)},
    outputs={"copy": Output(name="copy", kind=OutputKind.FILE, max_size=64 * 1024**2)},
)


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


OUTPUTS = """\
id = "write"
command = ["/bin/sh", "-c", "head -c $LS_PARAM_COUNT /dev/zero > {outputs.said}"]
[parameters]
type = "object"
[parameters.properties.count]
type = "integer"
[outputs.said]
kind = "file"
max_size = "1 MiB"
[resources]
memory = "256 MiB"
"""


@pytest.fixture
def writing(serve: Serve, tmp_path: Path) -> Iterator[Client]:
    """A client of a service whose workflow writes as many bytes as it is told."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "write.toml").write_text(OUTPUTS)
    with serve() as service, Client(service.url, service.consumer()) as client:
        yield client


def test_an_empty_output_is_one(writing: Client) -> None:
    job = writing.run("write", parameters={"count": 0})
    assert job.result()["said"].read_bytes() == b""


def test_an_output_beyond_what_was_declared_is_named_and_not_stored(
    writing: Client, s3_client: Any, bucket: str
) -> None:
    job = writing.run("write", parameters={"count": 1024**2 + 1})
    with pytest.raises(JobFailed) as failed:
        job.result()
    assert failed.value.reason_code == "output-too-large"
    assert not [key for key in keys(s3_client, bucket) if f"{job.id}/outputs/" in key]


def test_a_result_that_somebody_removed_from_the_bucket_is_not_found(
    writing: Client, s3_client: Any, bucket: str, tmp_path: Path
) -> None:
    job = writing.run("write", parameters={"count": 5})
    output = job.result()["said"]
    (key,) = [key for key in keys(s3_client, bucket) if f"{job.id}/outputs/" in key]
    s3_client.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(NotFound):
        output.save(tmp_path / "out")
    assert not (tmp_path / "out" / "said").exists()


def test_an_input_that_somebody_removed_from_the_bucket_is_named(
    serve: Serve, s3_client: Any, bucket: str
) -> None:
    with serve() as service, Client(service.url, service.consumer()) as client:
        job = client.submit({"workflow": "hello", "inputs": {"text": {"upload": {"size": 4}}}})
        job.put_input("text", b"data")
        (key,) = [key for key in keys(s3_client, bucket) if f"{job.id}/inputs/" in key]
        s3_client.delete_object(Bucket=bucket, Key=key)
        job.start()
        with pytest.raises(JobFailed) as failed:
            job.result()
    assert failed.value.reason_code == "input-unavailable"


def keys(s3_client: Any, bucket: str) -> list[str]:
    return [one["Key"] for one in s3_client.list_objects_v2(Bucket=bucket).get("Contents", ())]


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
