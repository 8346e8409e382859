"""Models to JSON and back: one converter for stores, plans, specs and manifests.

Times are RFC 3339 in UTC, durations seconds, bytes base64, paths and enums strings. Members that a
model does not have are an error, never ignored.
"""

import base64
import json
import json.encoder
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.v import format_exception

from longshore import compact
from longshore.models.job import AnnouncedInput, InlineInput

T = TypeVar("T")


def is_text(value: str) -> bool:
    """Say whether a store can keep ``value``: what came as bad UTF-8 may hold lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def format_time(at: datetime) -> str:
    """Return ``at`` as RFC 3339 in UTC, with microseconds."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at.isoformat(timespec="microseconds")[:-6] + "Z"


def parse_time(text: str) -> datetime:
    """Return the aware time that an RFC 3339 text names."""
    return datetime.fromisoformat(text)


def _structure_input(value: Any, _: Any) -> InlineInput | AnnouncedInput:
    if "content" in value:
        return InlineInput(content=base64.b64decode(value["content"]))
    return AnnouncedInput(**value)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, omit_if_default=True)
    converter.register_unstructure_hook(datetime, format_time)
    converter.register_structure_hook(datetime, lambda value, _: parse_time(value))
    converter.register_unstructure_hook(timedelta, timedelta.total_seconds)
    converter.register_structure_hook(timedelta, lambda value, _: timedelta(seconds=value))
    converter.register_unstructure_hook(bytes, lambda value: base64.b64encode(value).decode())
    converter.register_structure_hook(bytes, lambda value, _: base64.b64decode(value))
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    converter.register_structure_hook(InlineInput | AnnouncedInput, _structure_input)
    compact.register(converter)
    return converter


def _make_dumps() -> Callable[[Any], str]:
    """Return what makes compact JSON: ``JSONEncoder.encode``, which sets itself up for each call.

    Where the interpreter has the encoder in C, that is set up once, which takes half of the time.
    """
    whole = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return whole.encode
    quote = json.encoder.encode_basestring
    pieces = make(None, whole.default, quote, None, ":", ",", False, False, True)
    return lambda value: "".join(pieces(value, 0))


converter = _make_converter()
dumps = _make_dumps()


def to_json(value: Any) -> str:
    """Return ``value``, a model or a tree of models, as compact JSON."""
    return dumps(converter.unstructure(value))


def from_json(kind: type[T], text: str | bytes) -> T:
    """Return the ``kind`` that ``text`` holds.

    Raises:
        ValueError: not JSON, or not of that shape.
    """
    try:
        return converter.structure(json.loads(text), kind)
    except (cattrs.BaseValidationError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        mistakes = cattrs.transform_error(exc, format_exception=_told)
        raise ValueError(f"not a {kind.__name__}: {'; '.join(mistakes)}") from exc


def _told(exc: BaseException, kind: type | None) -> str:
    return str(exc) if isinstance(exc, compact.UnknownForm) else format_exception(exc, kind)
