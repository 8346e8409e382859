"""Answers that go on: events as they come, a log as it grows, and the end of the server."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.asking import GATED, submitted
from tests.inside import Inside, finished, running
from tests.matrix import COPY
from tests.support import end_processes_of, until

from longshore_api.routes import events

_STREAM = {"accept": "text/event-stream"}


@contextmanager
def _following(client: httpx2.Client, job_id: str, **more: Any) -> Iterator[Iterator[str]]:
    """Yield the lines of a stream of events."""
    headers = {**_STREAM, **more.pop("headers", {})}
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers, **more) as answer:
        assert answer.status_code == 200, answer.read()
        yield answer.iter_lines()


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Yield what comes, until the stream ends."""
    frame = dict[str, str]()
    for line in lines:
        name, _, value = line.partition(": ")
        if name:
            frame[name] = value
        elif "data" in frame:
            event: dict[str, Any] = json.loads(frame["data"])
            assert (frame["id"], frame["event"]) == (str(event["seq"]), event["type"])
            yield event
            frame = {}


@pytest.fixture(scope="module")
def done(client: httpx2.Client) -> str:
    """The id of a job that has run, with a log of two lines."""
    asked = {"workflow": "gated", "parameters": {"gate": "/"}}
    job_id: str = client.post("/v1/jobs", json=asked).json()["id"]
    assert finished(client, job_id)["state"] == "SUCCEEDED"
    return job_id


def test_a_stream_is_told_to_pass_through_proxies_and_ends_with_the_job(
    client: httpx2.Client, done: str
) -> None:
    with client.stream("GET", f"/v1/jobs/{done}/events", headers=_STREAM) as answer:
        headers, found = answer.headers, list(_events(answer.iter_lines()))

    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert [one["seq"] for one in found] == list(range(1, len(found) + 1))
    assert found[-1]["state"] == "SUCCEEDED"
    assert found == client.get(f"/v1/jobs/{done}/events").json()["items"]


def test_a_stream_goes_on_behind_the_last_event_that_was_seen(
    client: httpx2.Client, done: str
) -> None:
    every = client.get(f"/v1/jobs/{done}/events").json()["items"]
    last = len(every)

    for seen in (0, 1, last - 1, last, last + 5):
        with _following(client, done, headers={"last-event-id": str(seen)}) as lines:
            by_header = list(_events(lines))
        with _following(client, done, params={"after": seen}) as lines:
            by_query = list(_events(lines))
        expected = [one for one in every if one["seq"] > seen]
        assert by_header == by_query == expected
    with _following(client, done, headers={"last-event-id": "3"}, params={"after": 1}) as lines:
        assert next(_events(lines))["seq"] == 4  # what a browser has seen since counts


def test_a_stream_brings_events_as_they_come(
    client: httpx2.Client, gated: Callable[[], tuple[str, Path]], inside: Inside
) -> None:
    job_id, gate = gated()
    with _following(client, job_id) as lines:
        coming = _events(lines)
        while next(coming).get("state") != "RUNNING":
            pass
        assert inside.provider.streams.open == 1
        gate.touch()
        rest = list(coming)

    assert rest[-1]["state"] == "SUCCEEDED"
    until(lambda: inside.provider.streams.open == 0, "the stream to be given back")


def test_a_silent_stream_says_that_it_lives(
    client: httpx2.Client, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PING_AFTER", 0.05)

    with _following(client, waiting) as lines:
        pings = (line for line in lines if line == ": ping")

        assert [next(pings), next(pings), next(pings)] == [": ping"] * 3


def test_who_leaves_is_no_longer_counted(
    client: httpx2.Client, waiting: str, inside: Inside
) -> None:
    with (
        _following(client, waiting),
        client.stream("GET", f"/v1/jobs/{waiting}/logs", params={"follow": True}),
    ):
        until(lambda: inside.provider.streams.open == 2, "the streams to be open")

    until(lambda: inside.provider.streams.open == 0, "the streams to be closed")
    assert inside.provider.crowd.at_work == 0


def test_events_come_in_pages(client: httpx2.Client, done: str) -> None:
    every = client.get(f"/v1/jobs/{done}/events").json()
    assert every["next"] is None

    found = list[Any]()
    after: str | None = "0"
    while after is not None:
        page = client.get(f"/v1/jobs/{done}/events", params={"after": after, "limit": 2}).json()
        found += page["items"]
        after = page["next"]

    assert found == every["items"]


@pytest.mark.parametrize("path", ["events", "logs?follow=true", "logs", "events?after=0"])
def test_head_of_a_stream_ends_at_once(client: httpx2.Client, waiting: str, path: str) -> None:
    answer = client.head(f"/v1/jobs/{waiting}/{path}", headers=_STREAM)

    assert (answer.status_code, answer.content) == (200, b"")


# logs


@pytest.mark.parametrize(
    ("wanted", "content", "said"),
    [
        ("bytes=0-4", b"begun", "bytes 0-4/*"),
        ("bytes=6-", b"over\n", "bytes 6-10/11"),
        ("bytes=6-100", b"over\n", "bytes 6-10/11"),
        ("bytes=-5", b"over\n", "bytes 6-10/11"),
        ("bytes=-100", b"begun\nover\n", "bytes 0-10/11"),
    ],
)
def test_a_range_of_a_log_is_that_range(
    client: httpx2.Client, done: str, wanted: str, content: bytes, said: str
) -> None:
    answer = client.get(f"/v1/jobs/{done}/logs", headers={"range": wanted})

    assert (answer.status_code, answer.content) == (206, content)
    assert answer.headers["content-range"] == said
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_range_behind_the_end_says_how_much_there_is(client: httpx2.Client, done: str) -> None:
    answer = client.get(f"/v1/jobs/{done}/logs", headers={"range": "bytes=11-"})

    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */11")


def test_a_log_is_kept_whole_and_may_begin_anywhere(client: httpx2.Client, done: str) -> None:
    whole = client.get(f"/v1/jobs/{done}/logs")

    assert whole.text == "begun\nover\n"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert client.get(f"/v1/jobs/{done}/logs", params={"start": 6}).text == "over\n"
    assert client.get(f"/v1/jobs/{done}/logs", params={"start": 99}).text == ""
    followed = client.get(f"/v1/jobs/{done}/logs", params={"follow": True, "start": 6})
    assert followed.text == "over\n"


def test_a_log_is_followed_as_it_grows_to_the_end(
    client: httpx2.Client, gated: Callable[[], tuple[str, Path]]
) -> None:
    job_id, gate = gated()
    with client.stream("GET", f"/v1/jobs/{job_id}/logs", params={"follow": True}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "begun"
        gate.touch()
        assert list(lines) == ["over"]


def test_the_answer_begins_before_there_is_anything_to_say(
    client: httpx2.Client, waiting: str, inside: Inside
) -> None:
    path = f"/v1/jobs/{waiting}/logs"
    with client.stream("GET", path, params={"follow": True}) as answer:
        assert answer.status_code == 200
        assert inside.provider.crowd.at_work == 0


def test_following_what_is_not_there_is_a_problem(client: httpx2.Client) -> None:
    nothing = "0" * 26
    for path in (f"/v1/jobs/{nothing}/logs?follow=true", f"/v1/jobs/{nothing}/events"):
        answer = client.get(path, headers=_STREAM)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


# the end of the server


def test_the_end_of_the_server_ends_what_waits_and_answers_it(tmp_path: Path) -> None:
    try:
        with running(tmp_path / "state", COPY, GATED) as inside, ThreadPoolExecutor(4) as pool:
            client = inside.consumer()
            job_id = submitted(client)["id"]
            path = f"/v1/jobs/{job_id}"
            poll = pool.submit(client.get, path, headers={"prefer": "wait=60"})
            stream = pool.submit(client.get, f"{path}/events", headers=_STREAM)
            log = pool.submit(client.get, f"{path}/logs", params={"follow": True})
            until(lambda: inside.provider.streams.open == 3, "all to wait")

            inside.portal.call(setattr, inside.server, "should_exit", True)
            answers = [one.result(30) for one in (poll, stream, log)]

            assert [answer.status_code for answer in answers] == [200, 200, 200]
            assert answers[0].json()["state"] == "CREATED"
            assert "event: JobCreated" in answers[1].text
    finally:
        end_processes_of(tmp_path)
