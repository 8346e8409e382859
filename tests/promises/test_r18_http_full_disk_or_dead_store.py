"""R18 over HTTP: where nothing can be kept nothing is accepted, and afterwards everything goes on.

The store is away for a second and not for a minute: what the service waits for it is made as much
shorter.
"""

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.http_faults.http import Answer, Client
from tests.http_faults.measuring import slowest_live
from tests.http_faults.mutations import mutated
from tests.serving import Service, end_everything, serving
from tests.support import small_disk, until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="root makes mounts"),
]

Count = Callable[[str], None]
SETTINGS = """\
[limits]
requests_per_second = 0
[workflows]
directory = "workflows"
shipped = false
[backends.local]
isolation = "none"
"""
#: submissions to a disk that is full already; what is written ahead of the file holds few more
LATE = 5
#: seconds that one answer may take while the store is away
PROMPT = 0.25
_LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@attrs.define
class Submitter:
    """Submits with a key each, and remembers what was accepted."""

    client: Client
    accepted: dict[str, str] = attrs.field(factory=dict[str, str])
    refused: list[Answer] = attrs.field(factory=list[Answer])

    def submit(self, key: str, text: str = "", size: int = 0) -> Answer:
        """Submit a job that waits for an upload of ``size`` bytes, or runs with ``text``."""
        given: dict[str, Any] = {"upload": {"size": size}} if size else {"text": text}
        body = {"workflow": "hello", "inputs": {"text": given}}
        answer = self.client.ask("POST", "/v1/jobs", body, {"idempotency-key": key})
        if answer.status in {200, 201}:
            assert self.accepted.setdefault(key, answer.json["id"]) == answer.json["id"]
        else:
            assert answer.status == 503, answer
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json["code"] in {"store-unavailable", "storage-unavailable"}
            assert "/" not in answer.json["detail"]  # no path of the provider's
            self.refused.append(answer)
        return answer

    def state(self, key: str) -> str:
        """Return the state of an accepted job."""
        answer = self.client.get(f"/v1/jobs/{self.accepted[key]}")
        return str(answer.json["state"]) if answer.status == 200 else "gone"

    def assert_all_there(self) -> None:
        """See that what was accepted is there, once."""
        answer = self.client.get("/v1/jobs?limit=1000")
        assert answer.json["next"] is None
        assert {one["id"] for one in answer.json["items"]} >= set(self.accepted.values())
        assert len(answer.json["items"]) == len(set(self.accepted.values()))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A place for a service whose state is on a disk of a megabyte."""
    state = tmp_path / "state"
    state.mkdir()
    with small_disk(state):
        yield tmp_path
        end_everything(tmp_path)


@contextmanager
def _service(place: Path, *mutations: str) -> Iterator[tuple[Service, Submitter]]:
    program = mutated("short-busy", *mutations)
    with (
        serving(place, settings=SETTINGS, program=program) as service,
        Client(service.port, service.consumer()) as client,
    ):
        yield service, Submitter(client)


def _ready(service: Service) -> dict[str, str] | None:
    """Return the parts that are not well; None where all are."""
    with Client(service.port) as client:
        answer = client.get("/readyz")
    if answer.status == 200:
        return None
    assert answer.status == 503, answer
    assert answer.headers["retry-after"]
    return {part: found for part, found in answer.json["checks"].items() if found != "ok"}


def _fill(place: Path, leave: int = 0) -> Path:
    ballast = place / "state" / "ballast"
    usage = os.statvfs(place / "state")
    ballast.write_bytes(b"x" * max(0, usage.f_bavail * usage.f_frsize - leave))
    return ballast


def _submit_until_refused(submitter: Submitter) -> None:
    for number in range(5000):
        if submitter.submit(f"full {number}", size=10).status == 503:
            return
    raise AssertionError("the disk takes everything")


def test_on_a_full_disk_nothing_is_accepted_that_is_not_kept(place: Path, count: Count) -> None:
    with _service(place) as (service, submitter):
        assert submitter.submit("before", text="one").status == 201
        until(lambda: submitter.state("before") == "SUCCEEDED", "the job to end")
        ballast = _fill(place, leave=100_000)
        _submit_until_refused(submitter)
        for number in range(LATE):
            submitter.submit(f"late {number}", size=10)
        unwell = until(lambda: _ready(service), "the disk to be seen")
        assert unwell is not None
        assert unwell.keys() <= {"store", "storage"}
        live = slowest_live(submitter.client, 50)
        assert live < PROMPT
        assert submitter.state("before") == "SUCCEEDED"
        count(
            f"{len(submitter.accepted)} accepted, {len(submitter.refused)} refused, "
            f"not ready: {unwell}, /livez p99 {live * 1e3:.1f} ms"
        )

        ballast.unlink()
        until(lambda: _ready(service) is None, "the disk to be seen again")
        for key in [*submitter.accepted, *(f"late {number}" for number in range(LATE))]:
            if key != "before":
                assert submitter.submit(key, size=10).status in {200, 201}
        assert submitter.submit("after", text="two").status == 201
        until(lambda: submitter.state("after") == "SUCCEEDED", "the job to end")
        submitter.assert_all_there()


def test_negative_control_an_answer_without_a_commit_is_a_lie_on_a_full_disk(place: Path) -> None:
    with _service(place, "keep-or-not") as (_, submitter):
        _fill(place, leave=100_000)
        lies = (n for n in range(400) if _is_a_lie(submitter, f"full {n}"))
        assert next(lies) > 0


def _is_a_lie(submitter: Submitter, key: str) -> bool:
    """Say whether a job that was announced is not there."""
    body = {"workflow": "hello", "inputs": {"text": {"upload": {"size": 10}}}}
    made = submitter.client.ask("POST", "/v1/jobs", body, {"idempotency-key": key})
    if made.status != 201:
        return made.status == 404  # it was not there when its input was opened
    return submitter.client.get(f"/v1/jobs/{made.json['id']}").status == 404


def test_an_upload_that_fills_the_disk_is_refused_and_is_sent_when_there_is_room(
    place: Path,
) -> None:
    content = b"b" * 80_000
    with _service(place) as (service, submitter):
        made = submitter.submit("upload", size=len(content))
        url = made.json["uploads"]["text"]["url"]
        ballast = _fill(place, leave=40_000)
        refused = submitter.client.put(url, content)
        assert (refused.status, refused.json["code"]) == (503, "storage-unavailable")
        assert refused.headers["retry-after"]
        job = submitter.accepted["upload"]
        waiting = submitter.client.get(f"/v1/jobs/{job}/inputs/text").json
        assert (waiting["state"], waiting["sent"]) == ("missing", [])
        assert submitter.client.post(f"/v1/jobs/{job}/start").status in {409, 503}
        assert slowest_live(submitter.client, 50) < PROMPT

        ballast.unlink()
        until(lambda: _ready(service) is None, "the disk to be seen again")
        assert submitter.client.put(url, content).status == 200
        assert submitter.client.post(f"/v1/jobs/{job}/start").status == 200
        until(lambda: submitter.state("upload") == "SUCCEEDED", "the job to end")
        (output,) = submitter.client.get(f"/v1/jobs/{job}/outputs").json["items"]
        assert output["sha256"] == hashlib.sha256(content).hexdigest()


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Have another process keep the state to itself while the block runs."""
    argv = [sys.executable, "-c", _LOCKER, str(place / "state" / "state.db")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        try:
            yield
        finally:
            process.kill()


def test_while_another_process_has_the_store_nothing_is_accepted_and_nothing_stands_still(
    tmp_path: Path, count: Count
) -> None:
    try:
        with _service(tmp_path) as (service, submitter):
            assert submitter.submit("before", text="one").status == 201
            until(lambda: submitter.state("before") == "SUCCEEDED", "the job to end")
            over = threading.Event()
            with ThreadPoolExecutor(24) as threads:
                with _locked(tmp_path):
                    working = [threads.submit(_insist, service, submitter, n) for n in range(24)]
                    unwell = until(lambda: _ready(service), "the lock to be seen")
                    live = slowest_live(submitter.client, 150)
                    began = time.perf_counter()
                    assert submitter.state("before") == "SUCCEEDED"
                    read = time.perf_counter() - began
                    over.wait(1.0)
                    assert not any(one.done() for one in working)
                until(lambda: _ready(service) is None, "the store to be back")
                refusals = sum(one.result() for one in working)
            count(
                f"{refusals} refusals, then 24 accepted; not ready: {unwell}; "
                f"/livez p99 {live * 1e3:.1f} ms, a job in {read * 1e3:.1f} ms"
            )
            assert refusals >= 24
            assert max(live, read) < PROMPT
            for number in range(24):
                until(lambda key=f"lock {number}": submitter.state(key) == "SUCCEEDED", "a job")  # type: ignore[misc]
            submitter.assert_all_there()
    finally:
        end_everything(tmp_path)


def _insist(service: Service, submitter: Submitter, number: int) -> int:
    """Submit until it is accepted; return how often it was refused."""
    with Client(service.port, submitter.client.token) as client:
        mine = Submitter(client, submitter.accepted)

        def is_accepted() -> bool:
            return mine.submit(f"lock {number}", text=str(number)).status != 503

        until(is_accepted, "the submission to be accepted", 30)
    return len(mine.refused)
