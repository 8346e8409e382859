"""Every mistake of a JSON body, with its JSON Pointer and in our words.

msgspec reads the bodies and names the first thing that does not fit. Only then is it looked for
all of them here, by the same types.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from msgspec import inspect

from longshore.errors import MOST_TOLD, Problem
from longshore.parameters import pointer
from longshore.suggestions import did_you_mean

_KINDS: Mapping[type[Any], str] = MappingProxyType(
    {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
        type(None): "null",
    }
)


def mistakes_of(tree: Any, kind: Any) -> list[Problem]:
    """Return what of ``tree``, which was JSON, does not fit ``kind``: all of it, or very much."""
    return list(islice(_walk("", tree, inspect.type_info(kind)), MOST_TOLD + 1))


def pointer_to(path: str, tree: Any) -> str:
    """Return the JSON Pointer of ``path``, whose steps have dots between them, into ``tree``.

    A key that has dots itself is found where it is there.
    """
    steps: list[str] = []
    while path:
        step = path.partition(".")[0]
        if isinstance(tree, Mapping):
            keys = (str(key) for key in tree)
            step = max((key for key in keys if f"{path}.".startswith(f"{key}.")), default=step)
            tree = tree.get(step)
        else:
            tree = None
        steps.append(step)
        path = path[len(step) + 1 :]
    return pointer(*steps)


def _walk(where: str, value: Any, info: inspect.Type) -> Iterator[Problem]:
    if isinstance(info, inspect.Metadata):
        info = info.type
    if isinstance(info, inspect.UnionType):
        yield from _any_of(where, value, info)
        return
    wanted = _WANTED.get(type(info))
    if wanted is None:  # anything will do
        return
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        yield Problem(where, f"must be {_KINDS[wanted[0]]}, not {_KINDS[type(value)]}")
        return
    yield from _LOOKS[type(info)](where, value, info)


def _any_of(where: str, value: Any, info: inspect.UnionType) -> Iterator[Problem]:
    found = [list(_walk(where, value, one)) for one in info.types]
    if all(found):  # of null and something else, what is said of the latter
        kinds = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        if len(kinds) == 1:
            yield from _walk(where, value, kinds[0])
        else:
            names = dict.fromkeys(_KINDS[_WANTED[type(one)][0]] for one in kinds)
            yield Problem(where, f"must be {' or '.join(names)}, not {_KINDS[type(value)]}")


def _object(where: str, value: Mapping[str, Any], info: Any) -> Iterator[Problem]:
    fields = {one.encode_name: one for one in info.fields}
    for name, inner in value.items():
        if name in fields:
            yield from _walk(where + pointer(name), inner, fields[name].type)
        else:
            yield Problem(where + pointer(name), f"is no member{did_you_mean(name, fields)}")
    for name, one in fields.items():
        if one.required and name not in value:
            yield Problem(where + pointer(name), "is missing")


def _table(where: str, value: Mapping[str, Any], info: Any) -> Iterator[Problem]:
    for name, inner in value.items():
        yield from _walk(where + pointer(name), inner, info.value_type)


def _list(where: str, value: list[Any], info: Any) -> Iterator[Problem]:
    yield from _length(where, value, info, "entries")
    for place, inner in enumerate(value):
        yield from _walk(where + pointer(place), inner, info.item_type)


def _text(where: str, value: str, info: Any) -> Iterator[Problem]:
    yield from _length(where, value, info, "characters")
    if info.pattern is not None and re.search(info.pattern, value) is None:
        yield Problem(where, f"must match {info.pattern}")


def _length(where: str, value: str | list[Any], info: Any, of: str) -> Iterator[Problem]:
    if info.min_length is not None and len(value) < info.min_length:
        yield Problem(where, f"has {len(value)} {of}, and must have {info.min_length} or more")
    if info.max_length is not None and len(value) > info.max_length:
        yield Problem(where, f"has {len(value)} {of}, and may have {info.max_length}")


def _number(where: str, value: float, info: Any) -> Iterator[Problem]:
    if isinstance(info, inspect.IntType) and value != int(value):
        yield Problem(where, "must be a whole number")
    elif info.ge is not None and value < info.ge:
        yield Problem(where, f"is less than {info.ge}")
    elif info.le is not None and value > info.le:
        yield Problem(where, f"is more than {info.le}")


def _time(where: str, value: str, _: Any) -> Iterator[Problem]:
    try:
        msgspec.convert(value, Annotated[datetime, msgspec.Meta(tz=True)])
    except msgspec.ValidationError:
        yield Problem(where, "must be a time with its zone, such as 2027-01-01T00:00:00Z")


def _nothing(*_: Any) -> Iterator[Problem]:
    yield from ()


_NUMBERS = (int, float)
#: by what is declared: the types of JSON that it may be, and what else is looked at
_WANTED: Mapping[type[Any], tuple[type[Any], ...]] = MappingProxyType(
    {
        inspect.StructType: (dict,),
        inspect.DictType: (dict,),
        inspect.ListType: (list,),
        inspect.StrType: (str,),
        inspect.DateTimeType: (str,),
        inspect.IntType: _NUMBERS,
        inspect.FloatType: _NUMBERS,
        inspect.BoolType: (bool,),
        inspect.NoneType: (type(None),),
    }
)
_LOOKS: Mapping[type[Any], Callable[[str, Any, Any], Iterator[Problem]]] = MappingProxyType(
    {
        inspect.StructType: _object,
        inspect.DictType: _table,
        inspect.ListType: _list,
        inspect.StrType: _text,
        inspect.DateTimeType: _time,
        inspect.IntType: _number,
        inspect.FloatType: _number,
        inspect.BoolType: _nothing,
        inspect.NoneType: _nothing,
    }
)
