"""The shipped workers as real processes: what they make, and what they say of bad input."""

import ast
import csv
import io
import json
import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from longshore import workers

SCRIPTS = Path(str(workers.__file__)).parent
MIB = 2**20
#: what a worker needs for itself and its pieces; its input is larger
MOST_MEMORY = 48 * MIB


@attrs.frozen
class Ended:
    """A worker that ended: its exit code, its lines, and the folder of its outputs."""

    code: int
    lines: list[str]
    folder: Path

    def made(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def counts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.made("counts"))
        return found

    def rows(self) -> dict[str, dict[str, str]]:
        table = csv.DictReader(io.StringIO(self.made("summary").decode()))
        return {row["name"]: row for row in table}


Run = Callable[..., Ended]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a script as the local backend does: argv, few variables, no shell."""

    def start(script: str, *arguments: object, memory: int = 0, **variables: str) -> Ended:
        def bound() -> None:
            if memory:
                resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))

        folder = tmp_path / "outputs"
        folder.mkdir(exist_ok=True)
        ended = subprocess.run(
            [sys.executable, str(SCRIPTS / f"{script}.py"), *map(str, arguments)],
            env={"PATH": os.defpath, "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            preexec_fn=bound,
            timeout=60,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout.decode().splitlines(), folder)

    return start


def failed(ended: Ended) -> str:
    """Return what a worker said that failed as it should: one line, no traceback, exit code 1."""
    assert ended.code == 1, ended.lines
    assert not any("Traceback" in line for line in ended.lines)
    *_, last = ended.lines
    assert last.startswith("FAIL: ")
    return last


# wordcount


@pytest.fixture
def count(run: Run, tmp_path: Path) -> Callable[..., Ended]:
    def start(content: bytes, **variables: str) -> Ended:
        text = tmp_path / "text"
        text.write_bytes(content)
        return run("wordcount", text, tmp_path / "outputs" / "counts", **variables)

    return start


def numbers(ended: Ended) -> tuple[int, int, int, str]:
    assert ended.code == 0, ended.lines
    it = ended.counts()
    return it["lines"], it["words"], it["characters"], it["encoding"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", (0, 0, 0, "utf-8")),
        (b"\n", (1, 0, 1, "utf-8")),
        (b"one two\nthree", (2, 3, 13, "utf-8")),
        (b"one two\nthree\n", (2, 3, 14, "utf-8")),
        (b"\xef\xbb\xbfone", (1, 1, 3, "utf-8-sig")),
        ("K\u00f6ln \u20ac5".encode(), (1, 2, 7, "utf-8")),
        ("K\u00f6ln".encode("latin-1"), (1, 1, 4, "latin-1")),
        ("eins zwei\n".encode("utf-16"), (1, 2, 10, "utf-16")),
        ("don't it\u2019s 'quoted'".encode(), (1, 3, 19, "utf-8")),
        (b"\x00\x01\xff\xfe binary", (1, 2, 11, "latin-1")),
        (b"a_b-c.d", (1, 4, 7, "utf-8")),
        (b"\xff\xfea", (1, 0, 1, "utf-16")),
    ],
    ids=lambda value: repr(value)[:20] if isinstance(value, bytes) else "",
)
def test_a_text_of_any_encoding_is_counted(
    count: Callable[..., Ended], content: bytes, found: tuple[int, int, int, str]
) -> None:
    assert numbers(count(content)) == found


def test_the_most_common_words_come_first_and_ties_by_the_alphabet(
    count: Callable[..., Ended],
) -> None:
    ended = count(b"b a B c a c d", LS_PARAM_TOP="3")
    assert ended.counts()["mostCommon"] == [
        {"word": "a", "count": 2},
        {"word": "b", "count": 2},
        {"word": "c", "count": 2},
    ]
    assert ended.counts()["differentWords"] == 4
    assert not ended.counts()["approximate"]
    assert len(count(b" ".join(b"w%d" % n for n in range(50))).counts()["mostCommon"]) == 20


def test_a_word_across_two_pieces_is_one_word(count: Callable[..., Ended]) -> None:
    padding = b"x " * (MIB // 2 - 4)  # the word lies across the end of the first MiB
    it = count(padding + b"boundary and more").counts()
    assert {"word": "boundary", "count": 1} in it["mostCommon"]
    assert it["words"] == MIB // 2 - 4 + 3


def test_a_huge_text_is_read_in_pieces_and_says_how_far_it_is(run: Run, tmp_path: Path) -> None:
    text = tmp_path / "huge"
    with text.open("wb") as file:
        file.writelines(b"word " * 100_000 for _ in range(12))  # no line ends
        file.truncate(MOST_MEMORY + MIB)  # and a hole of NUL
    ended = run("wordcount", text, tmp_path / "outputs" / "counts", memory=MOST_MEMORY)
    assert ended.code == 0, ended.lines
    assert ended.counts()["words"] == 1_200_000
    progress = [line for line in ended.lines if line.startswith("::progress ")]
    assert len(progress) > 10
    assert progress[-1].startswith("::progress 100/100 ")


@pytest.mark.parametrize("top", ["0", "-1", "x", "", "1.5", "\u00b2"])
def test_a_wrong_number_of_words_is_refused(count: Callable[..., Ended], top: str) -> None:
    assert "LS_PARAM_TOP" in failed(count(b"a", LS_PARAM_TOP=top))


def test_a_text_that_is_not_there_is_said(run: Run, tmp_path: Path) -> None:
    assert "No such file" in failed(run("wordcount", tmp_path / "gone", tmp_path / "counts"))
    assert "directory" in failed(run("wordcount", tmp_path, tmp_path / "counts"))


# csv-summary


@pytest.fixture
def summarise(run: Run, tmp_path: Path) -> Callable[..., Ended]:
    def start(content: str | bytes, **variables: str) -> Ended:
        table = tmp_path / "table"
        table.write_bytes(content if isinstance(content, bytes) else content.encode())
        outputs = tmp_path / "outputs"
        return run("csv_summary", table, outputs / "summary", outputs / "plot", **variables)

    return start


Summarise = Callable[..., Ended]


def check_png(data: bytes) -> list[bytes]:
    """Return the rows of pixels of a PNG whose chunks, checksums and size are right."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, kinds, pixels, width, height = 8, [], b"", 0, 0
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length) == (zlib.crc32(kind + body),)
        kinds.append(kind)
        if kind == b"IHDR":
            width, height, *rest = struct.unpack(">IIBBBBB", body)
            assert rest == [8, 2, 0, 0, 0]  # 8 bits of red, green and blue, no interlacing
        pixels += body if kind == b"IDAT" else b""
        place += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]
    lines = zlib.decompress(pixels)
    assert len(lines) == height * (1 + 3 * width)
    rows = [lines[n : n + 1 + 3 * width] for n in range(0, len(lines), 1 + 3 * width)]
    assert {row[0] for row in rows} == {0}
    return [row[1:] for row in rows]


def colors(rows: list[bytes]) -> set[bytes]:
    return {row[n : n + 3] for row in rows for n in range(0, len(row), 3)}


BAR = bytes((54, 113, 181))


def test_every_column_is_described(summarise: Summarise) -> None:
    ended = summarise("city,size,share\nK\u00f6ln,3,0.5\nBonn,,0.25\nK\u00f6ln,5,\n")
    assert ended.code == 0, ended.lines
    rows = ended.rows()
    assert rows["city"] | {"mean": "", "std": ""} == {
        "name": "city",
        "type": "text",
        "count": "3",
        "missing": "0",
        "distinct": "2",
        "min": "Bonn",
        "max": "K\u00f6ln",
        "mean": "",
        "std": "",
    }
    assert [rows["size"][key] for key in ("type", "count", "missing", "min", "max", "mean")] == [
        "integer",
        "2",
        "1",
        "3",
        "5",
        "4",
    ]
    assert float(rows["size"]["std"]) == pytest.approx(2**0.5)
    assert rows["share"]["type"] == "number"
    assert "drawing column 'size'" in ended.lines
    assert BAR in colors(check_png(ended.made("plot")))


@pytest.mark.parametrize(
    ("content", "types"),
    [
        ("a;b\n1,5;x\n2,5;y\n", {"a": "number", "b": "text"}),
        ("a\tb\n1\t2\n", {"a": "integer", "b": "integer"}),
        ("a|b\n1|2\n", {"a": "integer", "b": "integer"}),
        ("a,b\r\n1,2\r\n", {"a": "integer", "b": "integer"}),
        ("a,b\r1,2\r", {"a": "integer", "b": "integer"}),
        ('a,b\n"1,5\nx",2\n', {"a": "text", "b": "integer"}),
        ("a\n1\n", {"a": "integer"}),
        ("a,a,\n1,2,3\n", {"a": "integer", "a (2)": "integer", "column 3": "integer"}),
        ("a,b\n1\n1,2,3\n", {"a": "integer", "b": "integer"}),
        ("a,b\n\n\n1,2\n\n", {"a": "integer", "b": "integer"}),
        ("\ufeffa,b\n1,2\n", {"a": "integer", "b": "integer"}),
        ("a,b\nNA,nan\nnull,-\n", {"a": "empty", "b": "empty"}),
        ("a,b\n1_000,inf\n", {"a": "text", "b": "text"}),
        ("a,b\n1\0,2\n", {"a": "integer", "b": "integer"}),
        ("a,b\n", {"a": "empty", "b": "empty"}),
        ("a,b\n1e308,1\n-1e308,2\n", {"a": "text", "b": "integer"}),
    ],
)
def test_tables_of_many_kinds_are_read(
    summarise: Summarise, content: str, types: dict[str, str]
) -> None:
    ended = summarise(content)
    assert ended.code == 0, ended.lines
    assert {name: row["type"] for name, row in ended.rows().items()} == types
    check_png(ended.made("plot"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_table_of_any_encoding_is_read(summarise: Summarise, encoding: str) -> None:
    ended = summarise("stra\u00dfe,n\n\u00e4,1\n\u00f6,2\n".encode(encoding))
    assert ended.rows()["stra\u00dfe"]["max"] == "\u00f6"


@pytest.mark.parametrize(
    "values",
    [
        ["5"],
        ["0"] * 3,
        ["100000000000000000000"] * 3,
        ["1e-320", "2e-320"],
        ["1e149", "-1e149"],
        ["9007199254740993", "9007199254740995"],
        ["123456789.123", "123456789.124"],
        [str(n) for n in range(-500, 500)],
        ["1", "1000000"],
        ["-0.0", "0"],
    ],
    ids=lambda values: f"{values[0]} x {len(values)}",
)
def test_numbers_of_every_size_are_drawn(summarise: Summarise, values: list[str]) -> None:
    ended = summarise("x\n" + "\n".join(values) + "\n")
    assert ended.code == 0, ended.lines
    assert ended.rows()["x"]["count"] == str(len(values))
    assert BAR in colors(check_png(ended.made("plot")))


def test_large_whole_numbers_keep_their_digits(summarise: Summarise) -> None:
    row = summarise("id\n1234567890123\n1234567890124\n").rows()["id"]
    assert (row["min"], row["max"]) == ("1234567890123", "1234567890124")


def test_the_column_that_is_asked_for_is_drawn(summarise: Summarise) -> None:
    table = "city,size\nK\u00f6ln,3\nBonn,4\n"
    first, second = summarise(table), summarise(table, LS_PARAM_COLUMN="city")
    assert "drawing column 'city'" in second.lines
    assert first.made("summary") == second.made("summary")
    ended = summarise(table, LS_PARAM_COLUMN="town")
    assert failed(ended) == "FAIL: there is no column 'town'; there are: city, size"


def test_the_delimiter_that_is_given_is_used(summarise: Summarise) -> None:
    ended = summarise("a:b,c\n1:2,3\n", LS_PARAM_DELIMITER=":")
    assert list(ended.rows()) == ["a", "b,c"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no header"),
        ("\n\n", "no header"),
        (",,\n1,2,3\n", "no header"),
        (",".join(f"c{n}" for n in range(2001)), "2001 columns; at most 2000"),
        ("a" * (8 * MIB), "more than 8388608 characters"),
        ('a,b\n"' + ("x" * 1000 + "\n") * 9000, "field larger than field limit"),
    ],
    ids=["empty", "blank", "nameless", "many columns", "no line ends", "a quote is not closed"],
)
def test_what_is_no_table_is_said(summarise: Summarise, content: str, said: str) -> None:
    assert said in failed(summarise(content))


def test_a_huge_table_is_read_row_by_row(run: Run, tmp_path: Path) -> None:
    table, outputs = tmp_path / "huge", tmp_path / "outputs"
    row = b"1,2.5," + b"x" * 5000 + b"\n"
    with table.open("wb") as file:
        file.write(b"a,b,c\n")
        file.writelines(row * 1000 for _ in range(11))
    assert table.stat().st_size > MOST_MEMORY
    ended = run("csv_summary", table, outputs / "summary", outputs / "plot", memory=MOST_MEMORY)
    assert ended.code == 0, ended.lines
    assert ended.rows()["a"]["count"] == "11000"
    assert any(line.startswith("::progress 50/100 describing") for line in ended.lines)
    assert "::progress 100/100 drawing" in ended.lines


def test_texts_are_drawn_in_the_letters_that_there_are(summarise: Summarise) -> None:
    names = ["K\u00f6ln", "\u5317\u4eac", "x" * 500, "\x1b[31m", ""]
    ended = summarise("name\n" + "\n".join(f'"{one}"' for one in names) + "\n")
    assert ended.code == 0, ended.lines
    assert ended.rows()["name"]["distinct"] == "4"
    rows = check_png(ended.made("plot"))
    margin = b"".join(row[:60] for row in rows)  # nothing runs out of the picture
    assert set(margin) == {255}


# dummy


def dummy(run: Run, tmp_path: Path, **variables: str) -> Ended:
    (tmp_path / "source").write_text("content")
    return run("dummy", tmp_path / "outputs" / "result", SLEEPTIME="0", **variables)


@pytest.mark.parametrize(
    ("destination", "made"),
    [
        ("/output/result", "result"),
        ("/output/x", "x"),
        ("/output/", "source"),
        ("/output", "source"),
        ("result", "result"),
    ],
)
def test_the_folder_output_is_that_of_the_result(
    run: Run, tmp_path: Path, destination: str, made: str
) -> None:
    ended = dummy(run, tmp_path, SOURCE=str(tmp_path / "source"), DESTINATION=destination)
    assert ended.code == 0, ended.lines
    assert ended.made(made) == b"content"
    assert ended.lines[-1].startswith("copied ")


def test_a_link_is_followed_when_it_is_copied(run: Run, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("source")
    ended = dummy(run, tmp_path, SOURCE=str(tmp_path / "link"), DESTINATION="/output/result")
    assert ended.made("result") == b"content"
    assert not (ended.folder / "result").is_symlink()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "SOURCE is not set"),
        ({"SOURCE": "", "DESTINATION": "x"}, "SOURCE is not set"),
        ({"SOURCE": "source"}, "DESTINATION is not set"),
        ({"SOURCE": "/gone", "DESTINATION": "x"}, "SOURCE is not a file: /gone"),
        ({"SOURCE": "/dev/zero", "DESTINATION": "x"}, "SOURCE is not a file: /dev/zero"),
        ({"SOURCE": "/", "DESTINATION": "x"}, "SOURCE is not a file: /"),
        ({"SOURCE": "/etc/passwd", "DESTINATION": "/gone/x"}, "No such file or directory"),
        ({"SOURCE": "/etc/passwd", "DESTINATION": "/etc/passwd"}, "are the same file"),
    ],
)
def test_a_copy_that_cannot_be_made_is_said(
    run: Run, tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    assert said in failed(dummy(run, tmp_path, **variables))


@pytest.mark.parametrize("seconds", ["-1", "soon", "nan", "inf", "1e9"])
def test_a_time_that_nobody_can_wait_is_refused(run: Run, seconds: str) -> None:
    variables = {"SOURCE": "/etc/passwd", "DESTINATION": "x", "SLEEPTIME": seconds}
    assert "SLEEPTIME is not a number of seconds" in failed(run("dummy", "result", **variables))


def test_it_says_each_second_that_passes_and_how_far_it_is(run: Run) -> None:
    ended = run(
        "dummy", "result", SOURCE="/etc/passwd", DESTINATION="/output/result", SLEEPTIME="1.05"
    )
    assert ended.lines[:-1] == [
        "sleeping 1.05 seconds",
        "1 of 2",
        "::progress 1/2 sleeping",
        "2 of 2",
        "::progress 2/2 sleeping",
    ]


# all of them


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_a_script_is_python_3_8_and_the_standard_library_alone(script: Path) -> None:
    tree = ast.parse(script.read_text("utf-8"), feature_version=(3, 8))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    beside = {path.stem for path in SCRIPTS.glob("*.py")}
    assert imported <= sys.stdlib_module_names | beside
    assert "__future__" in imported, "annotations such as list[str] are not evaluated then"
