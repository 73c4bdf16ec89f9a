"""The forecast of a budget's spending at the end of its window, from earlier spending.

The forecast adds to the used amount what earlier times of the same length have cost: blocks of
steps, each one season apart, so that the hours of a day or the days of a week match. If too little
is known for blocks as long as the rest of the window, shorter ones stand for it.
"""

import math
import statistics
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from gateway.limits.window import Window

_HOUR_SECONDS, _DAY_SECONDS = 3_600, 86_400
_MIN_BLOCKS = 8
"""The fewest blocks: the lowest and the highest of eight bound 78% of the later ones."""
_MIN_LENGTHS = 4
"""The fewest blocks that the known time must hold side by side: overlapping ones say less."""
_PLACES = 6
"""Decimal places of USD."""


class SpendingSteps(msgspec.Struct, frozen=True):
    """The steps of time before now in which a forecast looks at spending."""

    seconds: int
    """The length of a step."""
    season: int
    """The steps after which spending repeats: the hours of a day, or the days of a week."""
    count: int

    def list_starts(self, now: float) -> list[float]:
        """Return the beginning of each step, and last the end of all, which is now."""
        return [now - self.seconds * back for back in range(self.count, -1, -1)]


class BudgetForecast(msgspec.Struct, frozen=True):
    """The spending of a budget at the end of its window, in USD."""

    low: Decimal
    """Four times of five it is between `low` and `high`."""
    expected: Decimal
    high: Decimal


def choose_steps(window: Window) -> SpendingSteps | None:
    """Return the steps for a window; None for one that never ends, or that ends in a minute."""
    if window.start is None or window.end is None:
        return None
    length = window.end - window.start
    if length <= 60:
        return None
    if length <= _HOUR_SECONDS:
        return SpendingSteps(60, 60, 24 * 60)
    if length <= 8 * _DAY_SECONDS:
        return SpendingSteps(_HOUR_SECONDS, 24, 35 * 24)
    return SpendingSteps(_DAY_SECONDS, 7, 26 * 7)


def compute_forecast(
    used: Decimal, remaining: float, steps: SpendingSteps, amounts: Sequence[Decimal]
) -> BudgetForecast | None:
    """Return the forecast for a window that ends in `remaining` seconds.

    `amounts` has the USD of each step, the last of which ends now. Return None if too little is
    known: steps before the first spending do not count.
    """
    first = next((index for index, amount in enumerate(amounts) if amount), len(amounts))
    history, horizon = [float(amount) for amount in amounts[first:]], remaining / steps.seconds
    block = _choose_block(math.ceil(horizon), len(history), steps.season)
    if block is None:
        return None
    length, stride = block
    last_start = len(history) - math.ceil(length / stride) * stride
    sums = [math.fsum(history[start : start + length]) for start in range(last_start, -1, -stride)]
    deciles, mean = statistics.quantiles(sums, n=10), statistics.fmean(sums)
    blocks, doubt = horizon / length, length / len(history)
    # The sum of several blocks spreads less than each. If the known time holds few blocks, neither
    # their mean nor their spread is well known.
    spread = (1 + doubt) * math.sqrt(min(blocks, blocks**2) + blocks**2 * doubt)
    expected = blocks * mean
    low = max(0.0, expected - spread * max(0.0, mean - deciles[0]))
    high = expected + spread * max(0.0, deciles[-1] - mean)
    low_usd, expected_usd, high_usd = [
        used + round(Decimal(amount), _PLACES) for amount in (low, expected, high)
    ]
    return BudgetForecast(low_usd, expected_usd, high_usd)


def _choose_block(horizon: int, history_length: int, season: int) -> tuple[int, int] | None:
    """Return the length of the blocks and the steps between their beginnings; None without room."""
    for stride, longest in (
        (season, (history_length // season - _MIN_BLOCKS + 1) * season),
        (1, history_length - _MIN_BLOCKS + 1),
    ):
        length = min(horizon, longest, history_length // _MIN_LENGTHS)
        if length < horizon:
            length -= length % season
        if length > 0:
            return length, stride
    return None
