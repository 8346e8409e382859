"""JSON bodies, strictly: one value, UTF-8, no member twice or unknown, nothing that JSON lacks."""

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import msgspec

from longshore.errors import Problem, TooLarge
from longshore.quantities import format_size
from longshore_api.errors import Malformed, UnsupportedMediaType

T = TypeVar("T")
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
#: deeper trees are nobody's parameters, and recursion has an end
_DEPTH = 64


class Disconnected(Exception):
    """The client left before it had sent its request."""


def check_sent(body: bytes, media_type: str | None) -> None:
    """Raise where there is no body, or it is not sent as JSON.

    Raises:
        Malformed: there is none.
        UnsupportedMediaType: it is not.
    """
    if not body:
        raise Malformed("there is no body", pointer="")
    essence = (media_type or "").partition(";")[0].strip().lower()
    if essence != "application/json":
        raise UnsupportedMediaType(
            f"the body is sent as {essence or 'nothing'}",
            hint="send JSON with Content-Type: application/json",
        )


async def read_body(
    receive: Receive,
    limit: int,
    announced: str | None,
    hold: Callable[[], AbstractContextManager[None]],
) -> bytes:
    """Return the body of a request, which may have ``limit`` bytes.

    ``announced`` is its ``Content-Length``, where it has one. ``hold`` is entered while it comes
    in pieces.

    Raises:
        TooLarge: it has more; the rest is not read, and nothing where that was announced.
        Disconnected: the client is gone.
    """
    if announced is not None and int(announced) > limit:  # the parser let digits through only
        raise _too_large(limit)
    first, has_more = await _receive(receive)
    if not has_more and len(first) <= limit:
        return first
    body = bytearray(first)
    with hold():
        while len(body) <= limit:
            if not has_more:
                return bytes(body)
            piece, has_more = await _receive(receive)
            body += piece
    raise _too_large(limit)


async def _receive(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the body has more than {format_size(limit)}", hint="send large inputs as uploads"
    )


def decode(body: bytes, kind: type[T]) -> T:
    """Return the ``kind`` that ``body`` holds.

    Raises:
        Malformed: with every mistake and its place.
    """
    tree = parse(body)
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as exc:
        found = _mistakes(tree, kind) or [Problem("", str(exc))]
        raise Malformed("the body has mistakes", problems=found) from exc


def _mistakes(tree: Any, kind: Any) -> list[Problem]:
    from longshore_api.mistakes import mistakes_of  # noqa: PLC0415 - only mistakes need it

    return mistakes_of(tree, kind)


def parse(body: bytes) -> Any:
    """Return the one JSON value of ``body``.

    Raises:
        Malformed: not JSON, or JSON that two readers could understand differently.
    """
    try:
        tree = _decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise Malformed(f"byte {exc.start} of the body is not UTF-8") from exc
    except RecursionError as exc:
        raise Malformed("the body is nested too deeply") from exc
    except ValueError as exc:
        raise Malformed(f"the body is not JSON: {exc}") from exc
    if b"\\u" in body or body.count(b"[") + body.count(b"{") > _DEPTH:
        _check(tree, _DEPTH)
    return tree


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise Malformed("a text holds half a character (a lone surrogate)") from exc
    elif isinstance(value, dict | list):
        if not depth:
            raise Malformed(f"the body is nested more than {_DEPTH} deep")
        for inner in value:
            _check(inner, depth - 1)
            if isinstance(value, dict):
                _check(value[inner], depth - 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Malformed(f"the member {twice!r} is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise ValueError(f"{text[:40]} is larger than any number here")
    return number


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
)
