"""Positions of the quality dial and the shares of quality that they keep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.quality import DIAL_SHARES, MAX_POSITION, find_position, find_share


def test_the_ends_of_the_dial_keep_no_quality_and_all_of_it() -> None:
    assert (find_share(0), find_share(MAX_POSITION)) == (0.0, 1.0)


def test_each_position_keeps_more_quality_than_the_one_below() -> None:
    assert sorted(set(DIAL_SHARES)) == [*DIAL_SHARES]


def test_half_a_position_keeps_the_mean_of_its_neighbours() -> None:
    assert find_share(6.5) == pytest.approx((DIAL_SHARES[6] + DIAL_SHARES[7]) / 2)


@given(st.floats(0, MAX_POSITION))
def test_a_share_of_quality_maps_back_to_its_position(position: float) -> None:
    assert find_position(find_share(position)) == pytest.approx(position, abs=1e-6)


@pytest.mark.parametrize("position", [-0.1, 10.1, float("nan"), float("inf")])
def test_a_position_beyond_the_ends_is_refused(position: float) -> None:
    with pytest.raises(ValueError, match="0 to 10"):
        find_share(position)
