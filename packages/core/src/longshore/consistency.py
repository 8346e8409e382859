"""What is wrong between the sections of a workflow that are right on their own."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from longshore.models import InputKind, Workflow
from longshore.suggestions import did_you_mean

#: where a host workflow sees the folder beside its definition
FOLDER = "/workflow"
_PLACEHOLDER = re.compile(r"\{(?:(inputs?|outputs?|datasets?)\.([^{}]*)|(python))\}")


def contradictions(workflow: Workflow) -> Iterator[tuple[str, str]]:
    """Yield the place of each mistake and what it is."""
    for number, word in enumerate(workflow.command):
        for message in _word_mistakes(workflow, word):
            yield f"command[{number}]", message
    setters: dict[str, str] = {}
    for one in workflow.inputs.values():
        for variable in one.names:
            other = setters.setdefault(variable, one.name)
            if other != one.name:
                yield f"inputs.{one.name}.names", f"{variable} is also set by inputs.{other}"
    yield from _mount_mistakes(workflow)


def _word_mistakes(workflow: Workflow, word: str) -> Iterator[str]:
    """Yield what is wrong with one element of the command."""
    for match in _PLACEHOLDER.finditer(word):
        section, name, python = match.groups()
        declared: Mapping[str, Any] = getattr(workflow, section or "", {})
        if python:
            if workflow.image is not None:
                yield "{python} is for commands of the host; name the image's own interpreter"
        elif not section.endswith("s"):
            yield f"write {{{section}s.{name}}} for {match[0]}"
        elif name not in declared:
            yield f"{match[0]} is not declared{did_you_mean(name, declared)}"
        elif section == "inputs" and declared[name].kind is InputKind.ENV:
            yield f"{match[0]} is an env input: variables, not a file"
    if FOLDER in word and workflow.image is None:
        yield from _folder_mistakes(workflow.directory, word)


def _folder_mistakes(directory: Path | None, word: str) -> Iterator[str]:
    if directory is None:
        yield f"{FOLDER} is the folder beside a definition's file, and this one has no file"
    elif word.startswith(f"{FOLDER}/") and not _PLACEHOLDER.search(word):
        file = directory / word[len(FOLDER) :].lstrip("/")
        try:
            found = ".." not in file.parts and file.exists()
        except OSError as exc:  # a name that is too long, a folder that may not be looked into
            yield f"{file} cannot be looked for: {exc.strerror}"
        else:
            if not found:
                yield f"there is no {file}"


def _mount_mistakes(workflow: Workflow) -> Iterator[tuple[str, str]]:
    """Yield declared paths that a container cannot have: a file is reached by its folder."""
    mounts: list[tuple[str, str, str, str]] = []
    for section in ("inputs", "outputs", "datasets"):
        for one in getattr(workflow, section).values():
            if one.path is None:
                continue
            where = f"{section}.{one.name}.path"
            whole = getattr(one, "kind", "") != "file"
            mount = one.path if whole else posixpath.dirname(one.path)
            if mount == "/":
                yield where, "lies in the root directory; give it a folder, such as /data"
            for other_section, other, path, name in mounts:
                if one.path == path:
                    yield where, f"is the path of {other_section}.{name} too"
                elif section != other_section and _overlap(mount, other):
                    yield where, f"shares a folder with {other_section}; give them folders apart"
            mounts.append((section, mount, one.path, one.name))


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
