"""Whether the command of a host workflow is there, as far as can be said before it runs."""

import os
import shutil
from pathlib import Path

from longshore.backends.local.isolation import PATH, base_view
from longshore.backends.local.layout import WORKFLOW
from longshore.backends.local.settings import Isolation, LocalSettings
from longshore.models.workflow import Workflow

#: options of bubblewrap after which a path of the host, and where it is seen, follow
_SHOWN = frozenset({"--ro-bind", "--symlink"})


def what_is_missing(workflow: Workflow, settings: LocalSettings) -> str | None:
    """Say why a worker could not execute the command's first word; None where it can."""
    word = workflow.command[0] if workflow.command else ""
    if workflow.image is not None or not word or "{" in word:  # the image's, or placed by us
        return None
    if "/" not in word:
        is_there = shutil.which(word, path=PATH) is not None
        return None if is_there else f"there is no command {word!r} in {PATH}"
    path = Path(word)
    if workflow.directory is not None and word.startswith(f"{WORKFLOW}/"):
        return _amiss(workflow.directory / word.removeprefix(f"{WORKFLOW}/"), word)
    if not path.is_absolute():
        return f"the command {word!r} is neither a name nor an absolute path"
    if settings.isolation is not Isolation.NONE and not _is_seen(path, settings.visible):
        return f"the command {word!r} is not seen in the sandbox: see [backends.local] visible"
    return _amiss(path, word)


def _amiss(path: Path, word: str) -> str | None:
    if not path.is_file():
        return f"there is no command {word!r}"
    return None if os.access(path, os.X_OK) else f"the command {word!r} cannot be executed"


def _is_seen(path: Path, visible: tuple[Path, ...]) -> bool:
    view = base_view(visible)
    places = [Path(view[at + 2]) for at, word in enumerate(view) if word in _SHOWN]
    return any(path.is_relative_to(place) for place in places)
