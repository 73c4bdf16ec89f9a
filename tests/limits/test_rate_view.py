"""The rate limits of a call as its client sees them."""

import pytest

from gateway.core.rate_limits import RateLimits, RateStatus
from gateway.limits.counters import CounterDemand, Kind, RateState
from gateway.limits.rate_view import find_tightest


def state(kind: Kind, limit: int, left: int, reset: float | None, amount: int = 1) -> RateState:
    demand = CounterDemand(
        kind=kind, name="x", field="f", limit=limit, amount=amount, period=60.0, is_shown=True
    )
    return RateState(demand, left, reset)


def test_a_call_without_visible_rates_has_none() -> None:
    assert find_tightest((), 7.0) is None


def test_one_limit_is_the_tightest() -> None:
    rates = (state("tokens", 900, 400, 30.0),)
    assert find_tightest(rates, 7.0) == RateLimits(None, RateStatus(900, 400, 30.0), 7.0)


def test_the_limit_with_the_least_left_is_the_tightest() -> None:
    """Of two with as little left, it is that which takes longest; one of 0 takes for ever."""
    rates = (
        state("requests", 1_000, 500, 43_200.0),
        state("requests", 10, 2, 0.8),
        state("requests", 60, 2, 58.0),
        state("tokens", 900, 0, 60.0),
        state("tokens", 0, 0, None),
    )
    expected = RateLimits(RateStatus(60, 2, 58.0), RateStatus(0, 0, None), 7.0)
    assert find_tightest(rates, 7.0) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (state("tokens", 900, 400, 40.0, 300), state("tokens", 900, 700, 20.0, 300)),
        (state("requests", 60, 59, 0.9), state("requests", 60, 60, 0.0)),
        (state("requests", 0, 0, None), state("requests", 0, 0, None)),
    ],
)
def test_a_rate_gets_back_what_a_call_took(before: RateState, after: RateState) -> None:
    assert before.give_back() == after
