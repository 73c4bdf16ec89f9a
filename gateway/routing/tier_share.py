"""Bounds on the shares of the tiers: from what recent turns scored to where each tier ends.

Turns are put in one order of need. Those that the classifier's own thresholds send to reasoning
come first, by `Score.smart`; then those that they send to smart, by `Score.fast`; then the rest:

    0 .......... reasoning .......... 1 ............ smart ............ 2   fast
      Score.smart / its threshold        1 + Score.fast / its threshold

A bound ends a tier at a point of that axis, before which stands what the tier may have of recent
turns: reasoning at its own share; smart at a share as large beyond that, so what is cut from
reasoning is smart's and counts as smart's, and what is cut from smart goes to fast. A bound only
takes away: no turn goes higher than the classifier's own thresholds send it.

The axis is counted in cells. Turns of one cell may be many (scores that are all the same), so it is
parted by a fraction that is drawn from the moment of the call: the same evidence, the same side.

Turns that were counted of late, by cell of the axis of `share`.

Those of now are added to until there are enough; then they are those before, and those that were
before are let go. So what is told is of the last `MIN_TURNS` turns at least, and twice as many at
most.
"""

from collections.abc import Sequence

import msgspec

from gateway.core.decision_context import Score, ShareCut, Thresholds
from gateway.core.target import Tier

CELLS_PER_TIER = 128
"""Of each tier that is bounded."""
FAST_CELL = 2 * CELLS_PER_TIER
"""The cell of all turns that go to fast anyway."""
CELL_COUNT = FAST_CELL + 1
BOUNDED_INDEX, REASONING_INDEX, SMART_INDEX = CELL_COUNT, CELL_COUNT + 1, CELL_COUNT + 2
"""Behind the cells: turns that were held against a cut, those of them that were reasoned, and that
went to smart."""
COUNTER_COUNT = CELL_COUNT + 3
NO_CUT = ShareCut(reasoning=1.0, smart=2.0)
"""What cuts nothing."""


class ShareBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The shares that tiers may have of the turns that a classifier decides, 0 to 1."""

    reasoning: float = 1.0
    smart: float = 1.0


def find_cell(score: Score, thresholds: Thresholds) -> int:
    """Where a turn stands on the axis, by the classifier's own thresholds."""
    if score.fast >= thresholds.fast:
        return FAST_CELL
    if score.smart < thresholds.smart:
        return min(int(score.smart / thresholds.smart * CELLS_PER_TIER), CELLS_PER_TIER - 1)
    return CELLS_PER_TIER + min(
        int(score.fast / thresholds.fast * CELLS_PER_TIER), CELLS_PER_TIER - 1
    )


def choose_tier(score: Score, thresholds: Thresholds, cut: ShareCut, timestamp: float) -> Tier:
    """The tier of a turn at `timestamp`, seconds since the epoch, where bounds end the tiers."""
    cell_index = find_cell(score, thresholds)
    if cell_index == FAST_CELL:
        return "fast"
    point = (cell_index + draw_fraction(timestamp)) / CELLS_PER_TIER
    if cell_index < CELLS_PER_TIER and point < cut.reasoning:
        return "reasoning"
    return "smart" if point < cut.smart else "fast"


def draw_fraction(timestamp: float) -> float:
    """A number from 0 up to 1 that a moment gives, as even as chance (splitmix64).

    Of nothing else: a turn can be decided again without its text, and a text that is sent again and
    again is not always on the same side.
    """
    mixed = int(timestamp * 1e6) * 0x9E3779B97F4A7C15 & _WORD_MASK
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & _WORD_MASK
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _WORD_MASK
    return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)


def compute_cut(counts: Sequence[int], bounds: ShareBounds) -> ShareCut:
    """Where the tiers end, by how many recent turns stood in each of `CELL_COUNT` cells.

    With what came of earlier cuts behind the cells, the bounds are moved against it.
    """
    counts, bounds = counts[:CELL_COUNT], _correct_bounds(counts, bounds)
    total = sum(counts)
    reasoning_count = sum(counts[:CELLS_PER_TIER])
    allowance = bounds.reasoning * total
    reasoning_end = 1.0 if reasoning_count <= allowance else _find_point(counts, 0, 0.0, allowance)
    smart_count = sum(counts[:FAST_CELL]) - min(reasoning_count, allowance)
    allowance = bounds.smart * total
    if smart_count <= allowance:
        return ShareCut(reasoning=reasoning_end, smart=2.0)
    start = int(reasoning_end * CELLS_PER_TIER)
    return ShareCut(
        reasoning=reasoning_end,
        smart=_find_point(counts, start, reasoning_end * CELLS_PER_TIER - start, allowance),
    )


def _correct_bounds(counts: Sequence[int], bounds: ShareBounds) -> ShareBounds:
    """Bounds that make up for what tiers had too much or too little of.

    Quantiles of so few turns are off by a point; this halves what is left of that soon after.
    """
    if len(counts) == CELL_COUNT:
        return bounds

    def correct(bound: float, count: int) -> float:
        correction = (count - bound * counts[BOUNDED_INDEX]) / _HORIZON_TURNS
        return (
            min(1.0, max(0.0, bound - min(_MAX_DECREASE, max(-_MAX_INCREASE, correction))))
            if bound
            else bound
        )

    return ShareBounds(
        reasoning=correct(bounds.reasoning, counts[REASONING_INDEX]),
        smart=correct(bounds.smart, counts[SMART_INDEX]),
    )


def _find_point(counts: Sequence[int], cell_index: int, offset: float, turn_count: float) -> float:
    """The point at which so many turns are behind another one, `offset` of a cell after its start.

    There are more than that, but for rounding.
    """
    remaining = turn_count + offset * counts[cell_index]
    while cell_index < FAST_CELL and remaining > counts[cell_index]:
        remaining -= counts[cell_index]
        cell_index += 1
    return (
        cell_index + (remaining / counts[cell_index] if counts[cell_index] else 0.0)
    ) / CELLS_PER_TIER


_HORIZON_TURNS = 500
"""Turns over which an error is made up for."""
_MAX_DECREASE, _MAX_INCREASE = 0.02, 0.01
"""The most that a bound is moved by."""
_WORD_MASK = (1 << 64) - 1

MIN_TURNS = 2000
"""From which on thresholds are made of them."""


class RecentTurns:
    """The turns of one key, or of all keys of a tenant."""

    __slots__ = ("current", "previous")

    def __init__(self, previous: list[int] | None = None, current: list[int] | None = None) -> None:
        self.previous = previous or [0] * COUNTER_COUNT
        self.current = current or [0] * COUNTER_COUNT

    @property
    def counts(self) -> list[int]:
        """Turns by cell."""
        return [
            previous + current
            for previous, current in zip(self.previous, self.current, strict=True)
        ]

    def add(self, counts: Sequence[int]) -> None:
        """Count more turns."""
        self.current = [
            current + added for current, added in zip(self.current, counts, strict=True)
        ]
        if sum(self.current[:CELL_COUNT]) >= MIN_TURNS:
            self.previous, self.current = self.current, [0] * COUNTER_COUNT

    @property
    def turn_count(self) -> int:
        """How many they are."""
        return sum(self.previous[:CELL_COUNT]) + sum(self.current[:CELL_COUNT])
