"""A job as its reader sees it: tags, long polls, pages, and keys."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.asking import submitted
from tests.inside import Inside, finished
from tests.support import until

from longshore.errors import StoreUnavailable
from longshore.models import JobEvent
from longshore_api import streaming
from longshore_api.routes import jobs

#: longer than any test may take: an answer that comes has come early
_LONG = 30


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as made:
        yield made


# tags


def test_the_tag_of_a_job_changes_when_it_does(client: httpx2.Client) -> None:
    made = submitted(client)
    first = client.get(f"/v1/jobs/{made['id']}")
    client.post(f"/v1/jobs/{made['id']}/cancel")
    second = client.get(f"/v1/jobs/{made['id']}")

    assert first.headers["etag"] != second.headers["etag"]
    same = client.get(f"/v1/jobs/{made['id']}", headers={"if-none-match": second.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == second.headers["etag"]
    changed = client.get(f"/v1/jobs/{made['id']}", headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200


@pytest.mark.parametrize("action", ["start", "cancel", "delete"])
def test_an_action_on_another_state_than_this_is_refused_and_does_nothing(
    client: httpx2.Client, action: str
) -> None:
    job_id = submitted(client)["id"]
    now = client.get(f"/v1/jobs/{job_id}").headers["etag"]
    path = f"/v1/jobs/{job_id}" if action == "delete" else f"/v1/jobs/{job_id}/{action}"
    method = "DELETE" if action == "delete" else "POST"

    for tag in ('"999"', f"W/{now}", now.strip('"'), '""', '"0", "99"'):
        answer = client.request(method, path, headers={"if-match": tag})
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition-failed")
    assert client.get(f"/v1/jobs/{job_id}").headers["etag"] == now
    assert (
        client.request(method, path, headers={"if-match": f'"0", {now}'}).status_code
        in {
            "start": {409},
            "cancel": {200},
            "delete": {409},
        }[action]
    )


@pytest.mark.parametrize(("method", "action"), [("POST", "/cancel"), ("DELETE", "")])
def test_of_many_who_have_seen_the_same_tag_one_acts(
    client: httpx2.Client, pool: ThreadPoolExecutor, method: str, action: str
) -> None:
    job_id = submitted(client)["id"]
    if method == "DELETE":
        client.post(f"/v1/jobs/{job_id}/cancel")
    tag = {"if-match": client.get(f"/v1/jobs/{job_id}").headers["etag"]}

    asked = [
        pool.submit(client.request, method, f"/v1/jobs/{job_id}{action}", headers=tag)
        for _ in range(20)
    ]

    codes = Counter(one.result().status_code for one in asked)
    assert codes == {412: 19, 204 if method == "DELETE" else 200: 1}


def test_any_state_will_do_for_a_star(client: httpx2.Client) -> None:
    job_id = submitted(client)["id"]
    for _ in range(2):
        answer = client.post(f"/v1/jobs/{job_id}/cancel", headers={"if-match": "*"})
        assert answer.status_code == 200


# long polls


@pytest.fixture
def polling(
    inside: Inside, client: httpx2.Client, pool: ThreadPoolExecutor
) -> Callable[..., Future[httpx2.Response]]:
    """Begin to wait for a change of a job; return when the service waits too."""

    def begin(job_id: str, seconds: int = _LONG, **headers: str) -> Future[httpx2.Response]:
        named = {"prefer": f"wait={seconds}", **headers}
        answer = pool.submit(client.get, f"/v1/jobs/{job_id}", headers=named)
        until(lambda: inside.provider.streams.open or answer.done(), "the service to wait")
        return answer

    return begin


def test_a_long_poll_answers_when_the_job_changes_and_not_before(
    inside: Inside, client: httpx2.Client, polling: Callable[..., Future[httpx2.Response]]
) -> None:
    job_id, began = submitted(client)["id"], time.monotonic()

    answer = polling(job_id)
    was_waiting, at_work = not answer.done(), inside.provider.crowd.at_work
    client.post(f"/v1/jobs/{job_id}/cancel")

    assert was_waiting
    assert at_work == 0  # who waits takes nobody's place
    assert answer.result(_LONG).json()["state"] == "CANCELED"
    assert time.monotonic() - began < _LONG
    assert inside.provider.streams.open == 0


def test_a_long_poll_answers_with_the_job_as_it_is_when_the_time_is_over(
    client: httpx2.Client, waiting: str
) -> None:
    before, began = client.get(f"/v1/jobs/{waiting}"), time.monotonic()
    tag = {"if-none-match": before.headers["etag"]}

    same = client.get(f"/v1/jobs/{waiting}", headers={"prefer": "wait=1"})
    unchanged = client.get(f"/v1/jobs/{waiting}", headers={"prefer": "wait=1", **tag})

    assert time.monotonic() - began >= 2
    assert (same.status_code, same.content) == (200, before.content)
    assert unchanged.status_code == 304


def test_a_long_poll_that_the_store_cuts_off_may_be_asked_again(
    inside: Inside, client: httpx2.Client, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> AsyncIterator[JobEvent]:
        nothing: tuple[JobEvent, ...] = ()
        for event in nothing:
            yield event
        raise StoreUnavailable("the disk is gone")

    monkeypatch.setattr(inside.provider.host.log, "follow", broken)

    answer = client.get(f"/v1/jobs/{waiting}", headers={"prefer": "wait=5"})

    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
    assert answer.headers["retry-after"]
    assert inside.provider.streams.open == inside.provider.crowd.at_work == 0


def test_a_long_poll_waits_behind_a_proxy_that_makes_tags_weak(
    client: httpx2.Client, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LONGEST_WAIT", 0.2)
    tag, began = client.get(f"/v1/jobs/{waiting}").headers["etag"], time.monotonic()

    headers = {"prefer": "wait=1", "if-none-match": f"W/{tag}"}
    assert client.get(f"/v1/jobs/{waiting}", headers=headers).status_code == 304
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_long_poll_ends_with_its_token(
    inside: Inside, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(streaming, "LOOK_AT_TOKEN", 0.05)
    agreement, expires_at = inside.agreement("acme"), inside.clock.now() + timedelta(hours=1)
    client = inside.client(inside.token(agreement, expires_at=expires_at))
    job_id, began = submitted(client)["id"], time.monotonic()
    waits = {"prefer": f"wait={_LONG}"}
    polling = pool.submit(client.get, f"/v1/jobs/{job_id}", headers=waits)
    until(lambda: inside.provider.streams.open, "the service to wait")

    if end == "revoked":
        inside.call(partial(inside.provider.access.revoke_agreement, agreement, by="test"))
    else:
        monkeypatch.setattr(inside.clock, "ahead", timedelta(hours=2))

    answer = polling.result(_LONG)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert time.monotonic() - began < _LONG / 2
    assert inside.provider.streams.open == 0


def test_a_long_poll_is_no_longer_than_the_service_allows(
    client: httpx2.Client, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LONGEST_WAIT", 0.1)
    began = time.monotonic()

    assert client.get(f"/v1/jobs/{waiting}", headers={"prefer": "wait=3600"}).status_code == 200
    assert time.monotonic() - began < _LONG


def test_a_long_poll_does_not_wait_for_what_has_changed_already(
    client: httpx2.Client, waiting: str, canceled: str
) -> None:
    began = time.monotonic()
    old = {"prefer": f"wait={_LONG}", "if-none-match": '"0"'}

    assert client.get(f"/v1/jobs/{waiting}", headers=old).status_code == 200
    assert client.get(f"/v1/jobs/{canceled}", headers=old).status_code == 200
    assert time.monotonic() - began < _LONG


# pages


def _pages(client: httpx2.Client, between: Callable[[], Any], **query: Any) -> list[str]:
    found, cursor = list[str](), None
    while True:
        page = client.get("/v1/jobs", params={**query, **({"cursor": cursor} if cursor else {})})
        assert page.status_code == 200, page.text
        assert len(page.json()["items"]) <= query["limit"]
        found += [one["id"] for one in page.json()["items"]]
        cursor = page.json()["next"]
        if cursor is None:
            return found
        between()


def test_pages_hold_every_job_once_while_others_are_made(inside: Inside) -> None:
    client = inside.consumer("pages")
    made = [submitted(client)["id"] for _ in range(10)]

    found = _pages(client, lambda: submitted(client), limit=3)

    assert found == made[::-1]  # newest first; what came later is before the first page


def test_pages_may_be_of_states_and_of_a_workflow(inside: Inside) -> None:
    client = inside.consumer("states")
    made = [submitted(client)["id"] for _ in range(6)]
    for job_id in made[::2]:
        client.post(f"/v1/jobs/{job_id}/cancel")

    def read(**query: Any) -> list[str]:
        return _pages(client, lambda: None, limit=2, **query)

    assert read(state="CANCELED") == made[::2][::-1]
    assert read(state=["CREATED", "CANCELED"]) == made[::-1]
    assert read(state="CREATED", workflow="copy") == made[1::2][::-1]
    assert read(workflow="gated") == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"state": "NONE"}, 400),
        ({"limit": "0"}, 400),
        ({"limit": "1001"}, 400),
        ({"limit": "x"}, 400),
        ({"cursor": "x" * 65}, 400),
        ({"cursor": "%00'; --"}, 200),
        ({"cursor": ""}, 200),
        ({"workflow": "\0"}, 200),
        ({"workflow": ""}, 200),
    ],
)
def test_a_page_of_nonsense_is_empty_or_a_problem(
    client: httpx2.Client, query: dict[str, str], status: int
) -> None:
    assert client.get("/v1/jobs", params=query).status_code == status


# keys

_ASKED = {"workflow": "copy", "inputs": {"text": {"upload": {"size": 3}}}}


def _submit(client: httpx2.Client, key: str, asked: dict[str, Any]) -> httpx2.Response:
    return client.post("/v1/jobs", json=asked, headers={"idempotency-key": key})


def test_a_hundred_with_one_key_at_once_are_one_job(
    inside: Inside, pool: ThreadPoolExecutor
) -> None:
    client = inside.consumer("keys")

    asked = [pool.submit(_submit, client, "one", _ASKED) for _ in range(100)]
    answers = [one.result(_LONG) for one in asked]

    assert len({answer.json()["id"] for answer in answers}) == 1
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 99}
    assert len(client.get("/v1/jobs").json()["items"]) == 1
    assert all(answer.json()["uploads"]["text"]["url"] for answer in answers)
    assert len({answer.headers["location"] for answer in answers}) == 1


def test_a_key_with_another_body_is_refused(inside: Inside) -> None:
    client = inside.consumer("bodies")
    _submit(client, "k", _ASKED)

    for other in ({**_ASKED, "start": False}, {**_ASKED, "inputs": {"text": {"text": "abc"}}}):
        answer = _submit(client, "k", other)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-conflict")
    assert len(client.get("/v1/jobs").json()["items"]) == 1


def test_another_tenants_key_is_another_key(inside: Inside) -> None:
    mine, theirs = inside.consumer("mine"), inside.consumer("theirs")

    first, second = (
        _submit(mine, "same", _ASKED),
        _submit(theirs, "same", {**_ASKED, "start": False}),
    )

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


# the whole way


def test_a_job_goes_from_upload_to_download(client: httpx2.Client) -> None:
    job = submitted(client)
    state = client.get(f"/v1/jobs/{job['id']}/inputs/text").json()
    missing = client.post(f"/v1/jobs/{job['id']}/start")
    sent = httpx2.put(job["uploads"]["text"]["url"], content=b"abc")
    uploaded = client.get(f"/v1/jobs/{job['id']}/inputs/text").json()
    completed = client.post(f"/v1/jobs/{job['id']}/inputs/text/complete", json={})
    started = client.post(f"/v1/jobs/{job['id']}/start")
    again = client.post(f"/v1/jobs/{job['id']}/start")
    done = finished(client, job["id"])
    output = client.get(f"/v1/jobs/{job['id']}/outputs/copy")

    assert (state["state"], state["sent"]) == ("missing", [])
    assert (missing.status_code, missing.json()["missing"]) == (409, ["text"])
    assert sent.status_code == 200
    assert (uploaded["state"], uploaded["upload"]) == ("uploaded", None)
    assert (completed.status_code, started.status_code, again.status_code) == (200, 200, 200)
    assert done["state"] == "SUCCEEDED"
    assert (output.status_code, output.content) == (307, b"")
    assert httpx2.get(output.headers["location"]).content == b"abc"
    assert client.get(f"/v1/jobs/{job['id']}/outputs").json()["items"][0]["size"] == 3


def test_completing_what_was_never_sent_names_what_is_missing(client: httpx2.Client) -> None:
    job = submitted(client)

    answer = client.post(f"/v1/jobs/{job['id']}/inputs/text/complete", json={})

    assert (answer.status_code, answer.json()["missing"]) == (409, ["text"])
    assert "acme" not in answer.text  # nor any other part of where it would lie


def test_a_running_job_is_canceled_and_only_then_purged(
    client: httpx2.Client, gated: Callable[[], tuple[str, Path]]
) -> None:
    job_id, _ = gated()
    until(lambda: client.get(f"/v1/jobs/{job_id}").json()["state"] == "RUNNING", "the job to run")

    early = client.delete(f"/v1/jobs/{job_id}")
    client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    ended = finished(client, job_id)
    purged, again = client.delete(f"/v1/jobs/{job_id}"), client.delete(f"/v1/jobs/{job_id}")

    assert early.status_code == 409
    assert ended["state"] == "CANCELED"
    assert ended["stopRequested"]["why"] == "cancel"
    assert (purged.status_code, again.status_code) == (204, 204)
    assert client.get(f"/v1/jobs/{job_id}").json()["purged"] is True
