"""Uploads of many parts as small JSON: what their requests have in common is written once.

A plan must fit where an engine keeps it, as a Secret of 1 MiB, and the URLs of an upload's parts
differ in little more than a number and a signature:

```
{"form": 2, "ticket_id": ..., "part_size": ..., "max_size": ...,
 "like": {"method": ..., "url": "https://...?partNumber={part}&X-Amz-Signature={}", ...},
 "parts": ["<what stands for {}>", ...]}
```

A part may also be a request of its own, as all are where ``form`` is absent.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import cattrs

from longshore.transfer import SignedRequest, SignedUpload

#: what this version writes; 1 is the plain form, without ``form`` and ``like``
FORM = 2
#: with fewer parts nothing is gained
FEWEST = 4
_PLAIN = 1
_NUMBER, _HOLE = "{part}", "{}"
_SEPARATORS = re.compile(r"([/?&=])")

Json = dict[str, Any]


class UnknownForm(ValueError):
    """An upload was written by a newer version."""


def register(converter: cattrs.Converter) -> None:
    """Let ``converter`` write uploads like this, and read what any version has written."""
    converter.register_unstructure_hook_factory(
        lambda kind: kind is SignedUpload, lambda _: _writer(converter)
    )
    converter.register_structure_hook_factory(
        lambda kind: kind is SignedUpload, lambda _: _reader(converter)
    )


def _writer(converter: cattrs.Converter) -> Callable[[SignedUpload], Json]:
    plain = converter.gen_unstructure_attrs_fromdict(SignedUpload)

    def write(upload: SignedUpload) -> Json:
        like = _likeness(upload.parts)
        if like is None:
            return plain(upload)
        parts = [
            converter.unstructure(part) if text is None else text
            for part, text in zip(upload.parts, _differences(upload.parts, like), strict=True)
        ]
        written = plain(attrs.evolve(upload, parts=()))
        return {"form": FORM, **written, "like": converter.unstructure(like), "parts": parts}

    return write


def _reader(converter: cattrs.Converter) -> Callable[[Mapping[str, Any], Any], SignedUpload]:
    plain = converter.gen_structure_attrs_fromdict(SignedUpload)

    def read(value: Mapping[str, Any], kind: Any) -> SignedUpload:
        form = value.get("form", _PLAIN)
        if form not in (_PLAIN, FORM):
            raise UnknownForm("an upload in the form of a newer version: update this program")
        if form == _PLAIN:
            return plain(value, kind)
        rest = {name: one for name, one in value.items() if name not in {"form", "like"}}
        upload = plain({**rest, "parts": ()}, kind)
        like = converter.structure(value["like"], SignedRequest)
        parts = tuple(
            [
                filled or converter.structure(part, SignedRequest)
                for part, filled in zip(
                    value["parts"], _all_filled(like, value["parts"]), strict=True
                )
            ]
        )
        return attrs.evolve(upload, parts=parts)

    return read


def _likeness(parts: Sequence[SignedRequest]) -> SignedRequest | None:
    """Return what most parts are like: the second, with holes where the third differs.

    The first and the last may be others: they begin at 0, and take less.
    """
    if len(parts) < FEWEST:
        return None
    one, other = (_SEPARATORS.split(part.url) for part in parts[1:3])
    if len(one) != len(other):
        return None
    url = "".join(
        [
            mine if mine == its else _NUMBER if (mine, its) == ("2", "3") else _HOLE
            for mine, its in zip(one, other, strict=True)
        ]
    )
    return attrs.evolve(parts[1], url=url)


def _differences(parts: Sequence[SignedRequest], like: SignedRequest) -> Iterator[str | None]:
    """Yield for each part what fills the holes; None where it is not ``like`` the others."""
    head, tail = _cut(like)
    for number, part in enumerate(parts, start=1):
        is_alike = part.url.startswith(head) and (
            (part.method, part.expires_at, part.headers)
            == (like.method, like.expires_at, like.headers)
        )
        values = _between(part.url, len(head), _pieces(tail, number)) if is_alike else None
        yield None if values is None else "&".join(values)


def _between(url: str, at: int, pieces: Sequence[str]) -> Sequence[str] | None:
    """Return what stands between the pieces that make up ``url`` from ``at`` on.

    None where they do not.
    """
    if not url.startswith(pieces[0], at):
        return None
    values: list[str] = []
    at += len(pieces[0])
    for piece in pieces[1:]:
        end = url.find(piece, at) if piece else len(url)
        value = url[at:end]
        if end <= at or "&" in value:
            return None
        values.append(value)
        at = end + len(piece)
    return values if at == len(url) else None


def _all_filled(like: SignedRequest, parts: Sequence[Any]) -> Iterator[SignedRequest | None]:
    """Yield the request that each text among ``parts`` stands for; None where it is no text."""
    head, tail = _cut(like)
    for number, text in enumerate(parts, start=1):
        if not isinstance(text, str):
            yield None
            continue
        first, *pieces = _pieces(tail, number)
        values = text.split("&") if text else ()
        rest = [value + piece for value, piece in zip(values, pieces, strict=True)]
        yield SignedRequest(
            method=like.method,
            url=f"{head}{first}{''.join(rest)}",
            headers=like.headers,
            expires_at=like.expires_at,
        )


def _cut(like: SignedRequest) -> tuple[str, str]:
    """Return the URL up to its first hole, which may be long, and from there on."""
    head, brace, tail = like.url.partition("{")
    return head, brace + tail


def _pieces(tail: str, number: int) -> Sequence[str]:
    return tail.replace(_NUMBER, str(number)).split(_HOLE)
