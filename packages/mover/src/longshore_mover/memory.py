"""What a mover must not forget when it is killed and started again."""

import os
from pathlib import Path

import attrs

from longshore.codec import from_json, to_json
from longshore.staging import StagingProblem

_FILE = "mover.json"


@attrs.frozen(kw_only=True)
class Memory:
    """How far it came: the inputs are ``staged``; the ``go`` may have been given.

    ``answered`` are the addresses that had answered while the network was open; ``failed`` says
    why the worker must never start.
    """

    staged: bool = False
    go: bool = False
    answered: tuple[tuple[int, str, int], ...] = ()
    failed: StagingProblem | None = None


def recall(directory: Path) -> Memory:
    """Return what is remembered in ``directory``; nothing where it is the first time.

    Raises:
        OSError, ValueError: it is there and cannot be read.
    """
    try:
        return from_json(Memory, (directory / _FILE).read_bytes())
    except FileNotFoundError:
        return Memory()


def remember(directory: Path, memory: Memory) -> None:
    """Write down ``memory``, whole or not at all.

    Raises:
        OSError: it was not written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    draft = directory / f".{_FILE}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(to_json(memory))
    draft.rename(directory / _FILE)
