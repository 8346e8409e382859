"""Wait SLEEPTIME seconds, a line each, then copy SOURCE to DESTINATION. Python 3.8 or later."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from pathlib import Path

OUTPUT = "/output/"
LONGEST = 366 * 24 * 3600


def main(result: str) -> None:
    """Do it; raise ValueError or OSError with what is wrong."""
    source, destination = Path(variable("SOURCE")), variable("DESTINATION")
    seconds = duration(os.environ.get("SLEEPTIME") or "10")
    if not source.is_file():
        raise ValueError(f"SOURCE is not a file: {source}")
    target = Path(destination)
    if f"{destination}/".startswith(OUTPUT):  # the folder of the result, wherever it is here
        target = Path(result).parent / destination[len(OUTPUT) :]
    if target.is_dir():
        target = target / source.name
    say(f"sleeping {seconds:g} seconds")
    wait(seconds)
    shutil.copyfile(source, target)
    say(f"copied '{source}' -> '{target}'")


def variable(name: str) -> str:
    """Return a variable that must be there."""
    value = os.environ.get(name)
    if not value:
        raise ValueError(f"{name} is not set; send it in the input 'env'")
    return value


def duration(text: str) -> float:
    """Return the seconds that a text names."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < LONGEST:
        raise ValueError(f"SLEEPTIME is not a number of seconds: {text!r}")
    return seconds


def wait(seconds: float) -> None:
    """Say every second that it passed; the clock, not the number of lines, decides."""
    start = time.monotonic()
    whole = math.ceil(seconds)
    for second in range(1, whole + 1):
        time.sleep(max(0.0, start + min(second, seconds) - time.monotonic()))
        say(f"{second} of {whole}")
        say(f"::progress {second}/{whole} sleeping")


def say(line: str) -> None:
    """Print a line that is seen at once."""
    print(line, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (ValueError, OSError) as exc:
        say(f"FAIL: {exc}")
        sys.exit(1)
