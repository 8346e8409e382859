"""The workflows that come with Longshore: small programs of the standard library alone."""

from importlib.resources import files
from pathlib import Path

from longshore.definitions import load_directory
from longshore.models import Workflow


def shipped() -> tuple[Workflow, ...]:
    """Return the workflows of this package, read from its TOML files."""
    return load_directory(Path(str(files(__name__))))
