"""``python -m longshore.holder HOME``: supervises detached until every job is final.

Started by a program that leaves unfinished jobs behind. Its settings come as JSON on standard
input; it writes one byte to standard output when it has the role, or when another process has it.
"""

import json
import logging
import os
import sys
from pathlib import Path

import anyio

from longshore.collector import collect_rarely
from longshore.embedded import open_embedded

_PATIENCE = 10.0
_LOOK = 0.5
#: looks in a row that find no job before it leaves: a job may just be on its way
_QUIET = 4


async def hold(home: Path, table: dict[str, object]) -> None:
    """Take the role, and keep it while a job needs it."""
    async with open_embedded(home, table=table) as embedded:
        embedded.engage()
        with anyio.move_on_after(_PATIENCE):
            await embedded.held.wait()
        _answer()
        quiet = 0
        while embedded.is_holder and quiet < _QUIET:
            await anyio.sleep(_LOOK)
            quiet = quiet + 1 if await embedded.is_idle() else 0


def _answer() -> None:
    """Tell the program that started this one that it may end."""
    os.write(1, b"!")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


def main() -> None:
    """Run ``hold`` with a log file in the state directory."""
    home = Path(sys.argv[1])
    logging.basicConfig(
        filename=home / "holder.log",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    collect_rarely()
    try:
        anyio.run(hold, home, json.load(sys.stdin))
    except BaseException:
        logging.exception("the detached supervisor ends")  # noqa: LOG015 - the root's, by name of none
        raise


if __name__ == "__main__":
    main()
