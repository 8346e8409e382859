"""Numbers that a settings file may hold, and that nothing can be done with."""

import pytest

from longshore.errors import SettingsInvalid
from longshore.settings import parse_settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("requests_per_second", 1e-300),
        ("requests_per_second", 0.0009),
        ("burst", 10**400),
        ("burst", 1_000_001),
    ],
    ids=["no rate", "a slow rate", "no number of a machine", "a large burst"],
)
def test_a_limit_that_cannot_be_reckoned_with_is_a_mistake(name: str, value: float) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        parse_settings({"limits": {name: value}})

    assert name in str(caught.value)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (0.001, 1_000_000), (1e9, 1)])
def test_limits_may_be_very_small_and_very_large(rate: float, burst: int) -> None:
    limits = parse_settings({"limits": {"requests_per_second": rate, "burst": burst}}).limits

    assert (limits.requests_per_second, limits.burst) == (rate, burst)
