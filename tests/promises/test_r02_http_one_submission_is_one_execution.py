"""R2 over HTTP: one key is one job, whoever sends it how often. The long run is in R1's module."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.http_faults.harness import HttpHarness
from tests.http_faults.http import Answer, Client
from tests.kill.harness import Harness
from tests.serving import SETTINGS, Service, end_everything, serving
from tests.support import until

pytestmark = [pytest.mark.kill, pytest.mark.timeout(600)]

Count = Callable[[str], None]
COUNTING = """\
id = "counting"
command = ["/bin/sh", "-c", "echo $LS_PARAM_NUMBER >> {runs}"]
[parameters]
type = "object"
[parameters.properties.number]
type = "integer"
[resources]
memory = "64 MiB"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("keys")
    (made / "workflows").mkdir()
    (made / "workflows" / "counting.toml").write_text(
        COUNTING.replace("{runs}", str(made / "runs"))
    )
    yield made
    end_everything(made)


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[Service]:
    with serving(place, settings=f"{SETTINGS}[limits]\nrequests_per_second = 0\n") as running:
        yield running


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    return service.consumer()


def _submit(service: Service, token: str, number: int, key: str) -> Answer:
    client = Client(service.port, token)
    try:
        body = {"workflow": "counting", "parameters": {"number": number}}
        return client.ask("POST", "/v1/jobs", body, {"idempotency-key": key})
    finally:
        client.close()


def test_the_same_key_a_hundred_times_at_once_is_one_job_that_runs_once(
    service: Service, token: str, place: Path
) -> None:
    with ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(lambda _: _submit(service, token, 1, "once"), range(100)))
    assert sorted(one.status for one in answers) == [200] * 99 + [201]
    (job,) = {one.json["id"] for one in answers}
    client = Client(service.port, token)
    until(lambda: client.get(f"/v1/jobs/{job}").json["state"] == "SUCCEEDED", "the job to end")
    assert [one["id"] for one in client.get("/v1/jobs").json["items"]] == [job]
    client.close()
    assert (place / "runs").read_text() == "1\n"


def test_the_same_key_with_other_bodies_at_once_is_one_job_and_the_others_are_refused(
    service: Service, token: str
) -> None:
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda n: _submit(service, token, n, "which"), range(50)))
    assert sorted(one.status for one in answers) == [201] + [422] * 49
    (job,) = [one.json["id"] for one in answers if one.status == 201]
    refused = [one.json for one in answers if one.status == 422]
    assert {one["code"] for one in refused} == {"idempotency-conflict"}
    assert all(job in one["detail"] and one["hint"] for one in refused)


def test_the_same_key_of_another_tenant_is_another_job(service: Service, token: str) -> None:
    mine = _submit(service, token, 7, "shared")
    theirs = _submit(service, service.consumer("globex"), 7, "shared")
    assert (mine.status, theirs.status) == (201, 201)
    assert mine.json["id"] != theirs.json["id"]


@pytest.mark.thorough
def test_negative_control_a_key_in_a_later_commit_makes_two_jobs(home: Path, count: Count) -> None:
    harness = HttpHarness(
        home=home,
        submissions=600,
        kills=8,
        seed=11,
        mutations="second-look,key-later",
        enough=Harness.has_doubled,
    )
    tally = harness.run()
    count(str(tally))
    assert tally.with_more_jobs > 0
