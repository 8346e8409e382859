"""What the command shows: tables, details, JSON, bars; plain when nobody looks at a terminal.

What providers and workers say is not trusted: on a terminal its control characters are shown, not
obeyed. Rich is imported when a table or a bar is drawn on a terminal, and not before.
"""

import codecs
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any, TextIO

import click

from longshore_client.session import Advance, Json

TABLE, JSON = "table", "json"
_COLORS: Mapping[str, str] = {"SUCCEEDED": "green", "FAILED": "red", "CANCELED": "yellow"}

_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x2028, 0x2029)
_C0 = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F) if chr(code) not in "\n\t"}
_VISIBLE = _C0 | {code: f"\\u{code:04x}" for code in (*range(0x80, 0xA0), *_BIDI)}


def visible(text: str) -> str:
    """Return ``text`` with control characters but newline and tab written out."""
    return text.replace("\r\n", "\n").translate(_VISIBLE)


def is_terminal(stream: IO[Any]) -> bool:
    """Say whether a person looks at ``stream``."""
    return stream.isatty()


def has_color(stream: IO[Any]) -> bool:
    """Say whether ``stream`` may be coloured: a terminal, and no ``NO_COLOR``."""
    return (
        is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def say(text: str, color: str | None = None) -> None:
    """Write a line to standard error."""
    shown = visible(text) if is_terminal(sys.stderr) else text
    if color and has_color(sys.stderr):
        shown = click.style(shown, fg=color)
    click.echo(shown, err=True, color=has_color(sys.stderr))


def footer(*commands: str) -> None:
    """Write useful next commands to standard error, where a person reads both streams."""
    if is_terminal(sys.stdout) and is_terminal(sys.stderr):
        say("\nnext: " + "\n      ".join(commands))


def state_color(state: str) -> str | None:
    """Return the colour of a state, where it has one."""
    return _COLORS.get(state)


def emit_json(value: Any) -> None:
    """Write ``value`` as one JSON document."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo(visible(text) if is_terminal(sys.stdout) else text)


def emit_text(text: str) -> None:
    """Write a line."""
    click.echo(visible(text) if is_terminal(sys.stdout) else text)


def emit_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write ``rows`` below ``columns``: drawn on a terminal, aligned text elsewhere."""
    cells = [["" if cell is None else visible(str(cell)) for cell in row] for row in rows]
    if is_terminal(sys.stdout):
        _draw(columns, cells)
        return
    lines = [list(columns), *([cell.replace("\n", " ") for cell in row] for row in cells)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - 40 ms, only when a table is drawn
    from rich.table import Table  # noqa: PLC0415 - same
    from rich.text import Text  # noqa: PLC0415 - same

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "ID")
    for row in rows:
        table.add_row(*(Text(cell, style=_COLORS.get(cell, "")) for cell in row))
    Console(highlight=False, no_color=not has_color(sys.stdout)).print(table)


def emit_details(pairs: Sequence[tuple[str, Any]]) -> None:
    """Write one ``name: value`` per line, without those that have no value."""
    shown = [(name, str(value)) for name, value in pairs if value not in (None, "")]
    width = max((len(name) for name, _ in shown), default=0) + 1
    for name, value in shown:
        text = visible(value) if is_terminal(sys.stdout) else value
        text = text.replace("\n", "\n" + " " * (width + 1))
        color = _COLORS.get(value) if has_color(sys.stdout) else None
        click.echo(f"{name + ':':<{width}} {click.style(text, fg=color) if color else text}")


class LogWriter:
    """Writes a worker's log: the very bytes where it is piped, made harmless on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        self._held = ""
        self._at_line_start = True

    def write(self, chunk: bytes) -> None:
        """Write and flush ``chunk``."""
        if not chunk:
            return
        self._at_line_start = chunk.endswith(b"\n")
        if not is_terminal(self._stream):
            self._stream.buffer.write(chunk)
            self._stream.buffer.flush()
            return
        text = self._held + self._decode(chunk)
        # a line's end may be cut in two: its first half waits for the next chunk
        self._held = "\r" if text.endswith("\r") else ""
        self._write(text[: len(text) - len(self._held)])

    def _write(self, text: str) -> None:
        self._stream.write(visible(text))
        self._stream.flush()

    def break_line(self) -> None:
        """Make sure that other words on the same terminal begin a line of their own."""
        if not self._at_line_start and is_terminal(self._stream):
            self._write("\n")
            self._at_line_start = True

    def finish(self) -> None:
        """Write what waited for a chunk that does not come, and end the line."""
        if is_terminal(self._stream):
            self._write(self._held + self._decode(b"", final=True))
            self._held = ""
        self.break_line()


@contextmanager
def bar(label: str, total: int | None) -> Iterator[Advance]:
    """Give a function to call with bytes carried; drawn where standard error is a terminal."""
    if not is_terminal(sys.stderr):
        yield lambda _: None
        return
    from rich import progress  # noqa: PLC0415 - 50 ms, only when a bar is drawn
    from rich.console import Console  # noqa: PLC0415 - same
    from rich.markup import escape  # noqa: PLC0415 - same

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    console = Console(stderr=True, no_color=not has_color(sys.stderr))
    with progress.Progress(*columns, console=console) as shown:
        task = shown.add_task(escape(visible(label)), total=total)
        yield lambda count: shown.advance(task, count)


def size(count: Any) -> str:
    """Return a number of bytes as people read it."""
    if not isinstance(count, int | float):
        return ""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:  # noqa: PLR2004 - what the units mean
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def duration(job: Json) -> str:
    """Return how long the job ran, or runs."""
    started = _time(job.get("startedAt"))
    if started is None:
        return ""
    seconds = ((_time(job.get("finishedAt")) or datetime.now(UTC)) - started).total_seconds()
    return span(max(seconds, 0.0))


def span(seconds: float) -> str:
    """Return a length of time as people read it."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def moment(text: Any) -> str:
    """Return a time of the wire in the person's own zone."""
    at = _time(text)
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""
