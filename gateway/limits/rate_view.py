"""The rate limits of a call as its client sees them: the tightest of each kind."""

import math
from collections.abc import Sequence

from gateway.core.rate_limits import RateLimits, RateStatus
from gateway.limits.counters import RateState


def find_tightest(rates: Sequence[RateState], now: float) -> RateLimits | None:
    """Return the limits with the least left; None without rates. `now` is since the epoch."""
    if not rates:
        return None
    requests = _find_tightest([state for state in rates if state.demand.kind == "requests"])
    tokens = _find_tightest([state for state in rates if state.demand.kind == "tokens"])
    return RateLimits(requests, tokens, now)


def _find_tightest(rates: Sequence[RateState]) -> RateStatus | None:
    """Return the rate with the least left; of two equal ones that which takes longest."""
    if not rates:
        return None
    tightest = rates[0] if len(rates) == 1 else min(rates, key=_rank)
    return RateStatus(tightest.demand.limit, tightest.left, tightest.reset_seconds)


def _rank(state: RateState) -> tuple[int, float]:
    return state.left, -math.inf if state.reset_seconds is None else -state.reset_seconds
