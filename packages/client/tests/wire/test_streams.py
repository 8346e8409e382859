"""Following: every event and every byte of the log once, whatever breaks in between."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from longshore_client import Client, NotFound, RetryError
from longshore_client.blocking import JobHandle

JOB_ID = "01k9x3v0c8e6h4y2t7r5w1q9za"


@pytest.fixture
def job(provider: Any, client: Client) -> JobHandle:
    states = ("QUEUED", "STAGING_IN", "RUNNING", "STAGING_OUT")
    provider.events = [
        {"seq": n, "type": "JobMoved", "at": "2026-01-02T03:04:05Z", "state": state}
        for n, state in enumerate(states, 1)
    ]
    provider.log = b"".join(b"line %d\n" % n for n in range(1000))
    provider.state = "RUNNING"
    return client.job(JOB_ID)


def after(clock: Any, pauses: int, then: Callable[[], None]) -> None:
    """Have something happen in the pause of that number."""
    plain = clock.sleep

    async def sleep(seconds: float) -> None:
        await plain(seconds)
        if len(clock.pauses) == pauses:
            then()

    clock.sleep = sleep


@pytest.fixture
def client(provider: Any, clock: Any) -> Any:
    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)

    retry = clock.retry()
    object.__setattr__(retry, "sleep", sleep)
    with Client(provider.url, "ls_token", retry=retry) as client:
        yield client


def test_following_goes_over_many_connections_and_ends_with_the_final_event(
    provider: Any, job: JobHandle, clock: Any
) -> None:
    provider.fail("GET", f"/v1/jobs/{JOB_ID}/events", cut=2)
    after(clock, 3, provider.finish)
    events = list(job.events(follow=True))
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert events[-1].state == "SUCCEEDED"
    streams = provider.requests("GET", f"/v1/jobs/{JOB_ID}/events")
    assert [it.headers.get("last-event-id") for it in streams][:3] == [None, "2", "4"]


def test_following_a_job_that_was_final_before_ends_at_once(provider: Any, job: JobHandle) -> None:
    provider.finish()
    assert [event.seq for event in job.events(after=5, follow=True)] == []
    assert [event.seq for event in job.events(follow=True)] == [1, 2, 3, 4, 5]


def test_a_list_of_events_is_read_to_its_end(job: JobHandle) -> None:
    assert [event.state for event in job.events(after=2)] == ["RUNNING", "STAGING_OUT"]


def test_an_event_that_comes_twice_is_told_once(provider: Any, job: JobHandle) -> None:
    provider.events.insert(1, provider.events[0])
    provider.finish()
    provider.events[-1]["seq"] = 5
    assert [event.seq for event in job.events(follow=True)] == [1, 2, 3, 4, 5]


def test_a_job_that_is_not_there_is_an_error_at_once(
    provider: Any, job: JobHandle, clock: Any
) -> None:
    provider.fail("GET", f"/v1/jobs/{JOB_ID}/events", status=404)
    with pytest.raises(NotFound):
        list(job.events(follow=True))
    assert clock.pauses == []


def test_a_server_that_stays_away_ends_the_following(
    provider: Any, job: JobHandle, clock: Any
) -> None:
    provider.fail("GET", f"/v1/jobs/{JOB_ID}/events", status=503, times=1000)
    with pytest.raises(RetryError, match="tried"):
        list(job.events(follow=True))
    assert 50 < clock.now <= 60


def test_a_server_that_takes_connections_and_ends_them_is_not_asked_too_often(
    provider: Any, job: JobHandle, clock: Any
) -> None:
    after(clock, 20, provider.finish)
    list(job.events(follow=True))
    assert clock.pauses[-1] == 10


def test_the_log_is_each_byte_once_over_many_connections(
    provider: Any, job: JobHandle, clock: Any
) -> None:
    whole = provider.log + b"the end\n"

    def grow() -> None:
        provider.log = whole
        provider.finish()

    provider.fail("GET", f"/v1/jobs/{JOB_ID}/logs", cut=1234)
    after(clock, 4, grow)
    assert b"".join(job.logs(follow=True)) == whole
    assert provider.requests("GET", f"/v1/jobs/{JOB_ID}/logs")[1].path.endswith(
        "start=1234&follow=true"
    )


def test_the_log_may_be_read_from_any_byte_and_breaks_are_mended(
    provider: Any, job: JobHandle
) -> None:
    provider.fail("GET", f"/v1/jobs/{JOB_ID}/logs", cut=10)
    assert b"".join(job.logs(start=7)) == provider.log[7:]


def test_closing_the_client_ends_what_another_thread_follows(
    provider: Any, job: JobHandle, client: Client
) -> None:
    seen = threading.Event()
    over = threading.Event()

    def follow() -> None:
        for _ in job.events(follow=True):
            seen.set()
        over.set()

    threading.Thread(target=follow, daemon=True).start()
    assert seen.wait(20)
    client.close()
    assert over.wait(20)
