"""What `import longshore` costs on top of its four dependencies, in fresh interpreters.

Measured inside each process, without the interpreter's own start; medians over many processes,
interleaved so that a busy machine disturbs all alike. Must: 1.6 times the dependencies.
"""

import argparse
import subprocess
import sys
from statistics import median

from _table import show

_DEPENDENCIES = "import attrs, cattrs, anyio, pluggy"
_CASES = {
    "the four dependencies": _DEPENDENCIES,
    "import longshore": f"{_DEPENDENCIES}; import longshore",
    "from longshore import *": f"{_DEPENDENCIES}; from longshore import *",
}
_MUST = 1.6


def _milliseconds(statement: str) -> float:
    program = (
        "import time; begun = time.perf_counter()\n"
        f"{statement}\n"
        "print((time.perf_counter() - begun) * 1000)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=25)
    given = arguments.parse_args()
    took: dict[str, list[float]] = {name: [] for name in _CASES}
    for _ in range(given.rounds):
        for name, statement in _CASES.items():
            took[name].append(_milliseconds(statement))
    peer = median(took["the four dependencies"])
    show(
        f"imports, in ms (must: {_MUST} times the dependencies)",
        ("", "median", "best", "of dependencies"),
        [(name, median(found), min(found), median(found) / peer) for name, found in took.items()],
    )


if __name__ == "__main__":
    main()
