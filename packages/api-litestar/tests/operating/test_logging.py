"""The provider's log: one event per line, whatever a consumer sends."""

import io
import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest

from longshore.settings import LogForm
from longshore_api import logging_setup
from longshore_api.logging_setup import REQUEST_ID, logging_to, make_handler, set_up

Read = Callable[[], list[dict[str, object]]]
_log = logging.getLogger("longshore.test")


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def read(stream: io.StringIO) -> Iterator[Read]:
    """Take the log over; return what reads its events."""
    with logging_to(LogForm.JSON, stream):
        set_up(LogForm.JSON, stream)
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json(read: Read) -> None:
    _log.warning("job %s waits", "j1", extra={"backend": "local"})

    (event,) = read()
    assert list(event)[:4] == ["timestamp", "level", "logger", "event"]
    assert (event["level"], event["logger"], event["event"]) == (
        "warning",
        "longshore.test",
        "job j1 waits",
    )
    assert event["backend"] == "local"
    assert str(event["timestamp"]).endswith("Z")


def test_an_exception_is_one_line_without_its_secrets(read: Read) -> None:
    try:
        raise ValueError("password=hunter2\nforged")  # noqa: TRY301 - as a stranger's code does
    except ValueError:
        _log.exception("cannot %s", "look")

    (event,) = read()
    assert "ValueError" in str(event["exception"])
    assert "hunter2" not in str(event)


def test_the_request_of_an_event_is_named(read: Read) -> None:
    token = REQUEST_ID.set(b"r-1")
    _log.info("inside")
    REQUEST_ID.reset(token)
    _log.info("outside")

    inside, outside = read()
    assert inside["request_id"] == "r-1"
    assert "request_id" not in outside


def test_what_nobody_catches_is_an_event_too(read: Read) -> None:
    def fail() -> None:
        raise RuntimeError("in a thread")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)

    uncaught, warning = read()
    assert (uncaught["event"], uncaught["level"]) == ("uncaught exception", "critical")
    assert warning["logger"] == "py.warnings"


def test_a_record_that_cannot_be_rendered_is_told_in_one_line(stream: io.StringIO) -> None:
    record = logging.makeLogRecord({"name": "x", "msg": "%d jobs", "args": ("no number",)})
    make_handler(LogForm.JSON, stream).handle(record)

    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "an event cannot be rendered"


def test_what_is_said_before_the_log_is_set_up_is_not_lost(stream: io.StringIO) -> None:
    with logging_to(LogForm.JSON, stream):
        _log.warning("early")
        assert not stream.getvalue()
        set_up(LogForm.JSON, stream)
        assert json.loads(stream.getvalue())["event"] == "early"


def test_a_start_that_fails_tells_what_has_waited(stream: io.StringIO) -> None:
    before = list(logging.getLogger().handlers)
    with logging_to(LogForm.JSON, stream):
        _log.error("early")

    assert json.loads(stream.getvalue())["event"] == "early"
    assert logging.getLogger().handlers == before


def test_a_terminal_gets_lines_for_people(stream: io.StringIO) -> None:
    record = logging.makeLogRecord(
        {
            "name": "longshore.test",
            "levelname": "INFO",
            "msg": "plain\x1b[2J\nforged",
            "job": "a\rb",
        }
    )
    make_handler(LogForm.CONSOLE, stream).handle(record)

    (line,) = stream.getvalue().splitlines()
    assert "plain\\x1b[2J\\nforged" in line
    assert "a\\x0db" in line


def test_a_terminal_shows_a_traceback_indented(stream: io.StringIO) -> None:
    try:
        raise ValueError("one\ntimestamp level forged")  # noqa: TRY301 - as above
    except ValueError as exc:
        record = logging.makeLogRecord(
            {"name": "x", "levelname": "ERROR", "msg": "no", "exc_info": (type(exc), exc, None)}
        )
    make_handler(LogForm.CONSOLE, stream).handle(record)

    first, *more = stream.getvalue().splitlines()
    assert "no" in first
    assert all(line.startswith("    ") or not line for line in more[1:])


def test_automatic_is_json_where_there_is_no_terminal(stream: io.StringIO) -> None:
    assert not logging_setup.is_console(LogForm.AUTO, stream)
    assert logging_setup.is_console(LogForm.CONSOLE, stream)
