"""The provider's log: one event per line on standard error, as JSON or for a person's eyes.

Whatever a consumer sends stands in a field, with its control characters escaped, so that no text
can be taken for an event. structlog renders; it takes a while to import, so until ``set_up`` what
is said waits.
"""

import contextlib
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from longshore.settings import LogForm
from longshore_api.redaction import redact, redact_text
from longshore_api.sparing import SPARING

if TYPE_CHECKING:
    from structlog.typing import EventDict

#: of the request that this task works on
REQUEST_ID: ContextVar[bytes] = ContextVar("longshore_request_id", default=b"")
#: loggers of ours, and how much of the others is told
_LEVELS = {
    "": logging.WARNING,
    "longshore": logging.INFO,
    "uvicorn.error": logging.ERROR,  # below, strangers could fill the log with bad requests
}
_MOST_WAITING = 1000
#: what moves a terminal's cursor, or turns the direction of a text
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class _Waiting(logging.Handler):
    """Keeps what is said until somebody can render it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.records) < _MOST_WAITING:
            self.records.append(record)


class _Stream(logging.StreamHandler[TextIO]):
    """Writes a line; where that fails, it says so in one line and not in a traceback's many."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        with contextlib.suppress(Exception):
            lost = {"level": "error", "logger": record.name, "event": "an event cannot be rendered"}
            self.stream.write(f"{json.dumps(lost)}\n")


def is_console(form: LogForm, stream: TextIO | None = None) -> bool:
    """Say whether the log is for a person: where nothing else is said, on a terminal."""
    return form is LogForm.CONSOLE or (form is LogForm.AUTO and (stream or sys.stderr).isatty())


@contextlib.contextmanager
def logging_to(form: LogForm, stream: TextIO | None = None) -> Iterator[None]:
    """Take over the process's log; at the end tell what still waits, and give it back."""
    root = logging.getLogger()
    before = list(root.handlers), {name: logging.getLogger(name).level for name in _LEVELS}
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    root.handlers = [_Waiting()]
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = lambda *error: _uncaught(error)
    threading.excepthook = lambda it: _uncaught((it.exc_type, it.exc_value, it.exc_traceback))
    sys.unraisablehook = lambda it: _uncaught((it.exc_type, it.exc_value, it.exc_traceback))
    try:
        with SPARING.installed():
            yield
    finally:
        if isinstance(root.handlers[0], _Waiting) and root.handlers[0].records:
            set_up(form, stream)
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        logging.captureWarnings(False)
        root.handlers = before[0]
        for name, level in before[1].items():
            logging.getLogger(name).setLevel(level)


def set_up(form: LogForm, stream: TextIO | None = None) -> None:
    """Render from now on, and first what has waited. Takes 0.2 s: call it in a thread."""
    handler = make_handler(form, stream)
    root = logging.getLogger()
    waiting = [one for one in root.handlers if isinstance(one, _Waiting)]
    root.handlers = [one for one in root.handlers if one not in waiting] + [handler]
    for one in waiting:
        for record in one.records:
            handler.handle(record)


def make_handler(form: LogForm, stream: TextIO | None = None) -> logging.Handler:
    """Return what renders every record in ``form``."""
    import structlog  # noqa: PLC0415 - it takes 0.2 s

    stream = stream or sys.stderr
    handler = _Stream(stream)
    chain: list[Any] = [
        _take_over,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.ExceptionRenderer(),
        _redact,
    ]
    if is_console(form, stream):
        colors = handler.stream.isatty() and not os.environ.get("NO_COLOR")
        renderer = structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback
        )
        chain += [_escape, renderer]
    else:
        chain.append(structlog.processors.JSONRenderer(ensure_ascii=True))
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=chain))
    return handler


def _take_over(_logger: object, _method: str, event: "EventDict") -> "EventDict":
    """Return an event of the standard library's with our fields, the same ones first."""
    record: logging.LogRecord = event["_record"]
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
    taken: MutableMapping[str, Any] = {
        "timestamp": at.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": event.pop("event"),
    }
    if request_id := REQUEST_ID.get():
        taken["request_id"] = request_id.decode("latin-1")
    extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return {**taken, **extra, **event}


def _redact(_logger: object, _method: str, event: "EventDict") -> "EventDict":
    return {str(key): redact(value, str(key)) for key, value in event.items()}


def _escape(_logger: object, _method: str, event: "EventDict") -> "EventDict":
    """Return an event that a terminal shows as text; lines of a traceback stay lines, indented."""
    return {
        key: _visible(value, "\n    " if key == "exception" else "\\n")
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


def _visible(text: str, line_end: str) -> str:
    return line_end.join(
        _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", line) for line in text.split("\n")
    )


def _uncaught(error: Any) -> None:
    if error[0] is not None and issubclass(error[0], KeyboardInterrupt):
        return
    logging.getLogger("longshore").critical("uncaught exception", exc_info=error)


__all__ = ["REQUEST_ID", "is_console", "logging_to", "make_handler", "redact_text", "set_up"]
