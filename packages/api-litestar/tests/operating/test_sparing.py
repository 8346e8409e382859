"""Callers cannot fill the log: what they bring about is written some times, and counted."""

import logging
from collections.abc import Iterator

import httpx2
import pytest
from tests.serving import Service

from longshore_api import sparing
from longshore_api.sparing import LOGGERS, MOST, WINDOW, Sparing

_access = logging.getLogger(LOGGERS[0])
_REFUSED = "refused: a token that is not known"


class Told(logging.Handler):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def of(self, text: str) -> list[logging.LogRecord]:
        return [one for one in self.records if one.msg == text]


class Time:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def spare(time: Time) -> Sparing:
    return Sparing(time)


@pytest.fixture
def told(spare: Sparing, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    told = Told()
    loggers = {logger: logger.level for logger in map(logging.getLogger, LOGGERS)}
    for logger in loggers:
        logger.setLevel(logging.INFO)  # forgets what it has found out about levels before
        monkeypatch.setattr(logger, "handlers", [told])
    with spare.installed():
        yield told
    for logger, level in loggers.items():
        logger.setLevel(level)


def flood(number: int = 10 * MOST) -> None:
    for _ in range(number):
        _access.info(_REFUSED)


def left_out(told: Told) -> list[tuple[object, object]]:
    return [
        (vars(one)["of"], vars(one)["left_out"]) for one in told.of("more of the same was left out")
    ]


def test_of_a_flood_some_are_written_and_the_rest_is_counted_when_the_window_is_over(
    told: Told, time: Time, spare: Sparing
) -> None:
    flood()
    spare.tell()
    assert (len(told.of(_REFUSED)), left_out(told)) == (MOST, [])

    time.at = WINDOW
    spare.tell()
    assert left_out(told) == [(_REFUSED, 9 * MOST)]

    flood()
    assert len(told.of(_REFUSED)) == 2 * MOST


def test_a_flood_of_one_kind_hides_no_other(told: Told) -> None:
    flood()
    _access.info("refused: token %s of %s: %s", "1", "acme", "revoked")
    _access.warning(_REFUSED)
    logging.getLogger(LOGGERS[1]).info(_REFUSED)

    assert len(told.records) == MOST + 3


def test_the_next_event_tells_what_the_window_before_has_left_out(told: Told, time: Time) -> None:
    flood(MOST + 1)
    time.at = WINDOW + 1
    _access.info("something else")

    assert left_out(told) == [(_REFUSED, 1)]


def test_what_is_left_out_at_the_end_is_told_and_nothing_is_held_back_afterwards(
    spare: Sparing, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    monkeypatch.setattr(_access, "level", logging.INFO)
    monkeypatch.setattr(_access, "handlers", [told])
    with spare.installed():
        flood(MOST + 5)
    assert left_out(told) == [(_REFUSED, 5)]

    flood(2 * MOST)
    assert len(told.of(_REFUSED)) == 3 * MOST


def test_nothing_is_said_of_windows_in_which_all_was_written(
    told: Told, time: Time, spare: Sparing
) -> None:
    flood(MOST)
    time.at = WINDOW
    spare.tell()

    assert left_out(told) == []


def test_bad_tokens_do_not_fill_the_log_of_a_service_and_are_all_counted(
    service: Service, admin: httpx2.Client
) -> None:
    def refused() -> float:
        text = admin.get("/metrics").text
        lines = [
            line for line in text.splitlines() if line.startswith("longshore_http_requests_total{")
        ]
        return sum(float(line.rpartition(" ")[2]) for line in lines if 'status="4xx"' in line)

    before = refused()
    number = 3 * sparing.MOST
    with service.client("ls_" + "x" * 43) as client:
        codes = {client.get("/v1/me").status_code for _ in range(number)}

    assert codes == {401}
    assert refused() - before == number
    assert sum(one["event"] == _REFUSED for one in service.log()) <= 2 * sparing.MOST
