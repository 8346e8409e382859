"""The short way for simple parameters lets nothing through that the long way refuses."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from longshore import parameters
from longshore.parameters import check_parameters, is_light, parameter_environment

ANYTHING = {"additionalProperties": True}


class Text(str):
    """Says of itself what it likes."""

    __slots__ = ()

    def isascii(self) -> bool:
        return True

    def isprintable(self) -> bool:
        return True

    def __len__(self) -> int:
        return 1


class Whole(int):
    """Is never large."""

    def __lt__(self, _: object) -> bool:
        return True

    def __gt__(self, _: object) -> bool:
        return True


class Number(IntEnum):
    HUGE = 2**70


class Word(StrEnum):
    NUL = "\0"


_EDGES = [0, 1, 2**53 - 1, 2**53, -(2**53) + 1, -(2**53), 2**63, 2**64, -(2**64), 10**400]
_TEXTS = ["", "\0", "a\0b", "\ud800", "é", "\x7f", "\n", "x" * 63, "x" * 64, "x" * 70_000]
_VALUES = st.one_of(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=70),
    st.sampled_from([*_EDGES, *map(float, _EDGES[:-1]), 1e308, -0.0]),
    st.sampled_from(_TEXTS),
    st.sampled_from([*map(Text, _TEXTS), Whole(2**70), Number.HUGE, Word.NUL, b"x", 1j, object()]),
    st.lists(st.integers(), max_size=2) | st.dictionaries(st.text(), st.integers(), max_size=2),
)
#: some are the same variable, some are no variable's, and some are no texts
_NAMES = st.one_of(
    st.sampled_from(["a", "A", "a_b", "a-b", "a.b", "A_B", "a_", "_a", "1", "", "a\n", "a\0", "é"]),
    st.sampled_from(["\ud800", "\u0131", "\u017f", "a" * 63, "a" * 64, Text("a\0")]),
    st.sampled_from([1, None, True, 1.5, b"a"]),
    st.text(max_size=5),
)
_TREES = st.dictionaries(_NAMES, _VALUES, max_size=20)
_PROPERTY = settings(max_examples=1500, deadline=None, derandomize=True)


def told(values: Mapping[Any, Any]) -> tuple[Any, ...]:
    """Return all that is said of values; what cannot be looked at is said as its error."""
    try:
        problems = check_parameters(ANYTHING, values)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it must be the same
        return (type(exc),)
    return problems, is_light(values)


def told_the_long_way(values: Mapping[Any, Any]) -> tuple[Any, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parameters, "_is_simple", lambda _: False)
        return told(values)


@_PROPERTY
@given(values=_TREES)
@example(values={f"n{number}": "x" * 63 for number in range(16)})
@example(values={f"n{number}": "x" * 63 for number in range(17)})
@example(values={"a": 1, "A": 1})
@example(values={"\u0131": 1, "i": 1})
def test_the_short_way_says_what_the_long_way_says(values: dict[Any, Any]) -> None:
    assert told(values) == told_the_long_way(values)


@_PROPERTY
@given(values=_TREES)
def test_what_is_simple_can_be_given_to_a_worker(values: dict[Any, Any]) -> None:
    if parameters._is_simple(values):
        assert len(parameter_environment(values)) == len(values)


def test_most_values_are_simple() -> None:
    assert parameters._is_simple({"seconds": 1, "of": "/etc/os-release", "fast": True, "x": 1.5})


@pytest.mark.parametrize(
    "values",
    [{"a": float("nan")}, {"a": "\0"}, {"a": 2**70}, {"a": 1, "A": 1}, {"a": "x" * 70_000}],
)
def test_control_a_short_way_for_everything_is_seen(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    long_way = told_the_long_way(values)

    monkeypatch.setattr(parameters, "_is_simple", lambda _: True)

    assert told(values) != long_way
