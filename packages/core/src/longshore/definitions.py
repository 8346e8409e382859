"""Workflow definitions: TOML or JSON files, or data from elsewhere, to ``Workflow``.

Every mistake is named at once, with its file, its key and what to do. One table per section says
which keys there are and how each is parsed (``longshore.grammar``).
"""

import json
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from longshore import grammar
from longshore.consistency import FOLDER, contradictions
from longshore.dotenv import MAX_SIZE as MAX_ENV
from longshore.errors import Problem, WorkflowInvalid
from longshore.models import (
    Dataset,
    Input,
    InputKind,
    LogRule,
    Network,
    Output,
    OutputKind,
    Release,
    ReleaseRule,
    Resources,
    Workflow,
)
from longshore.parameters import (
    check_parameters,
    check_schema,
    closed_schema,
    environment_name,
    pointer,
)
from longshore.quantities import RESOURCES
from longshore.suggestions import did_you_mean

#: bytes of one definition
MAX_FILE = 1024**2
_ENV_SIZE = 64 * 1024


def _release_rule(value: object) -> ReleaseRule:
    if grammar.member(ReleaseRule)(value) is not ReleaseRule.AUTO:
        raise ValueError('only "auto" is supported')
    return ReleaseRule.AUTO


Fields = Mapping[str, grammar.Parser]
_WORKFLOW: Fields = {
    "id": grammar.workflow_id,
    "title": grammar.word,
    "version": grammar.version,
    "description": grammar.text,
    "image": grammar.image,
    "command": grammar.command,
    "network": grammar.member(Network),
    "restartable": grammar.flag,
    "backend": grammar.name,
}
_INPUT: Fields = {
    "kind": grammar.member(InputKind),
    "path": grammar.place,
    "max_size": grammar.size,
    "max_unpacked": grammar.size,
    "required": grammar.flag,
    "names": grammar.variables,
    "description": grammar.text,
    "media_type": grammar.media_type,
}
_OUTPUT: Fields = {
    "kind": grammar.member(OutputKind),
    "path": grammar.place,
    "max_size": grammar.size,
    "required": grammar.flag,
    "description": grammar.text,
    "media_type": grammar.media_type,
}
_DATASET: Fields = {
    "source": grammar.word,
    "path": grammar.place,
    "description": grammar.text,
}
_RELEASE: Fields = {"outputs": _release_rule, "logs": grammar.member(LogRule)}
#: keys that only some kinds of input have
_ONLY: Mapping[str, frozenset[InputKind]] = {
    "names": frozenset({InputKind.ENV}),
    "max_unpacked": frozenset({InputKind.ARCHIVE}),
    "path": frozenset({InputKind.FILE, InputKind.ARCHIVE}),
    "media_type": frozenset({InputKind.FILE, InputKind.ARCHIVE}),
}


class _Reader:
    """Reads tables and collects what is wrong with them."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.problems: list[Problem] = []

    def problem(self, where: str, message: str) -> None:
        self.problems.append(
            Problem(f"{self._source}: {where}" if where else self._source, message)
        )

    def table(self, where: str, value: object) -> Mapping[Any, Any]:
        """Return ``value`` if it is a table, else an empty one."""
        if not isinstance(value, Mapping):
            self.problem(where, "must be a table")
            return {}
        return value

    def fields(self, where: str, value: object, fields: Fields, also: tuple[str, ...] = ()) -> Any:
        """Return the parsed values of a table whose keys are ``fields`` (and ``also``, unread)."""
        found: dict[str, Any] = {}
        for key, raw in self.table(where, value).items():
            place = f"{where}.{key}" if where else str(key)
            if key in also:
                continue
            if key not in fields:
                hint = did_you_mean(str(key), (*fields, *also))
                self.problem(place, f"there is no such key{hint}")
                continue
            try:
                found[key] = fields[key](raw)
            except (ValueError, RecursionError) as exc:
                self.problem(place, str(exc))
        return found

    def named(self, where: str, value: object) -> Iterator[tuple[str, Any]]:
        """Yield the entries of a table whose keys are names of ours, and of variables."""
        variables: dict[str, str] = {}
        for name, raw in self.table(where, value).items():
            try:
                grammar.name(name)
            except ValueError as exc:
                self.problem(f"{where}.{name}", str(exc))
                continue
            other = variables.setdefault(environment_name(name), name)
            if other != name:
                self.problem(f"{where}.{name}", f"is {other!r} as a variable; rename one")
            yield name, raw


def parse_workflow(
    data: Mapping[str, Any], *, source: str, directory: Path | None = None
) -> Workflow:
    """Return the workflow that ``data`` defines.

    Args:
        data: what a definition file holds, from a file, code or a request.
        source: where it comes from; every problem begins with it.
        directory: the folder beside a host workflow's definition. The workflow keeps it where its
            command speaks of ``/workflow``.

    Raises:
        WorkflowInvalid: with every mistake.
    """
    reader = _Reader(source)
    table = reader.table("", data)
    values = reader.fields("", table, _WORKFLOW, also=(*_SECTIONS, *_RESOURCES))
    if "id" not in table:
        reader.problem("id", "is required")
    if not {"command", "image"} & table.keys():
        reader.problem("command", "is required where there is no image")
    for section, read in _SECTIONS.items():
        if section in table:
            values[section] = read(reader, section, table[section])
    values |= _resources(reader, table)
    workflow = Workflow(**{"id": "", **values})
    if any(FOLDER in word for word in workflow.command) and workflow.image is None:
        workflow = attrs.evolve(workflow, directory=directory)
    for where, message in contradictions(workflow):
        reader.problem(where, message)
    if reader.problems:
        raise WorkflowInvalid(f"{source} is not a workflow definition", reader.problems)
    return workflow


def load_workflow(path: Path) -> Workflow:
    """Return the workflow of a ``.toml`` or ``.json`` file.

    Raises:
        WorkflowInvalid: the file cannot be read, is not TOML or JSON, or has mistakes.
    """
    return _load(path, path.name)


def load_directory(path: Path) -> tuple[Workflow, ...]:
    """Return the workflows of a directory, in the order of their files' names.

    Definitions are its ``*.toml`` and ``*.json`` files, and ``NAME/NAME.toml`` or
    ``NAME/NAME.json`` for workflows with a folder of their own. Other files are not read.

    Raises:
        WorkflowInvalid: with the mistakes of all files; two files may not define one id.
    """
    try:
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as exc:
        problem = Problem(str(path), f"cannot be read: {exc.strerror}")
        raise WorkflowInvalid("no directory of workflows", [problem]) from exc
    candidates = [
        candidate
        for entry in entries
        for candidate in ((entry,) if not entry.is_dir() else _inside(entry))
        if candidate.suffix in (".toml", ".json")
    ]
    workflows: dict[str, Workflow] = {}
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    for file in candidates:
        source = file.relative_to(path).as_posix()
        try:
            workflow = _load(file, source)
        except WorkflowInvalid as exc:
            problems += exc.problems
            continue
        if workflow.id in workflows:
            message = f"{workflow.id!r} is also the id of {sources[workflow.id]}"
            problems.append(Problem(f"{source}: id", message))
        workflows[workflow.id], sources[workflow.id] = workflow, source
    if problems:
        raise WorkflowInvalid(f"mistakes in the workflows of {path}", problems)
    return tuple(workflows.values())


def _inside(folder: Path) -> list[Path]:
    own = [folder / f"{folder.name}{suffix}" for suffix in (".json", ".toml")]
    return [file for file in own if file.exists()]


def _load(path: Path, source: str) -> Workflow:
    try:
        data = _DECODERS.get(path.suffix, _from_toml)(_read(path))
    except (OSError, ValueError, RecursionError) as exc:
        message = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise WorkflowInvalid(
            f"{source} is not a workflow definition", [Problem(source, message)]
        ) from exc
    return parse_workflow(data, source=source, directory=path.parent.absolute())


def _read(path: Path) -> str:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would wait for ever
        raise ValueError("is not a regular file")
    with path.open("rb") as file:
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise ValueError(f"has more than {MAX_FILE} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise ValueError(f"is not UTF-8 (at line {line})") from exc


def _from_toml(text: str) -> Any:
    import tomllib  # noqa: PLC0415 - only files need it

    return tomllib.loads(text)


def _from_json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise ValueError(f"a key is there twice, among {', '.join(table)}")
        return table

    return json.loads(text, object_pairs_hook=unique)


_DECODERS = {".toml": _from_toml, ".json": _from_json}


def _parameters(reader: _Reader, where: str, value: object) -> dict[str, Any]:
    schema = reader.table(where, value)
    if not schema:
        return {}
    problems = check_schema(schema)
    for problem in problems:
        reader.problem(where + problem.where.replace("/", "."), problem.message)
    if problems:
        return {}
    closed = closed_schema(schema)
    for name, rule in reader.named(f"{where}.properties", closed.get("properties", {})):
        if isinstance(rule, Mapping) and "default" in rule:
            place = pointer("parameters", name)
            for problem in check_parameters(closed, {name: rule["default"]}):
                if f"{problem.where}/".startswith(f"{place}/"):  # others: what is absent here
                    reader.problem(f"{where}.properties.{name}.default", problem.message)
    return closed


def _inputs(reader: _Reader, where: str, value: object) -> dict[str, Input]:
    found: dict[str, Input] = {}
    for name, raw in reader.named(where, value):
        place = f"{where}.{name}"
        values = reader.fields(place, raw, _INPUT)
        kind = values.get("kind", InputKind.FILE)
        for key, of in _ONLY.items():
            if key in values and kind not in of and ("kind" in values) == ("kind" in raw):
                reader.problem(f"{place}.{key}", f"means nothing for kind {kind.value!r}")
        if kind is InputKind.ENV:
            values.setdefault("max_size", _ENV_SIZE)
            if values["max_size"] > MAX_ENV:
                reader.problem(f"{place}.max_size", f"is more than {MAX_ENV} bytes")
            if "names" not in values and "names" not in raw:
                reader.problem(f"{place}.names", "is required: the variables that may be set")
        found[name] = Input(name=name, **values)
    return found


def _outputs(reader: _Reader, where: str, value: object) -> dict[str, Output]:
    return {
        name: Output(name=name, **reader.fields(f"{where}.{name}", raw, _OUTPUT))
        for name, raw in reader.named(where, value)
    }


def _datasets(reader: _Reader, where: str, value: object) -> dict[str, Dataset]:
    found: dict[str, Dataset] = {}
    for name, raw in reader.named(where, value):
        values = reader.fields(f"{where}.{name}", raw, _DATASET)
        if isinstance(raw, Mapping) and "source" not in raw:
            reader.problem(f"{where}.{name}.source", "is required")
        found[name] = Dataset(**{"name": name, "source": "", **values})
    return found


def _release(reader: _Reader, where: str, value: object) -> Release:
    return Release(**reader.fields(where, value, _RELEASE))


def _resources(reader: _Reader, table: Mapping[str, Any]) -> dict[str, Resources]:
    resources = Resources(**reader.fields("resources", table.get("resources", {}), RESOURCES))
    if "max_resources" not in table:
        return {"resources": resources}
    bounds = reader.fields("max_resources", table["max_resources"], RESOURCES)
    for name, most in bounds.items():
        if most < getattr(resources, name):
            reader.problem(f"max_resources.{name}", f"is less than resources.{name}")
    return {"resources": resources, "max_resources": attrs.evolve(resources, **bounds)}


#: the sections that stand on their own; ``resources`` and ``max_resources`` are read together
_SECTIONS: Mapping[str, Callable[[_Reader, str, object], Any]] = {
    "parameters": _parameters,
    "inputs": _inputs,
    "outputs": _outputs,
    "datasets": _datasets,
    "release": _release,
}
_RESOURCES = ("resources", "max_resources")
