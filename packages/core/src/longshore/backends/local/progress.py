"""What a worker says about its progress: lines ``::progress 30/100 text`` in its log. Pure."""

import math
import re

from longshore.models.job import Progress

#: bytes of a line that are looked at
LINE = 8 * 1024
_TEXT = 200
_LINE = re.compile(r"::progress[ \t]+(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)(?:[ \t]+(.*))?\Z")


def latest(text: bytes) -> Progress | None:
    """Return what the last progress line of ``text`` says; only whole lines count."""
    lines = text.split(b"\n")[:-1]
    for line in reversed(lines):
        if line.startswith(b"::progress") and (found := _parse(line[:LINE])):
            return found
    return None


def _parse(line: bytes) -> Progress | None:
    words = line.decode("utf-8", "replace").replace("\0", "").rstrip()
    match = _LINE.match(words)
    if match is None:
        return None
    done, total = float(match[1]), float(match[2])
    if not (math.isfinite(done) and math.isfinite(total) and total > 0):
        return None
    clean = "".join(c for c in match[3] or "" if c.isprintable())
    return Progress(done=min(done, total), total=total, text=clean[:_TEXT])
