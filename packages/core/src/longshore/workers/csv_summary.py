"""Describe the columns of a CSV table, and draw one. Reads it row by row. Python 3.8 or later."""

from __future__ import annotations

import codecs
import csv
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import csv_plot

DELIMITERS = ",;\t|"
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})
LONGEST_LINE = 8 * 1024 * 1024
#: beyond so many different values of a column, or of all together, they are no longer told apart
DIFFERENT, ALL_DIFFERENT = 10_000, 500_000
COLUMNS = 2000
SHOWN = 100
BARS, BINS = 12, 24
#: up to here a number still has its halves
EXACT = 2.0**52
#: the squares of numbers between these are numbers, too
SMALLEST, LARGEST = 1e-150, 1e150
HEADER = ["name", "type", "count", "missing", "distinct", "min", "max", "mean", "std"]


class Column:
    """What is known of a column after some rows."""

    def __init__(self, name: str, different: int) -> None:
        self.name, self.different = name, different
        self.count = self.missing = self.numbers = self.whole = 0
        self.mean = self.squares = 0.0
        self.low, self.high = math.inf, -math.inf
        self.first = self.last = ""  # of the texts, by their order
        self.values: Counter[str] = Counter()
        self.overflow = False

    def add(self, text: str, comma: bool) -> None:  # noqa: FBT001 - called for every field
        """Take one field."""
        if text.lower() in MISSING:
            self.missing += 1
            return
        self.count += 1
        shown = text[:SHOWN]
        self.first = min(self.first, shown) if self.count > 1 else shown
        self.last = max(self.last, shown)
        if shown in self.values or len(self.values) < self.different:
            self.values[shown] += 1
        else:
            self.overflow = True
        value = number(text, comma)
        if value is None:
            return
        self.numbers += 1
        self.whole += value.is_integer()
        self.low, self.high = min(self.low, value), max(self.high, value)
        step = value - self.mean  # Welford: no sum of squares that loses digits
        self.mean += step / self.numbers
        self.squares += step * (value - self.mean)

    @property
    def numeric(self) -> bool:
        """Whether every value is a number."""
        return 0 < self.numbers == self.count

    def row(self) -> list[object]:
        """Return the row of the summary."""
        start = [self.name, self.kind(), self.count, self.missing, self.distinct()]
        if not self.numeric:
            return [*start, self.first, self.last, "", ""]
        deviation = math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0
        seen = [exact(one) for one in (self.low, self.high)]
        return [*start, *seen, f"{self.mean:.10g}", f"{deviation:.10g}"]

    def distinct(self) -> str:
        """Return how many different values there are."""
        return f">{self.different}" if self.overflow else f"{len(self.values)}"

    def bins(self) -> tuple[float, float, int]:
        """Return where a histogram begins, how wide its bins are, and how many it has."""
        span = self.high - self.low
        if self.whole == self.count and span < BINS and abs(self.low) < EXACT:
            return self.low - 0.5, 1.0, int(span) + 1  # a bin per number
        if not span:
            width = max(1.0, abs(self.low) * 1e-6)
            return self.low - width / 2, width, 1
        number = min(BINS, max(2, len(self.values)))
        return self.low, span / number, number

    def kind(self) -> str:
        """Return the type of the values."""
        if not self.count:
            return "empty"
        if not self.numeric:
            return "text"
        return "integer" if self.whole == self.count else "number"


def main(source: Path, summary: Path, plot: Path) -> None:
    """Describe ``source``; raise ValueError, OSError or csv.Error with what is wrong."""
    csv.field_size_limit(LONGEST_LINE)
    table = Table(source, os.environ.get("LS_PARAM_DELIMITER", ""))
    different = min(DIFFERENT, ALL_DIFFERENT // len(table.names))
    columns = [Column(name, different) for name in table.names]
    wanted = os.environ.get("LS_PARAM_COLUMN", "")
    if wanted and wanted not in table.names:
        raise ValueError(f"there is no column {wanted!r}; there are: {', '.join(table.names)}")
    uneven = 0
    for row in table.rows("describing"):
        uneven += len(row) != len(columns)
        for index, column in enumerate(columns):
            column.add(row[index].strip() if index < len(row) else "", table.comma)
    with summary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(column.row() for column in columns)
    for column in columns:
        print(f"{column.name}: {column.kind()}, {column.count} values, {column.missing} missing")
    if uneven:
        print(f"note: {uneven} rows have more or fewer fields than the header")
    plot.write_bytes(draw(table, columns, wanted))


def draw(table: Table, columns: list[Column], wanted: str) -> bytes:
    """Return the picture of the column that is wanted, or of the one that tells most."""
    numeric = [column for column in columns if column.numeric]
    named = [column for column in columns if column.name == wanted]
    column = (named or numeric or columns)[0]
    print(f"drawing column {column.name!r}")
    if not column.numeric:
        bars = column.values.most_common(BARS)
        note = f"{len(bars)} of {column.distinct()} values   missing = {column.missing}"
        return bytes(csv_plot.bars(f"{column.name}: most common values", note, bars))
    index = columns.index(column)
    low, width, count = column.bins()
    bins = [0] * count
    for row in table.rows("drawing"):
        value = number(row[index].strip(), table.comma) if index < len(row) else None
        if value is not None:
            bins[min(count - 1, int((value - low) / width))] += 1
    note = f"n = {column.count}   mean = {column.mean:.6g}   missing = {column.missing}"
    title = f"{column.name}: distribution"
    return bytes(csv_plot.histogram(title, note, low, width, bins))


class Table:
    """A CSV file: its encoding, delimiter and names, and its rows as often as needed."""

    def __init__(self, source: Path, delimiter: str) -> None:
        self.source, self.size = source, source.stat().st_size
        self.encoding = find_encoding(source)
        self.delimiter = delimiter or find_delimiter(self.lines())
        self.comma = self.delimiter != ","  # then 1,5 is a number
        header = next(csv.reader(self.lines(), delimiter=self.delimiter), [])
        if not any(name.strip() for name in header):
            raise ValueError("the table has no header: its first line is empty")
        if len(header) > COLUMNS:
            raise ValueError(f"the table has {len(header)} columns; at most {COLUMNS} are read")
        self.names = unique(header)
        print(f"{self.size} bytes of {self.encoding}, {len(header)} columns", flush=True)
        print(f"fields end with {self.delimiter!r}", flush=True)

    def lines(self, what: str = "") -> Iterator[str]:
        """Yield the lines without NUL, and print how far it is."""
        read = said = 0
        with self.source.open(encoding=self.encoding, errors="replace", newline="") as file:
            for line in iter(lambda: file.readline(LONGEST_LINE), ""):
                if len(line) == LONGEST_LINE:
                    raise ValueError(f"a line has more than {LONGEST_LINE} characters: no table")
                read += len(line)
                done = 100 * read // max(self.size, 1)
                if what and said + 5 <= done < 100:
                    said = done
                    print(f"::progress {done}/100 {what}", flush=True)
                yield line.replace("\0", "")
        if what:
            print(f"::progress 100/100 {what}", flush=True)

    def rows(self, what: str) -> Iterator[list[str]]:
        """Yield the rows after the header that are not empty."""
        reader = csv.reader(self.lines(what), delimiter=self.delimiter)
        next(reader, None)
        return (row for row in reader if any(row))


def number(text: str, comma: bool) -> float | None:  # noqa: FBT001 - called for every field
    """Return the number that a field holds, if it holds one."""
    try:
        value = float(text.replace(",", ".") if comma else text)
    except ValueError:
        return None
    if not abs(value) < LARGEST or "_" in text:
        return None
    return value if abs(value) > SMALLEST else 0.0


def exact(value: float) -> str:
    """Return a number with all of its digits."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < EXACT else f"{value:.15g}"


def find_encoding(source: Path) -> str:
    """Return the encoding: by byte order mark, UTF-8 if all of it is, else Latin-1."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with source.open("rb") as file:
        head = file.read(4)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        file.seek(0)
        try:
            for piece in iter(lambda: file.read(1024 * 1024), b""):
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"


def find_delimiter(lines: Iterator[str]) -> str:
    """Return the delimiter that cuts the first lines into the most equal rows."""
    head = [line for line, _ in zip(lines, range(50))]

    def score(delimiter: str) -> tuple[float, int]:
        widths = [len(row) for row in csv.reader(head, delimiter=delimiter) if row]
        width = widths[0] if widths else 1
        return (widths.count(width) / len(widths) if width > 1 else 0.0, width)

    return max(DELIMITERS, key=score)


def unique(header: list[str]) -> list[str]:
    """Return names of columns, none empty and none twice."""
    seen: dict[str, int] = {}
    names: list[str] = []
    for index, raw in enumerate(header, start=1):
        name = " ".join(raw.split())[:SHOWN] or f"column {index}"
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
    except (ValueError, OSError, csv.Error) as exc:
        print(f"FAIL: {exc}", flush=True)
        sys.exit(1)
