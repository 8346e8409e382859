"""Sizes, durations and counts as people write them."""

import contextlib
import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from longshore.quantities import (
    RESOURCES,
    format_size,
    parse_count,
    parse_cpus,
    parse_duration,
    parse_size,
)

NOT_NUMBERS: tuple[object, ...] = (None, True, False, [], {}, (), b"1")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (17, 17),
        ("0", 0),
        ("17", 17),
        ("17B", 17),
        ("1K", 1024),
        ("1k", 1024),
        ("1 G", 1024**3),
        ("1 kB", 1000),
        ("1 KB", 1000),
        ("1 KiB", 1024),
        ("500 MB", 500_000_000),
        ("1.5 GiB", 3 * 2**29),
        (" 1 GiB ", 2**30),
        ("1T", 2**40),
        ("2 PB", 2 * 10**15),
        ("0.0000000001 GiB", 0),
        ("9223372036854775807", 2**63 - 1),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_sizes_are_read_as_people_write_them(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        *NOT_NUMBERS,
        "",
        " ",
        "GiB",
        "-1",
        -1,
        1.0,
        "1e3",
        "1 2",
        "1 Gib",
        "1 gib",
        "1 XB",
        "1 G iB",
        "1,5 GiB",
        "1..5 GiB",
        "0x10",
        "1_000",
        "\u0661 GiB",
        "1 GiB\n1",
        "inf",
        "nan",
        "9" * 5000,
        2**63,
        str(2**63),
        "8192 PiB",
    ],
)
def test_other_things_are_no_sizes(text: object) -> None:
    with pytest.raises(ValueError, match=r"not a size|more than"):
        parse_size(text)


@given(st.integers(0, 2**63 - 1))
def test_no_byte_is_lost_in_reading_a_size(size: int) -> None:
    assert parse_size(str(size)) == parse_size(size) == size


@given(whole=st.integers(0, 10**6), unit=st.sampled_from(["KiB", "MiB", "GiB", "kB", "MB", "GB"]))
def test_a_unit_is_a_factor(whole: int, unit: str) -> None:
    base = 1024 if "i" in unit else 1000
    assert parse_size(f"{whole} {unit}") == whole * base ** ("KMG".index(unit[0].upper()) + 1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (0, 0),
        (90, 90),
        (0.5, 0.5),
        ("90", 90),
        ("0.5", 0.5),
        ("90s", 90),
        ("0.5s", 0.5),
        ("15m", 900),
        ("1h30m", 5400),
        ("7d", 7 * 86400),
        ("1d2h3m4.5s", 93784.5),
        (" 1h ", 3600),
        (timedelta(minutes=2), 120),
        ("3650d", 3650 * 86400),
    ],
)
def test_durations_are_read_as_people_write_them(text: object, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        *NOT_NUMBERS,
        "",
        " ",
        "h",
        "1h30",
        "30m1h",
        "1 h",
        "1h 30m",
        "-1s",
        -1,
        "1w",
        "1y",
        "1.5h",
        "1:30",
        "\u0661s",
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        "9" * 400 + "s",
        "3651d",
        timedelta(seconds=-1),
        timedelta.max,
    ],
)
def test_other_things_are_no_durations(text: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("value", [1, 0.5, 64, 100_000])
def test_a_number_of_cpus_may_be_a_fraction(value: float) -> None:
    assert parse_cpus(value) == value
    assert isinstance(parse_cpus(value), float)


@pytest.mark.parametrize("value", [*NOT_NUMBERS, 0, -1, "1", math.nan, math.inf, 10**400, 100_001])
def test_other_things_are_no_cpus(value: object) -> None:
    with pytest.raises(ValueError, match="not a number of CPUs"):
        parse_cpus(value)


@pytest.mark.parametrize("value", [*NOT_NUMBERS, -1, 1.0, "1", 100_001, 10**400])
def test_other_things_are_no_whole_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="not a whole number"):
        parse_count(value)


@pytest.mark.parametrize("name", ["memory", "walltime", "cpu"])
def test_nothing_is_not_enough_to_work_with(name: str) -> None:
    with pytest.raises(ValueError, match=r"must be more than nothing|not a number"):
        RESOURCES[name](0)


@pytest.mark.parametrize("name", ["gpu", "disk"])
def test_a_worker_may_have_no_gpu_and_no_disk(name: str) -> None:
    assert RESOURCES[name](0) == 0


@given(name=st.sampled_from(sorted(RESOURCES)), value=anything)
def test_a_resource_is_read_or_refused_whatever_is_written(name: str, value: Any) -> None:
    with contextlib.suppress(ValueError):  # any other exception is a mistake
        RESOURCES[name](value)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20, "1.0 MiB"),
        (2**30, "1.0 GiB"),
        (2**50, "1048576.0 GiB"),
    ],
)
def test_sizes_are_written_as_people_read_them(size: int, text: str) -> None:
    assert format_size(size) == text
