"""The command ``longshore-mover``."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from longshore_mover.mover import Mover, open_mover
from longshore_mover.progress import Progress

USAGE = """usage: longshore-mover serve PLAN       stage in, let the worker start, stage out
       longshore-mover stage-in PLAN    stage in and let the worker start
       longshore-mover stage-out PLAN   wait for the worker's end and stage out
"""
_USES: Mapping[str, Callable[[Mover], int]] = {
    "serve": Mover.serve,
    "stage-in": Mover.stage_in,
    "stage-out": Mover.stage_out,
}
_WRONG = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given in (["--help"], ["-h"]):
        sys.stdout.write(USAGE)
        return 0
    if len(given) != 2 or given[0] not in _USES:  # noqa: PLR2004 - a verb and a file
        sys.stderr.write(USAGE)
        return _WRONG
    verb, path = given
    try:
        mover = open_mover(Path(path), Progress())
    except (OSError, ValueError) as exc:
        # not the plan's words: who reads a plan may use it
        sys.stderr.write(f"longshore-mover: {path} is no plan: {_words(exc)}\n")
        return _WRONG
    signal.signal(signal.SIGTERM, mover.terminate)
    return _USES[verb](mover)


def _words(exc: OSError | ValueError) -> str:
    return exc.strerror or "it cannot be read" if isinstance(exc, OSError) else str(exc)


if __name__ == "__main__":
    sys.exit(main())
