"""Parameters are checked by JSON Schema 2020-12, bounded, and handed over as whole strings."""

import json
import math
import os
import subprocess
import sys
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, strategies as st

from longshore import parameters
from longshore.errors import RequestInvalid
from longshore.parameters import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_STRING,
    MAX_VARIABLE,
    check_parameters,
    check_schema,
    parameter_environment,
    pointer,
    with_defaults,
)

Json = dict[str, Any]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def properties(**rules: Any) -> Json:
    return {"type": "object", "properties": rules}


def places(schema: Json, values: Any) -> list[str]:
    return [problem.where for problem in check_parameters(schema, values)]


# values

NULL = {"type": "null"}
CORPUS: list[tuple[Json, Json, list[str]]] = [
    (properties(a={"type": "integer"}), {"a": 1}, []),
    (properties(a={"type": "integer"}), {"a": 1.0}, []),
    (properties(a={"type": "integer"}), {"a": "1"}, ["/a"]),
    (properties(a={"type": "integer"}), {"a": True}, ["/a"]),
    (properties(a={"type": "integer"}), {"a": 1.5}, ["/a"]),
    (properties(a={"type": ["string", "null"]}), {"a": None}, []),
    (properties(a={"minimum": 0, "maximum": 9}), {"a": 10}, ["/a"]),
    (properties(a={"exclusiveMinimum": 0}), {"a": 0}, ["/a"]),
    (properties(a={"multipleOf": 0.5}), {"a": 0.75}, ["/a"]),
    (properties(a={"enum": ["x", 1, None]}), {"a": "y"}, ["/a"]),
    (properties(a={"const": 3}), {"a": 3}, []),
    (properties(a={"pattern": "^[a-z]+$"}), {"a": "A"}, ["/a"]),
    (properties(a={"maxLength": 2}), {"a": "\U0001f40c\U0001f40c"}, []),
    (properties(a={"format": "date"}), {"a": "2026-02-30"}, ["/a"]),
    (properties(a={"format": "email"}), {"a": "nobody"}, ["/a"]),
    (properties(a={"format": "made-up"}), {"a": "any"}, []),
    (properties(a={"prefixItems": [NULL], "items": False}), {"a": [None]}, []),
    (properties(a={"prefixItems": [{}], "items": False}), {"a": [1, 2]}, ["/a/1"]),
    (properties(a={"items": {"type": "integer"}}), {"a": [1, "x", 2, "y"]}, ["/a/1", "/a/3"]),
    (properties(a={"type": "array"}), {"a": (1, 2)}, []),
    (properties(a={"uniqueItems": True}), {"a": [1, 1.0]}, ["/a"]),
    (properties(a={"contains": {"const": 1}, "minContains": 2}), {"a": [1]}, ["/a"]),
    (properties(**{"a/b": NULL, "c~d": NULL}), {"a/b": 1, "c~d": 2}, ["/a~1b", "/c~0d"]),
    ({**properties(a={}), "required": ["a", "b"]}, {}, ["/a", "/b"]),
    (properties(a=properties(b={"type": "null"})), {"a": {"b": 1}}, ["/a/b"]),
    ({**properties(a={}, b={}), "dependentRequired": {"a": ["b"]}}, {"a": 1}, ["/b"]),
    ({**properties(a={}), "maxProperties": 0}, {"a": 1}, [""]),
    ({"$defs": {"n": NULL}, **properties(a={"$ref": "#/$defs/n"})}, {"a": 1}, ["/a"]),
    ({"allOf": [properties(a={}), properties(b={})]}, {"a": 1, "b": 2}, []),
    ({"allOf": [properties(a={})]}, {"b": 2}, ["/b"]),
    (
        {"if": {"required": ["a"]}, "then": {"required": ["b"]}, **properties(a={}, b={})},
        {"a": 1},
        ["/b"],
    ),
    (properties(a={}), {"A": 1}, ["/A"]),
    (properties(a={**properties(y={}), "additionalProperties": False}), {"a": {"x": 1}}, ["/a/x"]),
    ({"additionalProperties": True}, {"anything": {"at": ["all"]}}, []),
    ({"additionalProperties": {"type": "string"}}, {"a": "x", "b": 1}, ["/b"]),
    ({}, {"a": 1}, ["/a"]),
    ({}, {}, []),
]


@pytest.mark.parametrize(("schema", "values", "wrong"), CORPUS)
def test_values_are_checked_and_mistakes_have_pointers(
    schema: Json, values: Json, wrong: list[str]
) -> None:
    assert check_schema(schema) == ()
    assert places(schema, values) == [f"/parameters{place}" for place in wrong]


def test_every_mistake_is_named_at_once_and_once() -> None:
    schema = {**properties(a={"type": "integer"}, bee={"minimum": 0}), "required": ["c"]}
    problems = check_parameters(schema, {"a": "x", "bee": -1, "be": 0})
    assert sorted((problem.where, problem.message) for problem in problems) == [
        ("/parameters/a", '"x" is not of type "integer"'),
        ("/parameters/be", "is no parameter of the workflow; did you mean 'bee'?"),
        ("/parameters/bee", "-1 is less than the minimum of 0"),
        ("/parameters/c", "is required"),
    ]


@given(values=st.dictionaries(st.text(), json_values, max_size=4))
def test_a_workflow_without_a_schema_has_no_parameters(values: Json) -> None:
    assert len(check_parameters({}, values)) == len(values)


def test_a_pattern_that_explodes_ends_soon() -> None:
    schema = properties(a={"pattern": r"^(?=(a+)+$)\1"})
    assert places(schema, {"a": "a" * 5000 + "b"}) == ["/parameters/a"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x" * (MAX_STRING + 1), "is too long"),
        ("\u20ac" * (MAX_STRING // 3 + 1), "is too long"),
        (["x" * MAX_STRING] * 5, f"longer than {MAX_BYTES} bytes"),
        (list(range(MAX_BYTES)), f"longer than {MAX_BYTES} bytes"),
        ({"k" * (MAX_STRING + 1): 1}, "is too long"),
        (2**64, "too large a number"),
        (-(2**64), "too large a number"),
        (10**5000, "too large a number"),
        (math.inf, "not a finite number"),
        (math.nan, "not a finite number"),
        ("\ud800", "half a character"),
        ({"\udfff": 1}, "half a character"),
        ({1: 2}, "is no name"),
        ({None: 2}, "is no name"),
        (b"bytes", "a bytes is not JSON"),
        ({1, 2}, "a set is not JSON"),
        (MappingProxyType({}), "a mappingproxy is not JSON"),
    ],
    ids=lambda value: str(type(value).__name__) if not isinstance(value, str) else value[:20],
)
def test_what_json_cannot_say_or_nobody_needs_is_refused(value: Any, said: str) -> None:
    for schema in ({}, properties(a={}), {"additionalProperties": True}):
        (problem,) = check_parameters(schema, {"a": value})
        assert said in problem.message
        assert problem.where.startswith("/parameters")


@pytest.mark.parametrize("value", [2**64 - 1, -(2**64) + 1, 2**53 + 1, 1e308, 5e-324])
def test_large_numbers_are_compared_exactly(value: float) -> None:
    assert places(properties(a={"const": value}), {"a": value}) == []
    assert places(properties(a={"type": "number"}), {"a": value}) == []


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_deep_nesting_is_refused_without_going_down(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    (problem,) = check_parameters(properties(a={}), {"a": value})
    assert problem.message == "is nested too deeply"
    assert len(problem.where) < 200


def test_nesting_up_to_the_bound_is_fine() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH - 1):
        value = {"x": value}
    assert check_parameters(properties(a={}), {"a": value}) == ()


# schemas


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:1/schema",
        "https://example.org/schema",
        "file:///etc/passwd",
        "//host/schema",
        "other.json",
        "urn:example:schema",
        "#/$defs/none",
        "::::",
    ],
)
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_a_schema_is_complete_in_itself(uri: str, keyword: str) -> None:
    (problem,) = check_schema(properties(a={keyword: uri}))
    assert problem.message.startswith("is not a JSON Schema: ")


def test_a_remote_reference_below_another_base_is_refused_too() -> None:
    schema = {"$id": "http://127.0.0.1:1/base/", **properties(a={"$ref": "other"})}
    (problem,) = check_schema(schema)
    assert "a schema must be complete in itself" in problem.message


def test_the_dialect_itself_may_be_referred_to() -> None:
    schema = {"$schema": f"{parameters.DIALECT}#", **properties(a={"$ref": parameters.DIALECT})}
    assert check_schema(schema) == ()
    assert places(schema, {"a": {"type": "nonsense"}})


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"type": "array"}, "/type"),
        ({"type": ["object", "null"]}, "/type"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"),
        ({"$schema": 5}, "/$schema"),
        (properties(a=5), "/properties/a"),
        (properties(a={"type": "int"}), "/properties/a/type"),
        (properties(a={"pattern": "("}), "/properties/a/pattern"),
        (properties(a={"exclusiveMinimum": True}), "/properties/a/exclusiveMinimum"),
        (properties(**{"a/b": {"minLength": -1}}), "/properties/a~1b/minLength"),
        ({"required": "a"}, "/required"),
        ({"properties": []}, "/properties"),
        (properties(a={"const": math.inf}), ""),
        (properties(a={"const": {1, 2}}), ""),
        (properties(a={"const": 2**70}), "/properties/a/const"),
        (properties(a={"description": "x" * (MAX_STRING + 1)}), "/properties/a/description"),
    ],
)
def test_a_mistake_in_a_schema_has_its_place(schema: Json, where: str) -> None:
    assert [problem.where for problem in check_schema(schema)] == [where]


def test_every_mistake_in_a_schema_is_named_at_once() -> None:
    found = check_schema(properties(a={"type": "int"}, b={"minLength": -1}, c=5))
    assert {problem.where for problem in found} == {
        "/properties/a/type",
        "/properties/b/minLength",
        "/properties/c",
    }


def test_a_deep_schema_is_refused() -> None:
    schema: Json = {}
    for _ in range(5000):
        schema = properties(a=schema)
    (problem,) = check_schema(schema)
    assert "recursion" in problem.message


def test_a_schema_may_refer_to_itself() -> None:
    tree = {"properties": {"left": {"$ref": "#/$defs/tree"}}, "additionalProperties": False}
    schema = {"$defs": {"tree": tree}, **properties(root={"$ref": "#/$defs/tree"})}
    assert check_schema(schema) == ()
    assert places(schema, {"root": {"left": {"left": {}}}}) == []
    assert places(schema, {"root": {"left": {"right": {}}}}) == ["/parameters/root/left/right"]


@given(schema=st.dictionaries(st.sampled_from(["type", "properties", "$ref", "not"]), json_values))
def test_any_schema_is_used_or_refused(schema: Json) -> None:
    if not check_schema(schema):
        check_parameters(schema, {"a": 1})


# defaults


def test_a_default_fills_in_what_is_absent_and_nothing_else() -> None:
    schema = properties(a={"default": 1}, b={"default": None}, c={}, d=True)
    assert with_defaults(schema, {}) == {"a": 1, "b": None}
    assert with_defaults(schema, {"a": None, "c": 3}) == {"a": None, "b": None, "c": 3}
    assert with_defaults({}, {"a": 1}) == {"a": 1}


def test_the_given_values_are_not_changed_by_defaults() -> None:
    given_values: Json = {}
    with_defaults(properties(a={"default": 1}), given_values)
    assert given_values == {}


# what the worker sees


@given(values=st.dictionaries(st.sampled_from(["a", "b-c", "d.e", "F"]), json_values))
def test_strings_are_handed_over_raw_and_all_else_as_json(values: Json) -> None:
    if any(isinstance(value, str) and "\0" in value for value in values.values()):
        with pytest.raises(RequestInvalid, match="holds NUL"):
            parameter_environment(values)
        return
    environment = parameter_environment(values)
    names = {"a": "LS_PARAM_A", "b-c": "LS_PARAM_B_C", "d.e": "LS_PARAM_D_E", "F": "LS_PARAM_F"}
    assert set(environment) == {names[name] for name in values}
    for name, value in values.items():
        text = environment[names[name]]
        assert text == value if isinstance(value, str) else json.loads(text) == value


@pytest.mark.parametrize(
    ("values", "where", "said"),
    [
        ({"a": "x\0y"}, "/parameters/a", "holds NUL"),
        ({"a=b": 1}, "/parameters/a=b", "is no name"),
        ({"": 1}, "/parameters/", "is no name"),
        ({"a b": 1}, "/parameters/a b", "is no name"),
        ({"\xe4": 1}, "/parameters/\xe4", "is no name"),
        ({"a" * 64: 1}, f"/parameters/{'a' * 64}", "is no name"),
        ({"a.b": 1, "A_B": 2}, "/parameters/A_B", "LS_PARAM_A_B"),
        ({"a": ["\1" * 30_000]}, "/parameters/a", "as a variable"),
    ],
)
def test_what_no_variable_can_hold_is_refused(values: Json, where: str, said: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parameter_environment(values)
    (problem,) = caught.value.problems
    assert problem.where == where
    assert said in problem.message


@pytest.mark.skipif(sys.platform != "linux", reason="Linux bounds a single variable")
def test_the_longest_value_still_starts_a_program() -> None:
    name = "n" * 63
    environment = parameter_environment({name: "x" * MAX_VARIABLE})
    script = f"import os; print(len(os.environ['LS_PARAM_{name.upper()}']))"
    argv = [sys.executable, "-c", script]
    said = subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, check=True)
    assert int(said.stdout) == MAX_VARIABLE


def test_a_pointer_escapes_what_it_must() -> None:
    assert pointer("a/b", 0, "c~d") == "/a~1b/0/c~0d"
    assert pointer() == ""
