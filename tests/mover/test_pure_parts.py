"""What a mover decides without moving anything."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from longshore.errors import IsolationUnavailable, StorageUnavailable
from longshore_mover import closing, memory
from longshore_mover.answers import LONGEST_WAIT, Then, code_of, meaning, seconds_to_wait
from longshore_mover.memory import Memory
from longshore_mover.patience import Patience
from longshore_mover.progress import Progress


@pytest.mark.parametrize(
    ("status", "code", "then"),
    [
        (200, "", Then.DONE),
        (206, "NoSuchKey", Then.DONE),
        (400, "", Then.REFUSED),
        (400, "BadDigest", Then.AGAIN),
        (400, "ExpiredToken", Then.RENEW),
        (400, "EntityTooLarge", Then.TOO_LARGE),
        (403, "AccessDenied", Then.RENEW),
        (404, "NoSuchUpload", Then.GONE),
        (412, "PreconditionFailed", Then.CHANGED),
        (416, "InvalidRange", Then.CHANGED),
        (503, "SlowDown", Then.AGAIN),
        (599, "", Then.AGAIN),
        (302, "", Then.REFUSED),
        (700, "", Then.REFUSED),
    ],
)
def test_every_answer_has_a_meaning(status: int, code: str, then: Then) -> None:
    assert meaning(status, code) is then


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<?xml?><Error><Code>SlowDown</Code></Error>", "SlowDown"),
        (b"<html>busy</html>", ""),
        (b"<Code>\xff</Code>", ""),
        (b"", ""),
    ],
)
def test_the_code_of_an_error_is_found(body: bytes, code: str) -> None:
    assert code_of(body) == code


def test_what_a_server_wants_to_be_waited_is_bounded() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=100)
    assert seconds_to_wait("7") == 7
    assert 90 < seconds_to_wait(format_datetime(soon, usegmt=True)) <= 100
    assert seconds_to_wait("86400") == LONGEST_WAIT
    assert [seconds_to_wait(text) for text in (None, "", "-5", "soon", "nan")] == [0, 0, 0, 0, 0]


class Time:
    def __init__(self) -> None:
        self.now = 0.0
        self.waited: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


def patience(time: Time, outage: float = 60) -> Patience:
    return Patience(outage, now=lambda: time.now, draw=lambda: 1.0, wait=time.wait)


class TestPatience:
    def test_pauses_grow_up_to_a_bound_and_end_with_the_allowance(self, time: Time) -> None:
        with pytest.raises(StorageUnavailable, match="busy; tried again for 60 s"):
            self.exhaust(patience(time))
        assert time.waited[:4] == [0.1, 0.2, 0.4, 0.8]
        assert max(time.waited) == 15
        assert time.now == pytest.approx(60)

    @staticmethod
    def exhaust(tried: Patience) -> None:
        for number in range(1, 100):
            tried.again("busy", number)

    def test_a_byte_that_moves_begins_the_allowance_anew(self, time: Time) -> None:
        tried = patience(time)
        for _ in range(10):
            tried.again("busy", 8)
            tried.moved(1)
        assert time.now > 60

    def test_the_server_is_not_asked_before_it_wants_to_be(self, time: Time) -> None:
        patience(time).again("busy", 1, after=30)
        assert time.waited == [30]

    def test_nothing_is_waited_beyond_the_end(self, time: Time) -> None:
        tried = patience(time)
        tried.end_by(5)
        with pytest.raises(StorageUnavailable, match="no more time"):
            tried.again("busy", 1, after=30)
        assert time.waited == [5]


def test_progress_is_said_about_once_a_second_and_at_the_end(time: Time) -> None:
    stream = io.StringIO()
    progress = Progress(stream, now=lambda: time.now)
    progress.begin("stage-out", "it")
    for done in range(101):
        time.now += 0.05
        progress.report(done, 100)
    progress.report(100, 100)
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert 5 <= len(said) <= 7
    assert [line["done"] for line in said][-1] == 100
    assert {tuple(line)[1:] for line in said} == {("what", "name", "done", "total")}


def test_what_must_not_be_forgotten_is_remembered(tmp_path: Path) -> None:
    assert memory.recall(tmp_path / "new") == Memory()
    known = Memory(staged=True, go=True, answered=((2, "127.0.0.1", 80),))
    memory.remember(tmp_path / "new", known)
    assert memory.recall(tmp_path / "new") == known


class TestClosing:
    @pytest.fixture
    def answers(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[bool]], None]:
        def script(given: list[bool]) -> None:
            left = iter(given)
            monkeypatch.setattr(closing, "answers", lambda _: next(left))

        return script

    @staticmethod
    def wait(time: Time, seconds: float = 10) -> None:
        one: Any = [(2, "h", 1)]
        closing.wait_until_closed(one, seconds, now=lambda: time.now, sleep=time.wait)

    def test_three_failures_in_a_row_are_needed(
        self, time: Time, answers: Callable[[list[bool]], None]
    ) -> None:
        answers([True, False, False, True, False, False, False])
        self.wait(time)
        assert len(time.waited) == 6

    def test_one_failure_would_have_taken_a_lost_packet_for_a_closed_network(
        self, time: Time, answers: Callable[[list[bool]], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(closing, "FAILURES", 1)
        answers([True, False])  # and it would have answered again
        self.wait(time)

    def test_a_network_that_stays_open_is_said(
        self, time: Time, answers: Callable[[list[bool]], None]
    ) -> None:
        answers([True] * 100)
        with pytest.raises(IsolationUnavailable, match="h:1 answers"):
            self.wait(time)
        assert time.now >= 10
