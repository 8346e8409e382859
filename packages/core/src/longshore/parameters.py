"""Parameters of a job: checked against the workflow's JSON Schema, then handed to the worker.

Values reach a worker as whole strings of its environment and as a JSON file, never through a
template or a shell.
"""

import functools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from longshore.errors import MOST_TOLD, Problem, RequestInvalid
from longshore.suggestions import did_you_mean

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PREFIX = "LS_PARAM_"
#: bytes of one string and of all values together, and how deep values nest
MAX_STRING = 64 * 1024
MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
#: bytes of one value as a variable: the kernel starts no program with 128 KiB in one
MAX_VARIABLE = 120 * 1024
#: bytes that light values have in memory at most, and each of them at least, both about
_LIGHT = 8 * 1024
_NODE = 64
#: keywords whose properties ``additionalProperties`` beside them does not see
_COMPOSING = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "$dynamicRef"})
#: how many values are few, and how many characters short
_FEW = 16
_SHORT = 63
#: by exact type, as a subclass may be anything: whether a value is short, and as it seems
_SIMPLE: Mapping[type, Callable[[Any], bool]] = MappingProxyType(
    {
        str: lambda text: len(text) <= _SHORT and text.isprintable() and text.isascii(),
        int: lambda number: -(2**53) < number < 2**53,
        float: math.isfinite,
        bool: lambda _: True,
    }
)
_PLAIN_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,62}\Z")


def environment_name(name: str) -> str:
    """Return ``name`` as part of a variable's name: upper case, ``-`` and ``.`` as ``_``."""
    return name.replace("-", "_").replace(".", "_").upper()


def pointer(*parts: object) -> str:
    """Return the JSON Pointer of a place."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def closed_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``schema`` as one of an object, in which unknown names are refused.

    A schema that speaks of them itself (``additionalProperties`` or ``unevaluatedProperties``)
    stays as it is.
    """
    closed = {"type": "object", **schema}
    if not {"additionalProperties", "unevaluatedProperties"} & closed.keys():
        keyword = "unevaluated" if _COMPOSING & closed.keys() else "additional"
        closed[f"{keyword}Properties"] = False
    return closed


def check_schema(schema: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Return what is wrong with a JSON Schema of parameters; places are JSON Pointers into it.

    References to other documents are refused: nothing is ever fetched.
    """
    if schema.get("type", "object") != "object":
        return (Problem("/type", "must be 'object': parameters have names"),)
    if str(schema.get("$schema", DIALECT)).rstrip("#") != DIALECT:
        return (Problem("/$schema", f"only {DIALECT} is supported"),)
    try:
        text = json.dumps(closed_schema(schema), allow_nan=False)
        if (problem := _bounds(json.loads(text), "")) is not None:
            return (problem,)
        mistakes = _compile(json.dumps({"$ref": DIALECT})).iter_errors(json.loads(text))
        problems = dict.fromkeys(
            Problem(pointer(*one.instance_path), f"is not a JSON Schema: {one.message}")
            for one in mistakes
        )
        if not problems:
            _compile(text)
    except (TypeError, ValueError, RecursionError) as exc:
        where = pointer(*getattr(exc, "instance_path", ()))
        return (Problem(where, f"is not a JSON Schema: {getattr(exc, 'message', exc)}"),)
    return tuple(problems)


def check_parameters(schema: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Return what is wrong with ``values``; places are JSON Pointers below ``/parameters``.

    What is right can also be given to a worker: see ``parameter_environment``.
    """
    plain, is_simple = dict(values), _is_simple(values)
    problem = None if is_simple else _bounds(plain, "/parameters")
    if problem is not None:
        return (problem,)
    if not schema:
        return tuple(_unknown(name, ()) for name in islice(values, MOST_TOLD + 1))
    validator = _validator(schema)
    if validator.is_valid(plain):
        return () if is_simple else _unfit(plain)
    errors = validator.iter_errors(plain)
    found = chain.from_iterable(_problems(error, schema) for error in errors)
    return tuple(dict.fromkeys(islice(found, MOST_TOLD + 1)))  # in order, each once


def _is_simple(values: Mapping[str, Any]) -> bool:
    """Say whether values are as most are: few, short and flat, so that no bound can be near.

    Then no name is another one's as a variable, either.
    """
    if len(values) > _FEW:
        return False
    for name, value in values.items():
        is_plain = _SIMPLE.get(type(value))
        if is_plain is None or not is_plain(value):
            return False
        if type(name) is not str or not _PLAIN_NAME.match(name):
            return False
    return True


def is_light(values: Mapping[str, Any]) -> bool:
    """Say whether values are so few and short that those of thousands of jobs fit in memory."""
    if _is_simple(values):
        return True
    left = _LIGHT
    todo: list[Any] = [values]
    while todo:
        value = todo.pop()
        left -= _NODE
        if isinstance(value, str):
            left -= len(value)
        elif isinstance(value, Mapping | list | tuple):
            left -= _NODE * len(value)
            if left >= 0:
                todo += [*value, *value.values()] if isinstance(value, Mapping) else value
        if left < 0:
            return False
    return True


def with_defaults(schema: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` and, for what is absent, the ``default`` of each top-level property."""
    properties = schema.get("properties", {})
    defaults = {
        name: rule["default"]
        for name, rule in properties.items()
        if isinstance(rule, Mapping) and "default" in rule
    }
    return {**defaults, **values}


def parameter_environment(values: Mapping[str, Any]) -> dict[str, str]:
    """Return ``LS_PARAM_<NAME>`` for each value: strings as they are, everything else as JSON.

    Raises:
        RequestInvalid: a string holds NUL, a name cannot be a variable's, or two become one.
    """
    environment: dict[str, str] = {}
    problems: list[Problem] = []
    for name, value in values.items():
        variable = PREFIX + environment_name(name)
        text = value if isinstance(value, str) else _dumps(value)
        if not _NAME.match(name):
            problems.append(Problem(pointer("parameters", name), "is no name of a parameter"))
        elif "\0" in text:
            problems.append(Problem(pointer("parameters", name), "holds NUL"))
        elif len(text.encode()) > MAX_VARIABLE:
            message = f"has more than {MAX_VARIABLE} bytes as a variable"
            problems.append(Problem(pointer("parameters", name), message))
        elif variable in environment:
            message = f"is {variable} for the worker, and so is another parameter"
            problems.append(Problem(pointer("parameters", name), message))
        environment[variable] = text
    if problems:
        raise RequestInvalid("the parameters cannot be given to the worker", problems)
    return environment


#: made once: ``json.dumps`` makes a new encoder for every call that is not the default's
_dumps = json.JSONEncoder(ensure_ascii=False).encode
_MOST_VALIDATORS = 256
_validators: dict[int, tuple[Mapping[str, Any], "Draft202012Validator"]] = {}


def _unfit(values: Mapping[str, Any]) -> tuple[Problem, ...]:
    try:
        parameter_environment(values)
    except RequestInvalid as exc:
        return exc.problems
    return ()


def _validator(schema: Mapping[str, Any]) -> "Draft202012Validator":
    """Return the validator of a schema: of the very same one, without looking into it again."""
    kept = _validators.get(id(schema))
    if kept is None or kept[0] is not schema:
        while len(_validators) >= _MOST_VALIDATORS:
            del _validators[next(iter(_validators))]
        kept = (schema, _compile(json.dumps(closed_schema(schema))))
        _validators[id(schema)] = kept
    return kept[1]


@functools.lru_cache(maxsize=256)
def _compile(text: str) -> "Draft202012Validator":
    from jsonschema_rs import Draft202012Validator  # noqa: PLC0415 - 5 ms that only jobs need

    return Draft202012Validator(json.loads(text), validate_formats=True, retriever=_refuse)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is another document; a schema must be complete in itself")


def _problems(error: "ValidationError", schema: Mapping[str, Any]) -> Iterator[Problem]:
    path = ("parameters", *error.instance_path)
    unexpected = getattr(error.kind, "unexpected", None)
    missing = getattr(error.kind, "property", None)
    if isinstance(unexpected, list):
        known = schema.get("properties", {}) if len(path) == 1 else ()
        for name in unexpected:
            yield _unknown(name, known, *path[1:])
    elif isinstance(missing, str):
        yield Problem(pointer(*path, missing), "is required")
    else:
        yield Problem(pointer(*path), error.message)


def _unknown(name: object, known: Any, *path: object) -> Problem:
    hint = did_you_mean(str(name), known) if known else ""
    return Problem(pointer("parameters", *path, name), f"is no parameter of the workflow{hint}")


def _bounds(values: object, where: str) -> Problem | None:
    """Return why ``values`` are not JSON that we take: depth, size, and what JSON cannot say."""
    size = 0
    todo: list[tuple[object, str, int]] = [(values, where, 0)]
    while todo:
        value, place, depth = todo.pop()
        message, length = _bound(value, depth)
        size += length
        if message:
            return Problem(place, message)
        if size > MAX_BYTES:
            return Problem(where, f"is longer than {MAX_BYTES} bytes")
        if isinstance(value, dict):
            for name, item in value.items():
                if not isinstance(name, str):
                    return Problem(place, f"{name!r} is no name: not a text")
                todo += [(name, place, depth), (item, place + pointer(name), depth + 1)]
        elif isinstance(value, list | tuple):
            todo += [(item, f"{place}/{n}", depth + 1) for n, item in enumerate(value)]
    return None


def _bound(value: object, depth: int) -> tuple[str, int]:
    """Return what is wrong with one value, and about how many bytes it has."""
    if isinstance(value, str):
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            return "holds half a character (a lone surrogate)", 0
        return ("is too long", 0) if size > MAX_STRING else ("", size)
    if isinstance(value, float):
        return ("", 8) if math.isfinite(value) else ("is not a finite number", 0)
    if isinstance(value, int):  # beyond a double, JSON readers disagree
        return ("", 8) if abs(value) < 2**64 else ("is too large a number", 0)
    if isinstance(value, dict | list | tuple):
        return ("is nested too deeply", 0) if depth > MAX_DEPTH else ("", 2)
    return ("", 4) if value is None else (f"a {type(value).__name__} is not JSON", 0)
