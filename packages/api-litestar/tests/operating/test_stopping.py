"""How the service ends: streams at once, requests when they are done, jobs not at all."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.serving import SETTINGS, Service, serving
from tests.support import until

_SIZE = 1024**2


@contextmanager
def following(client: httpx2.Client, path: str, accept: str) -> Iterator[list[str]]:
    """Read a stream in a thread to its end; yield what has come, and END when it ended well."""
    came: list[str] = []

    def read() -> None:
        try:
            with client.stream("GET", path, headers={"accept": accept}, timeout=60) as answer:
                for line in answer.iter_lines():
                    came.append(line)  # noqa: PERF402 - the test sees each as it comes
            came.append("END")
        except httpx2.HTTPError as exc:
            came.append(repr(exc))

    thread = threading.Thread(target=read)
    thread.start()
    yield came
    thread.join(30)
    assert not thread.is_alive()


def submit(client: httpx2.Client, workflow: str, **body: Any) -> str:
    made = client.post("/v1/jobs", json={"workflow": workflow, **body})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def state_of(client: httpx2.Client, job: str) -> str:
    return str(client.get(f"/v1/jobs/{job}").json()["state"])


def test_streams_end_requests_finish_and_the_job_goes_on(place: Path) -> None:
    gate = place / "gate"
    with serving(place) as service:
        token = service.consumer()
        with service.client(token) as client:
            job = submit(client, "patient", parameters={"gate": str(gate)})
            until(lambda: state_of(client, job) == "RUNNING", "the job to run")
            asked = {"text": {"upload": {"size": _SIZE}}}
            made = client.post("/v1/jobs", json={"workflow": "hello", "inputs": asked})
            upload = made.json()["uploads"]["text"]
            with (
                service.client(token) as events_client,
                service.client(token) as log_client,
                following(events_client, f"/v1/jobs/{job}/events", "text/event-stream") as events,
                following(log_client, f"/v1/jobs/{job}/logs?follow=true", "*/*") as log,
                socket.create_connection(("127.0.0.1", service.port)) as wire,
            ):
                _begin_upload(wire, upload["url"], service)
                until(lambda: any("WorkerStarted" in line for line in events), "the events")
                until(lambda: "begun" in log, "the log")
                service.process.send_signal(signal.SIGTERM)
                until(lambda: "END" in events and "END" in log, "both streams to end")
                assert service.process.poll() is None  # it waits for the upload
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", service.port))
                wire.sendall(bytes(_SIZE // 2))
                answer = wire.recv(65536)
        assert b"200 OK" in answer.splitlines()[0], answer
        assert service.process.wait(30) == 0
    with serving(place) as again, again.client(token) as client:
        assert state_of(client, job) == "RUNNING"
        gate.touch()
        until(lambda: state_of(client, job) == "SUCCEEDED", "the job to end")
        assert client.get(f"/v1/jobs/{job}").json()["attempt"] == 1
        assert client.get(f"/v1/jobs/{job}/logs").text == "begun\nover\n"
        assert client.post(f"/v1/jobs/{made.json()['id']}/start").status_code == 200


def _begin_upload(wire: socket.socket, url: str, service: Service) -> None:
    path = url.removeprefix(service.url)
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {_SIZE}\r\n\r\n"
    wire.settimeout(30)
    wire.sendall(head.encode() + bytes(_SIZE // 2))


def _begin_request(service: Service) -> socket.socket:
    """Send the first part of a request; the rest never comes."""
    wire = socket.create_connection(("127.0.0.1", service.port))
    wire.sendall(
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %b\r\nContent-Length: 100\r\n\r\n{" % service.consumer().encode()
    )
    return wire


def test_a_request_that_does_not_end_is_not_waited_for_longer_than_is_set(place: Path) -> None:
    settings = f'[service]\nstop_timeout = "1s"\n{SETTINGS}'
    with serving(place, settings=settings) as service, _begin_request(service):
        assert service.stop() == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(place: Path, second: signal.Signals) -> None:
    settings = f'[service]\nstop_timeout = "5m"\n{SETTINGS}'
    with serving(place, settings=settings) as service, _begin_request(service):
        service.process.send_signal(signal.SIGTERM)
        until(lambda: not _takes_connections(service), "the door to close")
        assert service.process.poll() is None
        service.process.send_signal(second)
        assert service.process.wait(20) is not None


def _takes_connections(service: Service) -> bool:
    try:
        socket.create_connection(("127.0.0.1", service.port)).close()
    except OSError:
        return False
    return True


def test_ctrl_c_is_as_good(place: Path) -> None:
    with serving(place) as service:
        assert service.stop(signal.SIGINT) == 0
        assert "Traceback" not in service.said()
