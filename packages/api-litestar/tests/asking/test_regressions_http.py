"""What an attack with a consumer's token has found, and must not come back."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from tests.asking import submitted
from tests.blobserving import Connection
from tests.inside import Inside, finished
from tests.support import until

from longshore_api import streaming
from longshore_api.bodies import read_body
from longshore_api.limiting import Bodies

_MINUTE = timedelta(minutes=1)
_PATIENCE = 20.0


@pytest.fixture(scope="module")
def agreement(inside: Inside) -> str:
    return inside.agreement("acme")


# signed URLs


def test_a_line_feed_in_a_key_takes_no_member_out_of_a_signed_url(
    inside: Inside, client: httpx2.Client
) -> None:
    asked = {"workflow": "copy", "inputs": {"text": {"text": "mine"}}}
    job_id = client.post("/v1/jobs", json=asked).json()["id"]
    assert finished(client, job_id)["state"] == "SUCCEEDED"
    url = client.get(f"/v1/jobs/{job_id}/outputs/copy").headers["location"]
    plain, _, query = url.partition("?")
    first, _, signature = query.partition("&")

    answer = inside.client().get(f"{plain}%0A{first.replace('=', '%3D')}?{signature}")

    assert answer.status_code == 403
    assert answer.json()["reason"] == "signature"


# tokens


@pytest.mark.parametrize("path", ["events", "logs?follow=true"])
@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_stream_ends_with_the_token_that_opened_it(
    inside: Inside,
    agreement: str,
    gated: Callable[[], tuple[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    end: str,
) -> None:
    monkeypatch.setattr(streaming, "LOOK_AT_TOKEN", 0.05)
    access = inside.provider.access
    token = inside.token(agreement, expires_at=inside.clock.now() + _MINUTE)
    job_id, gate = gated()

    async def revoke() -> None:
        caller = await access.authenticate(token)
        await access.revoke_token(agreement, caller.token, by="test")

    headers = {"accept": "text/event-stream"}
    target = f"/v1/jobs/{job_id}/{path}"
    with (
        ThreadPoolExecutor(1) as pool,
        inside.client(token).stream("GET", target, headers=headers) as answer,
    ):
        chunks = answer.iter_bytes()
        assert next(chunks)
        rest = pool.submit(list, chunks)
        try:
            if end == "revoked":
                inside.call(revoke)
            else:
                inside.clock.ahead = _MINUTE
            assert b"over" not in b"".join(rest.result(_PATIENCE))
        finally:
            inside.clock.ahead = timedelta()
            gate.touch()


def test_a_token_that_may_not_send_data_is_shown_no_way_to_send_it(
    inside: Inside, agreement: str
) -> None:
    token = inside.token(agreement, scopes=["jobs:read", "jobs:write"])

    assert submitted(inside.client(token))["uploads"] == {}
    assert submitted(inside.client(inside.token(agreement)))["uploads"].keys() == {"text"}


def test_a_token_that_may_not_send_data_sends_none_with_its_request(
    inside: Inside, agreement: str
) -> None:
    client = inside.client(inside.token(agreement, scopes=["jobs:read", "jobs:write"]))
    asked = {"workflow": "copy", "inputs": {"text": {"text": "mine"}}}

    for target in ("/v1/jobs", "/v1/jobs?framework=1"):
        answer = client.post(target, json=asked)
        assert (answer.status_code, answer.json()["reason"]) == (403, "wrong-scope")


def test_the_event_of_a_purge_says_whose_wish_it_was(
    inside: Inside, agreement: str, client: httpx2.Client
) -> None:
    owner = inside.client(inside.token(agreement))
    token = inside.call(inside.provider.access.tokens, agreement)[0].id
    job_id = submitted(owner)["id"]
    owner.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    owner.delete(f"/v1/jobs/{job_id}").raise_for_status()

    *_, last = inside.call(inside.provider.host.store.events, job_id)

    assert (last.type, last.data["by"]) == ("BytesPurged", token)


_EDGES = ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00")


@pytest.mark.parametrize("at", _EDGES)
def test_a_time_that_utc_does_not_have_is_a_mistake(
    inside: Inside, agreement: str, at: str
) -> None:
    client = inside.admin()
    given = {"tenant": "acme", "workflows": ["copy"]}
    for target, body in (
        ("/v1/agreements", {**given, "validFrom": at}),
        ("/v1/agreements", {**given, "validUntil": at}),
        (f"/v1/agreements/{agreement}/tokens", {"expiresAt": at}),
    ):
        answer = client.post(target, json=body)
        assert answer.status_code == 422, answer.text
        assert len(answer.json()["errors"]) == 1


# bodies


def test_a_body_in_many_small_pieces_costs_what_its_size_costs() -> None:
    pieces = 64 * 1024

    async def read() -> tuple[int, float]:
        left = pieces

        async def receive() -> Mapping[str, Any]:
            nonlocal left
            left -= 1
            return {"type": "http.request", "body": b"x" * 64, "more_body": left > 0}

        began = time.perf_counter()
        body = await read_body(receive, 64 * pieces, None, nullcontext)
        return len(body), time.perf_counter() - began

    size, seconds = anyio.run(read)

    assert size == 64 * pieces
    assert seconds < 2, "each piece is copied once, and not with all that came before"


def test_bodies_that_come_slowly_are_counted_for_their_token(
    inside: Inside, agreement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each lies in memory until it is whole, and nobody's place at work bounds how many."""
    monkeypatch.setattr(inside.provider, "bodies", Bodies(each=2, together=3))
    token, other = (inside.token(agreement) for _ in range(2))

    def begin(token: str, path: str = "/v1/jobs") -> Connection:
        connection = inside.connect()
        lines = [f"POST {path} HTTP/1.1", "host: x", f"authorization: Bearer {token}"]
        lines += ["content-type: application/json", "content-length: 20000", "", '{"workflow":']
        connection.send("\r\n".join(lines).encode())
        return connection

    def begun(count: int) -> None:
        until(lambda: inside.provider.bodies.open == count, f"{count} bodies to come")

    slow = [begin(token), begin(token, "/v1/jobs?framework=1")]
    begun(2)
    third = begin(token).answer()
    assert (third.status, third.headers["retry-after"]) == (429, "5")
    slow.append(begin(other))
    begun(3)
    assert begin(other).answer().status == 503
    assert submitted(inside.client(token))["state"] == "CREATED", "what comes at once is taken"

    for connection in slow:
        connection.close()
    begun(0)
