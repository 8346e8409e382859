"""The server is killed while bytes come: none of them is readable, and the rest is all it takes."""

import hashlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
from tests.http_faults.http import BROKEN, Client
from tests.http_faults.mutations import PART, mutated
from tests.http_faults.wire import Wire
from tests.serving import Service, serving
from tests.support import until

pytestmark = [pytest.mark.kill, pytest.mark.timeout(120)]


@attrs.define
class Upload:
    """A job that waits for its input, over all lives of the server."""

    place: Path
    content: bytes
    admin: str = ""
    token: str = ""
    job: str = ""

    @contextmanager
    def serving(self, *mutations: str) -> Iterator[tuple[Service, Client]]:
        program = mutated("small-parts", *mutations)
        with serving(self.place, admin=self.admin, program=program) as service:
            self.admin = service.admin
            self.token = self.token or service.consumer()
            client = Client(service.port, self.token)
            try:
                yield service, client
            finally:
                client.close()

    def submit(self, client: Client) -> dict[str, Any]:
        """Submit, always with the same key; return the requests for the input, if any."""
        digest = hashlib.sha256(self.content).hexdigest()
        said = {"upload": {"size": len(self.content), "sha256": digest}}
        body = {"workflow": "hello", "inputs": {"text": said}}
        answer = client.ask("POST", "/v1/jobs", body, {"idempotency-key": "k"})
        assert answer.status == (200 if self.job else 201), answer
        assert self.job in {"", answer.json["id"]}
        self.job = answer.json["id"]
        return dict(answer.json["uploads"])

    def state(self, client: Client) -> dict[str, Any]:
        """Return how the input is."""
        return dict(client.get(f"/v1/jobs/{self.job}/inputs/text").json)

    def piece(self, part: dict[str, Any]) -> bytes:
        """Return the bytes of a part."""
        at = (part["number"] - 1) * PART
        return self.content[at : at + part["size"]]

    def readable(self) -> list[Path]:
        """Return the files of objects of the job."""
        objects = self.place / "state" / "storage" / "objects"
        return [path for path in objects.rglob("*") if path.is_file() and self.job in str(path)]

    def finish(self, client: Client) -> None:
        """Start the job; it ends with the bytes that were sent."""
        started = client.post(f"/v1/jobs/{self.job}/start")
        assert started.status == 200, started
        where = f"/v1/jobs/{self.job}"
        until(lambda: client.get(where).json["state"] == "SUCCEEDED", "the job to end")
        (output,) = client.get(f"{where}/outputs").json["items"]
        assert output["sha256"] == hashlib.sha256(self.content).hexdigest()


def _put_half(service: Service, url: str, body: bytes) -> Wire:
    """Begin to send, and stop in the middle."""
    parts = urlsplit(url)
    wire = Wire(service.port)
    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    wire.send(f"{head}expect: 100-continue\r\n\r\n".encode())
    assert wire.read_head().startswith(b"HTTP/1.1 100 ")
    wire.send(body[: len(body) // 2])
    return wire


def test_a_single_upload_that_was_cut_off_is_nowhere_and_is_sent_again(place: Path) -> None:
    upload = Upload(place, b"s" * (PART - 1))
    with (
        upload.serving() as (service, client),
        _put_half(service, upload.submit(client)["text"]["url"], upload.content) as sending,
    ):
        service.stop(signal.SIGKILL)
        assert sending.read() == b""
    with upload.serving() as (_, client):
        assert upload.readable() == []
        assert (upload.state(client)["state"], upload.state(client)["sent"]) == ("missing", [])
        assert client.post(f"/v1/jobs/{upload.job}/start").json["missing"] == ["text"]
        fresh = upload.submit(client)["text"]["url"]
        assert client.put(fresh, upload.content).status == 200
        upload.finish(client)


@pytest.mark.thorough
def test_of_an_upload_in_parts_only_what_was_cut_off_is_sent_again(place: Path) -> None:
    upload = Upload(place, bytes(range(256)) * (4 * PART // 256) + b"end")
    with upload.serving() as (service, client):
        parts = upload.submit(client)["text"]["parts"]
        assert len(parts) == 5
        for part in (parts[0], parts[4]):
            assert client.put(part["url"], upload.piece(part)).status == 200
        with _put_half(service, parts[2]["url"], upload.piece(parts[2])) as sending:
            service.stop(signal.SIGKILL)
            assert sending.read() == b""
    with upload.serving() as (service, client):
        assert upload.readable() == []
        state = upload.state(client)
        assert [one["number"] for one in state["sent"]] == [1, 5]
        assert [one["number"] for one in state["upload"]["parts"]] == [2, 3, 4]
        assert client.post(f"/v1/jobs/{upload.job}/start").json["missing"] == ["text"]
        for part in state["upload"]["parts"]:
            assert client.put(part["url"], upload.piece(part)).status == 200
            service.stop(signal.SIGKILL)  # after an answer, which is kept
            break
    with upload.serving() as (_, client):
        rest = upload.state(client)["upload"]["parts"]
        assert [one["number"] for one in rest] == [3, 4]
        for part in rest:
            assert client.put(part["url"], upload.piece(part)).status == 200
        upload.finish(client)


def _cut_off_in_the_commit(upload: Upload) -> None:
    with upload.serving("last-words") as (service, client):
        assert client.put(upload.submit(client)["text"]["url"], upload.content).status == 200
        with pytest.raises(BROKEN):
            client.post(f"/v1/jobs/{upload.job}/start")
        assert service.process.wait(30) == -signal.SIGKILL


@pytest.mark.thorough
def test_a_commit_that_was_cut_off_needs_no_byte_again(place: Path) -> None:
    upload = Upload(place, b"all of it")
    _cut_off_in_the_commit(upload)
    with upload.serving() as (_, client):
        assert upload.state(client)["state"] == "uploaded"
        assert upload.submit(client) == {}
        upload.finish(client)


@pytest.mark.thorough
def test_negative_control_who_does_not_look_asks_for_bytes_that_nobody_takes(place: Path) -> None:
    upload = Upload(place, b"all of it")
    _cut_off_in_the_commit(upload)
    with upload.serving("blind") as (_, client):
        assert upload.state(client)["state"] == "missing"
        assert client.put(upload.submit(client)["text"]["url"], upload.content).status == 404
