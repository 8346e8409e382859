import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from longshore.ids import ID_LENGTH, is_id, new_id

times = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(9999, 1, 1),  # noqa: DTZ001 - same
    timezones=st.just(UTC),
)
bits = st.integers(0, 2**80 - 1)
NOW = datetime(2026, 3, 4, 5, 6, 7, 89000, tzinfo=UTC)


@given(now=times, random=bits)
def test_an_id_is_a_dns_label_and_a_file_name_of_one_length(now: datetime, random: int) -> None:
    made = new_id(now, lambda _: random)
    assert len(made) == ID_LENGTH
    assert re.fullmatch("[0-9a-hjkmnp-tv-z]+", made)
    assert is_id(made)


@given(one=times, other=times, first=bits, second=bits)
def test_ids_sort_by_the_time_they_were_made(
    one: datetime, other: datetime, first: int, second: int
) -> None:
    if abs(one - other) >= timedelta(milliseconds=2):
        ids = [new_id(one, lambda _: first), new_id(other, lambda _: second)]
        assert (ids[0] < ids[1]) == (one < other)


@given(first=bits, second=bits)
def test_all_random_bits_are_kept(first: int, second: int) -> None:
    ids = [new_id(NOW, lambda _: first), new_id(NOW, lambda _: second)]
    assert (ids[0] == ids[1]) == (first == second)
    assert (ids[0] < ids[1]) == (first < second)


def test_ids_of_one_moment_differ() -> None:
    assert len({new_id(NOW) for _ in range(1000)}) == 1000


def test_eighty_random_bits_are_asked_for() -> None:
    asked: list[int] = []

    def randbits(number: int) -> int:
        asked.append(number)
        return 0

    new_id(NOW, randbits)
    assert asked == [80]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 25,
        "0" * 27,
        "A" * 26,
        "0" * 25 + "i",
        "0" * 25 + "l",
        "0" * 25 + "o",
        "0" * 25 + "u",
        "0" * 25 + "\n",
        "0" * 26 + "\n",
        "../" + "0" * 23,
        "\u0660" * 26,
    ],
)
def test_other_texts_are_no_ids(text: str) -> None:
    assert not is_id(text)
