"""The OpenAPI document: valid, whole, and what the service does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from tests.serving import Service

from longshore_api.app import make_router
from longshore_api.openapi import make_document, make_tree
from longshore_api.problems import MEDIA_TYPE, STATUS

METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}
Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def tree() -> dict[str, Any]:
    return make_tree("https://compute.example/longshore")


@pytest.fixture(scope="module")
def operations(tree: dict[str, Any]) -> list[Operation]:
    return [
        (path, method, operation)
        for path, item in tree["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def test_it_is_valid_openapi(tree: dict[str, Any]) -> None:
    schemas = Path(__file__).parent / "oas-3.1"
    base = json.loads((schemas / "schema.json").read_text())

    errors = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in Draft202012Validator(base).iter_errors(tree)
    ]

    assert errors == []


def test_every_schema_in_it_is_one(tree: dict[str, Any], operations: list[Operation]) -> None:
    for schema in [*tree["components"]["schemas"].values(), *_schemas(operations)]:
        Draft202012Validator.check_schema(schema)


def test_every_reference_leads_somewhere(tree: dict[str, Any]) -> None:
    names = set(tree["components"]["schemas"])

    assert {ref.removeprefix("#/components/schemas/") for ref in _references(tree)} <= names


def test_every_route_is_in_it(operations: list[Operation]) -> None:
    routes = {
        (path.replace(":str}", "}"), method.lower())
        for route in make_router().routes
        for handler in route.route_handlers  # type: ignore[union-attr]  # only HTTP here
        for path in [route.path]
        for method in handler.http_methods
        if handler.resolve_include_in_schema() and method != "HEAD"  # every GET has one
    }

    assert {(path, method) for path, method, _ in operations} == routes


def test_every_operation_is_explained(tree: dict[str, Any], operations: list[Operation]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations]
    tags = {tag["name"] for tag in tree["tags"]}

    assert len(set(ids)) == len(ids)
    for path, method, operation in operations:
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert set(operation["tags"]) <= tags, where
        assert ("security" in operation) is (path in {"/livez", "/readyz", "/openapi.json"}), where
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], f"{where}: {parameter['name']}"
            schema = parameter["schema"]
            bounds = {"maxLength", "maximum", "enum", "items", "format", "$ref"} & set(schema)
            assert bounds or schema["type"] == "boolean", f"{where}: {parameter['name']}"


def test_every_answer_has_its_media_type(operations: list[Operation]) -> None:
    for path, method, operation in operations:
        for status, response in operation["responses"].items():
            where = f"{method} {path}: {status}"
            content = response.get("content", {})
            if int(status) >= 400:
                assert set(content) == {MEDIA_TYPE}, where
                assert int(status) in STATUS.values(), where
            elif status in {"204", "304", "307"}:
                assert content == {}, where
            else:
                assert content, where
            for kind, media in content.items():
                assert "example" in media or path == "/openapi.json", f"{where}: {kind}"
            if status in {"429", "503"}:
                assert "Retry-After" in response["headers"], where


def test_every_example_fits_its_schema(tree: dict[str, Any], operations: list[Operation]) -> None:
    registry = Registry().with_resource("urn:doc", Resource.opaque(tree))
    checked = 0
    for where, media in _media(operations):
        if "example" in media:
            schema = json.loads(json.dumps(media["schema"]).replace('"#/', '"urn:doc#/'))
            validator = Draft202012Validator(schema, registry=_absolute(registry, tree))
            errors = [error.message for error in validator.iter_errors(media["example"])]
            assert errors == [], where
            checked += 1
    assert checked > 100


def test_answers_that_differ_from_the_rule_are_told(tree: dict[str, Any]) -> None:
    paths = tree["paths"]
    submitted = paths["/v1/jobs"]["post"]["responses"]
    redirect = paths["/v1/jobs/{job_id}/outputs/{name}"]["get"]["responses"]["307"]
    events = paths["/v1/jobs/{job_id}/events"]["get"]["responses"]["200"]
    log = paths["/v1/jobs/{job_id}/logs"]["get"]["responses"]

    assert {"200", "201"} <= set(submitted)
    assert {"Location", "ETag"} <= set(submitted["201"]["headers"])
    assert set(redirect["headers"]) == {"Location"}
    assert set(events["content"]) == {"application/json", "text/event-stream"}
    assert set(log["200"]["content"]) == set(log["206"]["content"]) == {"text/plain"}


def test_it_is_the_same_every_time() -> None:
    assert make_document("http://a").body == make_document("http://a").body


def test_it_needs_no_token_and_is_not_sent_twice(nobody: httpx2.Client, service: Service) -> None:
    first = nobody.get("/openapi.json")
    again = nobody.get("/openapi.json", headers={"if-none-match": first.headers["etag"]})

    assert first.json() == json.loads(make_document(service.url).body)
    assert (again.status_code, again.content) == (304, b"")


def _schemas(operations: list[Operation]) -> Iterator[dict[str, Any]]:
    for _, _, operation in operations:
        yield from (parameter["schema"] for parameter in operation.get("parameters", ()))
    yield from (media["schema"] for _, media in _media(operations))


def _media(operations: list[Operation]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, method, operation in operations:
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for what, body in bodies.items():
            for kind, media in body.get("content", {}).items():
                yield f"{method} {path}: {what}: {kind}", media


def _absolute(registry: Any, tree: dict[str, Any]) -> Any:
    text = json.dumps(tree).replace('"#/', '"urn:doc#/')
    return registry.with_resource("urn:doc", Resource.opaque(json.loads(text)))


def _references(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if isinstance(tree.get("$ref"), str):
            yield tree["$ref"]
        for inner in tree.values():
            yield from _references(inner)
    elif isinstance(tree, list):
        for inner in tree:
            yield from _references(inner)
