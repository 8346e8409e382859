"""From `-i name=FILE` and `-p key=value` to inputs and parameters of a request."""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click

from longshore_client.session import Json

STDIN = "-"


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """A regular file that becomes an input. ``size`` in bytes, ``sha256`` in hex."""

    path: Path
    size: int
    sha256: str

    @property
    def announcement(self) -> Json:
        """The input as a request names it before its upload."""
        return {"upload": {"size": self.size, "sha256": self.sha256}}


def pairs(option: str, values: Iterable[str]) -> dict[str, str]:
    """Split ``name=value`` arguments.

    Raises:
        click.UsageError: one without a name or ``=``, or a name given twice.
    """
    found: dict[str, str] = {}
    for argument in values:
        name, equals, value = argument.partition("=")
        if not name or not equals:
            raise click.UsageError(f"{option} {argument!r} is not of the form NAME=VALUE")
        if name in found:
            raise click.UsageError(f"{option} {name} is given twice")
        found[name] = value
    return found


def parameters(given: Mapping[str, str], schema: Json) -> Json:
    """Return the values of parameters as the workflow's schema types them.

    A string stays as it is; for any other type the text is JSON. ``@FILE`` is the text of a file,
    ``@@`` at the start a plain ``@``. Whether values are allowed is the provider's word.

    Raises:
        click.UsageError: a file that cannot be read, or text that is no JSON.
    """
    return {name: _parameter(name, text, schema) for name, text in given.items()}


def _parameter(name: str, text: str, schema: Json) -> Any:
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text("utf-8")
        except (OSError, ValueError) as exc:
            raise click.UsageError(f"-p {name}: {text[1:]} cannot be read: {exc}") from exc
    declared = schema.get("properties", {}).get(name, {})
    kind = declared.get("type", "string") if isinstance(declared, dict) else "string"
    if kind == "string" or "string" in kind:
        return text
    try:
        return json.loads(text)
    except ValueError as exc:
        wanted = kind if isinstance(kind, str) else " or ".join(kind)
        raise click.UsageError(f"-p {name}: {text!r} is not JSON for {wanted}") from exc


def input_files(given: Mapping[str, str], workflow: Json, scratch: Path) -> dict[str, InputFile]:
    """Return the file of every input; what is no regular file is copied to ``scratch`` first.

    A directory is packed for an input of kind ``archive``; ``-`` is standard input.

    Raises:
        click.UsageError: an unknown or missing input, or a file that cannot be read.
    """
    declared: Json = workflow.get("inputs") or {}
    listed = ", ".join(declared) or "none"
    for name in given:
        if name not in declared:
            raise click.UsageError(
                f"workflow {workflow['id']} has no input {name!r}; its inputs: {listed}"
            )
    for name, about in declared.items():
        if about.get("required", True) and name not in given:
            raise click.UsageError(f"input {name!r} is missing: add -i {name}=FILE")
    return {name: _input(name, text, declared[name], scratch) for name, text in given.items()}


def _input(name: str, text: str, about: Json, scratch: Path) -> InputFile:
    path = Path(text)
    try:
        if text == STDIN:
            path = _keep(sys.stdin.buffer, scratch / name)
        elif path.is_dir():
            if about.get("kind") != "archive":
                raise click.UsageError(f"-i {name}: {text} is a directory, a file is wanted")
            path = _pack(path, scratch / f"{name}.tar.gz")
        elif path.exists() and not path.is_file():  # a pipe, as of <(command)
            with path.open("rb") as content:
                path = _keep(content, scratch / name)
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            return InputFile(path=path, size=content.tell(), sha256=digest)
    except OSError as exc:
        raise click.UsageError(f"-i {name}: {text} cannot be read: {exc.strerror}") from exc


def _keep(content: BinaryIO, copy: Path) -> Path:
    with copy.open("wb") as kept:
        shutil.copyfileobj(content, kept)
    return copy


def _pack(directory: Path, archive: Path) -> Path:
    from longshore_client.packing import pack  # noqa: PLC0415 - needed for directories only

    with archive.open("wb") as packed:
        pack(directory, packed)
    return archive
