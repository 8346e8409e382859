"""Whoever sends a body with mistakes is told all of them, each with its place."""

from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given, strategies
from tests.inside import Inside

from longshore.errors import MOST_TOLD
from longshore_api.mistakes import mistakes_of, pointer_to
from longshore_api.schemas.access import NewAgreement, NewToken
from longshore_api.schemas.jobs import Completion, NewJob


@pytest.fixture(scope="module")
def provider(inside: Inside) -> httpx2.Client:
    """An administrator."""
    return inside.admin()


def told(answer: httpx2.Response) -> dict[str, str]:
    """Return what is said, by pointer; every pointer once."""
    errors = answer.json()["errors"]
    found = {one["pointer"]: one["detail"] for one in errors}
    assert len(found) == len(errors)
    return found


def test_the_shape_of_an_agreement_is_told_at_once(provider: httpx2.Client) -> None:
    body = {
        "workflows": ["copy", 5, None],
        "validFrom": "tomorrow",
        "validUntil": 17,
        "atEnd": True,
        "tennant": "acme",
        "a/b~c": 1,
    }
    answer = provider.post("/v1/agreements", json=body)

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    known = ("atEnd", "quotas", "tenant", "validFrom", "validUntil", "workflows")
    time = "must be a time with its zone, such as 2027-01-01T00:00:00Z"
    assert told(answer) == {
        "/workflows/1": "must be a text, not a number",
        "/workflows/2": "must be a text, not null",
        "/validFrom": time,
        "/validUntil": "must be a text, not a number",
        "/atEnd": "must be a text, not true or false",
        "/tennant": "is no member; did you mean 'tenant'?",
        "/a~1b~0c": f"is no member; known are {', '.join(known)}",
        "/tenant": "is missing",
    }


def test_what_an_agreement_says_is_told_at_once(provider: httpx2.Client) -> None:
    body = {
        "tenant": "no good",
        "workflows": ["*", "UPPER"],
        "validUntil": "2001-01-01T00:00:00Z",
        "atEnd": "halt",
        "quotas": {"jobs": 1},
    }
    answer = provider.post("/v1/agreements", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "request-invalid")
    found = told(answer)
    assert found["/atEnd"] == "must be stop or drain"
    places = {"/tenant", "/workflows", "/workflows/1", "/validUntil", "/atEnd", "/quotas"}
    assert found.keys() == places


def test_a_token_is_refused_with_all_its_mistakes(inside: Inside, provider: httpx2.Client) -> None:
    path = f"/v1/agreements/{inside.agreement('acme')}/tokens"

    shape = provider.post(path, json={"scopes": [1, "jobs:read"], "expiresAt": [], "role": "x"})
    sense = provider.post(path, json={"scopes": ["jobs"], "expiresAt": "2001-01-01T00:00:00Z"})

    assert (shape.status_code, set(told(shape))) == (400, {"/scopes/0", "/expiresAt", "/role"})
    assert (sense.status_code, set(told(sense))) == (422, {"/scopes/0", "/expiresAt"})


def test_a_workflow_is_refused_with_pointers_into_its_body(provider: httpx2.Client) -> None:
    body = {
        "id": "another",
        "title": 5,
        "inputs": {"text": {"kind": "fil"}, "a b.c": {}},
        "resources": {"ram": 1},
        "comand": [],
    }
    answer = provider.put("/v1/workflows/mine", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "workflow-invalid")
    found = told(answer)
    assert found["/id"] == "is not 'mine', which the address says"
    places = (
        "/title",
        "/inputs/text/kind",
        "/inputs/a b.c",
        "/resources/ram",
        "/comand",
        "/command",
    )
    assert found.keys() == {"/id", *places}


def test_a_workflow_that_nothing_would_run_is_told_with_its_place(provider: httpx2.Client) -> None:
    body = {"id": "mine", "command": ["/bin/true"], "backend": "clouds"}
    answer = provider.put("/v1/workflows/mine", json=body)

    assert (answer.status_code, set(told(answer))) == (422, {"/backend"})


def test_an_agreement_about_what_is_not_offered_is_made_and_says_so(
    provider: httpx2.Client,
) -> None:
    made = provider.post("/v1/agreements", json={"tenant": "acme", "workflows": ["copi", "copy"]})
    every = provider.post("/v1/agreements", json={"tenant": "acme", "workflows": ["*"]})

    assert (made.status_code, every.status_code) == (201, 201)
    detail = "no workflow 'copi' is offered now; did you mean 'copy'?"
    assert made.json()["warnings"] == [{"pointer": "/workflows/0", "detail": detail}]
    assert every.json()["warnings"] == []
    shown = provider.get(f"/v1/agreements/{made.json()['id']}").json()
    assert shown["workflows"] == ["copi", "copy"]
    assert "warnings" not in shown


def test_a_workflow_that_is_not_there_is_told_once(provider: httpx2.Client) -> None:
    near = provider.get("/v1/workflows/copi").json()
    far = provider.get("/v1/workflows/xyz").json()

    assert near["detail"] == "there is no workflow 'copi'; did you mean 'copy'?"
    assert far["detail"] == "there is no workflow 'xyz'; known are copy, gated"
    assert near["hint"] == far["hint"] == "list workflows"


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("", ""),
        ("a", "/a"),
        ("inputs.text.kind", "/inputs/text/kind"),
        ("inputs.a.b.kind", "/inputs/a.b/kind"),
        ("inputs.a~b.x/y", "/inputs/a~0b/x~1y"),
        ("gone.x.y", "/gone/x/y"),
    ],
)
def test_a_path_becomes_a_pointer(path: str, pointer: str) -> None:
    tree: Any = {"inputs": {"a.b": {}, "a": {}, "text": {}, "a~b": {}}}

    assert pointer_to(path, tree) == pointer


@pytest.mark.parametrize("where", ["", "inputs", "parameters", "resources"])
def test_a_body_full_of_mistakes_is_told_some_of_them_and_that_there_are_more(
    client: httpx2.Client, where: str
) -> None:
    many: dict[str, Any] = {f"n{number}": 1 for number in range(10_000)}
    if where == "inputs":
        many = {name: {"text": ""} for name in many}
    body = {"workflow": "copy", **({where: many} if where else many)}

    answer = client.post("/v1/jobs", json=body)

    *told, last = answer.json()["errors"]
    assert len(told) == MOST_TOLD
    assert (last["pointer"], "there are more" in last["detail"]) == ("", True)


def test_the_name_of_an_input_is_escaped_in_its_place(client: httpx2.Client) -> None:
    answer = client.post("/v1/jobs", json={"workflow": "copy", "inputs": {"a/b~c": {}}})

    assert [one["pointer"] for one in answer.json()["errors"]] == ["/inputs/a~1b~0c"]


_LEAVES: strategies.SearchStrategy[Any] = strategies.one_of(
    strategies.none(),
    strategies.booleans(),
    strategies.integers(-(2**70), 2**70),
    strategies.floats(allow_nan=False, allow_infinity=False),
    strategies.text(max_size=5),
    strategies.just("2027-01-01T00:00:00Z"),
)
_KEYS = strategies.sampled_from(
    (
        *("tenant", "workflows", "validFrom", "atEnd", "quotas", "scopes", "expiresAt", "workflow"),
        *("inputs", "text", "upload", "size", "sha256", "resources", "start", "parts", "number"),
    )
)
_TREES = strategies.recursive(
    _LEAVES,
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(_KEYS | strategies.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=20,
)


@given(tree=_TREES)
@pytest.mark.parametrize("kind", [NewAgreement, NewToken, NewJob, Completion])
def test_mistakes_are_found_exactly_where_the_body_is_refused(kind: Any, tree: Any) -> None:
    """What is said in our words is neither more nor less than what msgspec refuses."""
    try:
        msgspec.convert(tree, kind)
    except msgspec.ValidationError:
        assert mistakes_of(tree, kind)
    else:
        assert mistakes_of(tree, kind) == []
