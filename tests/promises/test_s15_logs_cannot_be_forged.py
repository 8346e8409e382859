"""S15: whatever anybody sends, an event is one line, and the line is what happened."""

import io
import json
import logging
import re
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from longshore.errors import StorageUnavailable
from longshore.settings import LogForm
from longshore_api import logging_setup
from longshore_api.gate import Gate
from longshore_api.limiting import Crowd
from longshore_api.logging_setup import logging_to, make_handler, set_up
from longshore_api.metrics import Tally
from longshore_api.redaction import redact_text
from longshore_api.urls import PublicUrl

#: what moves a cursor, ends a line, or turns the direction of a text
_RAW = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FORGED = '\n{"level": "info", "event": "job j1 SUCCEEDED"}\r\n\x1b[2K2026-06-17 [info] all is well'
any_text = st.text() | st.sampled_from([_FORGED, "\x9b2J", "a\u2028b", "\ud800", "%s %d {} \\n"])
examples = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rendered(form: LogForm, text: str, **extra: object) -> str:
    """Return what the log says of one event that holds ``text`` everywhere."""
    stream = io.StringIO()
    handler = make_handler(form, stream)
    try:
        raise ValueError(text)  # noqa: TRY301 - a real traceback
    except ValueError as exc:
        error = (type(exc), exc, exc.__traceback__)
    record = logging.makeLogRecord({
        "name": "longshore.test",
        "levelname": "WARNING",
        "msg": "said: %s",
        "args": (text,),
        "said": text,
        "nested": {"said": [text]},
        "exc_info": error if form is LogForm.JSON else None,
        **extra,
    })  # fmt: skip
    handler.handle(record)
    return stream.getvalue()


def check_one_line(written: str) -> str:
    """Return the one line that was written; fail where there are more, or where it is not text."""
    assert written.endswith("\n")
    line = written[:-1]
    assert "\n" not in line
    assert not _RAW.search(line)
    return line


def check_json(written: str) -> dict[str, Any]:
    """Return the one event that was written."""
    event = json.loads(check_one_line(written))
    assert isinstance(event, dict)
    return event


@examples
@given(any_text)
def test_any_text_is_one_field_of_one_line(text: str) -> None:
    event = check_json(rendered(LogForm.JSON, text))

    assert event["said"] == event["nested"]["said"][0] == redact_text(text)
    assert event["level"] == "warning"
    assert event["logger"] == "longshore.test"


@examples
@given(any_text)
def test_a_person_on_a_terminal_sees_one_line_too(text: str) -> None:
    check_one_line(rendered(LogForm.CONSOLE, text))


@examples
@given(any_text, st.sampled_from([RuntimeError, StorageUnavailable]))
def test_a_request_that_fails_is_one_event(text: str, kind: type[Exception]) -> None:
    stream = io.StringIO()
    path = f"/docs/{text}"

    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise kind(text)

    async def ask() -> None:
        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "state": {}}
        provider = SimpleNamespace(url=PublicUrl("http://x", ""), tally=Tally(), crowd=Crowd(1))
        await Gate(fail, provider)(scope, _nothing, _ignore)  # type: ignore[arg-type]  # all that a gate needs here

    with logging_to(LogForm.JSON, stream):
        set_up(LogForm.JSON, stream)
        anyio.run(ask)

    event = check_json(stream.getvalue())
    assert event["event"] == "a request cannot be answered"
    assert event["path"] == redact_text(path)
    assert event["request_id"]


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def _ignore(message: Any) -> None:
    del message


@pytest.mark.parametrize("form", [LogForm.JSON, LogForm.CONSOLE])
def test_without_the_renderer_an_event_could_be_forged(
    form: LogForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: what the standard library writes is not one line."""
    monkeypatch.setattr(
        logging_setup, "make_handler", lambda _form, stream: logging.StreamHandler(stream)
    )
    monkeypatch.setitem(globals(), "make_handler", logging_setup.make_handler)

    with pytest.raises(AssertionError):
        check_one_line(rendered(form, _FORGED))


def test_without_escaping_a_terminal_would_be_fooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control for the terminal's form."""
    monkeypatch.setattr(logging_setup, "_visible", lambda text, _: text)

    with pytest.raises(AssertionError):
        check_one_line(rendered(LogForm.CONSOLE, _FORGED))
