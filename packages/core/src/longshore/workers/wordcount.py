"""Count the lines, words and characters of a text, in pieces. Python 3.8 or later."""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PIECE = 1024 * 1024
#: beyond so many different words the rarest are forgotten, and their counts are lower bounds
DIFFERENT = 500_000
LONGEST = 100
APOSTROPHES = "'\u2019"
WORD = re.compile(rf"[^\W_]+(?:[{APOSTROPHES}][^\W_]+)*")


def main(source: Path, target: Path) -> None:
    """Count ``source`` and write ``target``; raise ValueError or OSError with what is wrong."""
    top = parameter("LS_PARAM_TOP", 20)
    size = source.stat().st_size
    encoding = find_encoding(source)
    print(f"counting {size} bytes of {encoding}", flush=True)
    result, words = count(source, encoding, size)
    common = sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))[:top]
    result.update(
        differentWords=len(words),
        encoding=encoding,
        mostCommon=[{"word": word, "count": number} for word, number in common],
    )
    text = json.dumps(result, ensure_ascii=False, indent=2)
    target.write_text(text + "\n", encoding="utf-8")
    print(f"{result['lines']} lines, {result['words']} words, {result['characters']} characters")


def parameter(name: str, default: int) -> int:
    """Return a parameter that is a whole number above zero."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or not int(text):
        raise ValueError(f"{name} is not a whole number above 0: {text!r}")
    return int(text)


def find_encoding(source: Path) -> str:
    """Return the encoding: by byte order mark, UTF-8 if all of it is, else Latin-1."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with source.open("rb") as file:
        head = file.read(4)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        file.seek(0)
        try:
            for piece in iter(lambda: file.read(PIECE), b""):
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"


def count(source: Path, encoding: str, size: int) -> tuple[dict[str, object], Counter[str]]:
    """Return what was counted, and each word with its number."""
    words: Counter[str] = Counter()
    total = characters = lines = said = 0
    last, forgot = "\n", False
    for piece, text in pieces(source, encoding):
        found = [word[:LONGEST] for word in WORD.findall(text.lower())]
        words.update(found)
        total += len(found)
        characters += len(piece)
        lines += piece.count("\n")
        last = piece[-1:] or last
        if len(words) > DIFFERENT:
            words, forgot = Counter(dict(words.most_common(DIFFERENT // 2))), True
        done = 100 * characters // max(size, 1)
        if said + 5 <= done < 100:
            said = done
            print(f"::progress {done}/100 {total} words", flush=True)
    print(f"::progress 100/100 {total} words", flush=True)
    lines += last != "\n"
    result: dict[str, object] = {
        "lines": lines,
        "words": total,
        "characters": characters,
        "approximate": forgot,
    }
    return result, words


def pieces(source: Path, encoding: str) -> Iterator[tuple[str, str]]:
    """Yield each piece as it was read, and the whole words that it completed."""
    rest = ""
    with source.open(encoding=encoding, errors="replace", newline="") as file:
        for piece in iter(lambda: file.read(PIECE), ""):
            text = rest + piece
            cut = len(text)
            while cut and len(text) - cut < PIECE and in_word(text[cut - 1]):
                cut -= 1
            rest = text[cut:] if cut else ""  # a piece without any end of a word is one word
            yield piece, text[: len(text) - len(rest)]
    yield "", rest


def in_word(character: str) -> bool:
    """Say whether a word may go on after ``character``."""
    return character.isalnum() or character in APOSTROPHES


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except (ValueError, OSError) as exc:
        print(f"FAIL: {exc}", flush=True)
        sys.exit(1)
