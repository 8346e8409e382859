"""The OpenAPI document of the service.

Litestar finds the routes and their parameters; msgspec says what the bodies are, as it is msgspec
that reads them; the tables of ``openapi_examples`` say what only people know.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import msgspec
from litestar import Litestar
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig

from longshore_api import problems
from longshore_api.gate import is_open
from longshore_api.openapi_examples import (
    ANSWERS,
    DESCRIPTION,
    EXAMPLES,
    HEADERS,
    PARAMETERS,
    PROBLEMS,
    REQUESTS,
    TAGS,
)
from longshore_api.requests import ROLE, SCOPE
from longshore_api.schemas import access, jobs, operation, workflows
from longshore_api.version import VERSION

Tree = dict[str, Any]
_JSON = "application/json"
_REFERENCE = "#/components/schemas/"
_METHODS = ("get", "put", "post", "delete")
_FIRST_ERROR = 400
_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of an agreement, or an administrator's: `ls_` and 43 characters.",
}


@attrs.frozen
class Document:
    """The document as it is sent."""

    body: bytes
    etag: str


def make_document(base: str) -> Document:
    """Return the document of the routes, whose consumers reach them at ``base``."""
    body = msgspec.json.encode(make_tree(base))
    return Document(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def make_tree(base: str) -> Tree:
    """Return the document as a tree; the same for the same routes and ``base``."""
    from longshore_api.app import make_router  # noqa: PLC0415 - the routes import this module

    router = make_router()
    config = OpenAPIConfig(
        title="Longshore", version=VERSION, path="/unused", use_handler_docstrings=True
    )
    found = Litestar([router], openapi_config=config, logging_config=None).openapi_schema
    tree = found.to_schema()
    handlers = dict(_by_operation(router.routes))
    paths = {
        path: {
            method: _operation(path, item[method], handlers[path, method])
            for method in _METHODS
            if method in item
        }
        for path, item in sorted(tree["paths"].items())
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Longshore",
            "version": VERSION,
            "summary": "Run predefined workflows on the provider's machines.",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": base}],
        "security": [{"token": []}],
        "tags": [{"name": name, "description": said} for name, said in TAGS.values()],
        "paths": paths,
        "components": {
            "schemas": {**_plain(tree["components"]["schemas"]), **_schemas()},
            "securitySchemes": {"token": _TOKEN},
        },
    }


def _by_operation(routes: Sequence[Any]) -> Iterator[tuple[tuple[str, str], BaseRouteHandler]]:
    for route in routes:
        for handler in route.route_handlers:
            for method in handler.http_methods:
                yield (re.sub(r":\w+}", "}", route.path), method.lower()), handler


def _schemas() -> Tree:
    """Return the schema of every body, with an example where there is one."""
    kinds = [
        kind
        for module in (access, jobs, operation, workflows, problems)
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and kind is not msgspec.Struct
    ]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_REFERENCE + "{name}")
    return dict(sorted(schemas.items()))


def _plain(schemas: Mapping[str, Tree]) -> Tree:
    """Return those schemas of Litestar that are of plain words: enumerations of parameters."""
    return {name: schema for name, schema in schemas.items() if "enum" in schema}


def _operation(path: str, operation: Tree, handler: BaseRouteHandler) -> Tree:
    name = handler.handler_name
    head, *more = name.split("_")
    said = operation["description"]
    summary, _, rest = said.partition("\n")
    made: Tree = {
        "operationId": head + "".join(word.capitalize() for word in more),
        "tags": [next(tag for prefix, (tag, _) in TAGS.items() if path.startswith(prefix))],
        "summary": _prose(summary.rstrip(".")),
        "description": _prose(f"{rest.strip() or summary}\n\n{_access(path, handler)}"),
    }
    if is_open(path):
        made["security"] = []
    if operation.get("parameters"):
        made["parameters"] = [_parameter(one) for one in operation["parameters"]]
    if "requestBody" in operation:
        made["requestBody"] = _request(name, operation["requestBody"])
    made["responses"] = _responses(name, operation)
    return made


def _prose(text: str) -> str:
    return text.replace("``", "`").strip()


def _access(path: str, handler: BaseRouteHandler) -> str:
    if is_open(path):
        return "Open to everybody."
    roles = handler.opt.get(ROLE)
    scope = handler.opt.get(SCOPE)
    who = " or ".join(map(str, roles)) if roles else "any role"
    return f"For {who}{f', with the scope `{scope}`' if scope else ''}."


def _parameter(parameter: Tree) -> Tree:
    name = parameter["name"]
    made = {
        "name": name,
        "in": parameter["in"],
        "required": parameter["required"],
        "description": _prose(parameter.get("description") or PARAMETERS[name][0]),
        "schema": _sent(parameter["schema"]),
    }
    if name in PARAMETERS:
        made["example"] = PARAMETERS[name][1]
    return made


def _sent(schema: Tree) -> Tree:
    """Return the schema of a parameter that is there: an absent one is not sent as null."""
    choices = [one for one in schema.get("oneOf", ()) if one != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in {"oneOf", "description"}}
    if len(choices) == 1:
        rest = {**choices[0], **rest}
    elif choices:
        rest["oneOf"] = choices
    for bound in ("minimum", "maximum"):
        if bound in rest:
            rest[bound] = int(rest[bound])
    return rest


def _request(name: str, body: Tree) -> Tree:
    schema = body["content"][_JSON]["schema"]
    example = EXAMPLES.get(_name(schema), REQUESTS.get(name))
    return {"required": body["required"], "content": {_JSON: _media(schema, example)}}


def _responses(name: str, operation: Tree) -> Tree:
    made: Tree = {}
    for status, response in operation["responses"].items():
        if int(status) >= _FIRST_ERROR:
            made[status] = _problem(int(status))
        elif name not in ANSWERS or int(status) in ANSWERS[name]:
            made[status] = _success(response)
    for number, (said, contents, headers) in ANSWERS.get(name, {}).items():
        made[str(number)] = _answer(said, contents, headers)
    return dict(sorted(made.items()))


def _success(response: Tree) -> Tree:
    made: Tree = {"description": "Done."}
    for kind, media in (response.get("content") or {}).items():
        made["description"] = "The answer."
        made["content"] = {kind: _media(media["schema"], EXAMPLES.get(_name(media["schema"])))}
    return made


def _answer(said: str, contents: Mapping[str, Any], headers: Sequence[str]) -> Tree:
    made: Tree = {"description": said}
    content = {}
    for kind, what in contents.items():
        if what is dict:
            content[kind] = _media({"type": "object"}, None)
        elif isinstance(what, type):
            content[kind] = _media(
                {"$ref": _REFERENCE + what.__name__}, EXAMPLES.get(what.__name__)
            )
        else:
            content[kind] = _media({"type": "string"}, what)
    if content:
        made["content"] = content
    if headers:
        made["headers"] = {name: _header(name) for name in headers}
    return made


def _problem(status: int) -> Tree:
    example = PROBLEMS[status]
    headers = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}.get(status)
    media = _media(
        {"$ref": f"{_REFERENCE}Problem"},
        {
            "type": f"{problems.TYPE_PREFIX}{example['code']}",
            "title": problems.TITLES[status],
            "status": status,
            "requestId": "9f86d081884c7d65",
            **example,
        },
    )
    made: Tree = {
        "description": f"{problems.TITLES[status]}.",
        "content": {problems.MEDIA_TYPE: media},
    }
    if headers:
        made["headers"] = {name: _header(name) for name in headers}
    return made


def _header(name: str) -> Tree:
    said, example = HEADERS[name]
    return {"description": said, "schema": {"type": "string"}, "example": example}


def _media(schema: Tree, example: Any) -> Tree:
    return {"schema": schema} if example is None else {"schema": schema, "example": example}


def _name(schema: Tree) -> str:
    return str(schema.get("$ref", "")).removeprefix(_REFERENCE)
