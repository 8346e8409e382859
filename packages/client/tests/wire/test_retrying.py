"""What is sent again and what is not; pauses, patience, and what is said at the end."""

from collections.abc import Callable
from typing import Any

import anyio
import httpx2
import pytest

from longshore_client import LongshoreClient, LongshoreError, RequestError, Retry, RetryError
from longshore_client.errors import Broken, GatewayFailed, Unreachable
from longshore_client.retrying import Trial

JOB = {"id": "j1", "workflow": "w", "state": "CREATED"}
AGREEMENT = {"id": "a1", "tenant": "acme", "workflows": ["w"]}
Answer = httpx2.Response | Exception


class Script:
    """Answers with one thing after another, the last one for ever, and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[httpx2.Request] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)


def answer(status: int, body: Any = None, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json=body, headers=named)


def ask(script: Script, call: Callable[[LongshoreClient], Any], retry: Retry) -> Any:
    async def run() -> Any:
        transport = httpx2.MockTransport(script)
        async with LongshoreClient("http://server", "t", retry=retry, transport=transport) as it:
            return await call(it)

    return anyio.run(run)


def submit(client: LongshoreClient) -> Any:
    return client.submit({"workflow": "w"})


def agree(client: LongshoreClient) -> Any:
    return client.agreements.create("acme", ["w"])


LOST = httpx2.ReadError("reset")
REFUSED = httpx2.ConnectError("refused")


@pytest.mark.parametrize(
    ("call", "failure", "good"),
    [
        (submit, LOST, answer(201, JOB)),
        (submit, httpx2.ReadTimeout("late"), answer(200, JOB)),
        (submit, httpx2.RemoteProtocolError("cut"), answer(200, JOB)),
        (submit, answer(502), answer(201, JOB)),
        (submit, answer(504), answer(201, JOB)),
        (submit, answer(429, Retry_After="1"), answer(201, JOB)),
        (lambda it: it.job("j1"), LOST, answer(200, JOB)),
        (lambda it: it.me(), answer(503), answer(200, {"tenant": "a", "role": "consumer"})),
        (agree, REFUSED, answer(201, AGREEMENT)),
        (agree, httpx2.ConnectTimeout("slow"), answer(201, AGREEMENT)),
        (agree, answer(503, Retry_After="1"), answer(201, AGREEMENT)),
        (agree, answer(429), answer(201, AGREEMENT)),
    ],
)
def test_what_may_be_sent_again_is(call: Any, failure: Answer, good: Answer, clock: Any) -> None:
    script = Script(failure, good)
    ask(script, call, clock.retry())
    assert len(script.requests) == 2
    assert len(clock.pauses) == 1


@pytest.mark.parametrize(
    ("call", "failure", "error"),
    [
        (agree, LOST, Broken),
        (agree, httpx2.ReadTimeout("late"), Broken),
        (agree, answer(502), GatewayFailed),
        (lambda it: it.agreements.issue_token("a1"), answer(504), GatewayFailed),
        (submit, answer(500), LongshoreError),
        (submit, answer(422, {"code": "invalid", "detail": "no"}), RequestError),
        (submit, answer(401), RequestError),
        (lambda it: it.me(), answer(404), RequestError),
    ],
)
def test_what_may_not_be_sent_again_is_not(
    call: Any, failure: Answer, error: type[Exception], clock: Any
) -> None:
    script = Script(failure)
    with pytest.raises(error):
        ask(script, call, clock.retry())
    assert len(script.requests) == 1
    assert clock.pauses == []


def test_a_repeated_submission_has_the_same_key_and_two_submissions_have_two(clock: Any) -> None:
    script = Script(LOST, LOST, answer(201, JOB))
    ask(script, submit, clock.retry())
    ask(script, submit, clock.retry())
    keys = [request.headers["idempotency-key"] for request in script.requests]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_pauses_grow_are_spread_and_are_never_shorter_than_the_server_asks(clock: Any) -> None:
    busy = [answer(503)] * 7 + [answer(503, Retry_After="5")]
    ask(Script(*busy, answer(201, JOB)), submit, clock.retry(patience=100.0))
    assert clock.pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 15.0]


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 0.2), (0.5, 0.15), (0.999999, 0.1)])
def test_chance_takes_up_to_half_of_a_pause(clock: Any, chance: float, pause: float) -> None:
    retry = Retry(sleep=clock.sleep, clock=lambda: clock.now, chance=lambda: chance)
    anyio.run(Trial(retry).pause, RetryError("busy"))
    assert clock.pauses == [pytest.approx(pause, abs=1e-6)]


def test_after_the_patience_the_last_error_says_how_often_it_was_tried(clock: Any) -> None:
    script = Script(answer(200, JOB), answer(503, {"detail": "the store is gone"}))

    async def twice(client: LongshoreClient) -> None:
        await (await client.job("j1")).refresh()

    with pytest.raises(
        RetryError, match=r"the store is gone \(tried 11 times in \d+ s\)"
    ) as caught:
        ask(script, twice, clock.retry())
    assert caught.value.tries == len(script.requests) - 1 == 11
    assert clock.now <= 60


def test_a_server_that_never_answered_is_given_up_soon(clock: Any) -> None:
    with pytest.raises(Unreachable, match="tried"):
        ask(Script(REFUSED), lambda it: it.me(), clock.retry())
    assert clock.now <= 3


def test_who_shall_come_back_after_the_patience_is_told_at_once(clock: Any) -> None:
    with pytest.raises(RetryError) as caught:
        ask(Script(answer(429, Retry_After="3600")), lambda it: it.me(), clock.retry())
    assert caught.value.retry_after == 3600
    assert clock.pauses == []


def test_progress_makes_the_next_failure_a_first_one(clock: Any) -> None:
    async def run() -> None:
        trial = Trial(clock.retry())
        for _ in range(100):
            await trial.pause(RetryError("broken"))
            trial.progressed()

    anyio.run(run)
    assert set(clock.pauses) == {0.2}
