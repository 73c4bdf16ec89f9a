"""Bounds on the shares of the tiers: from the scores of recent turns to the end of each tier.

All turns are on one axis, in the order of need. First come the turns that the classifier's own
thresholds send to reasoning, by `Score.smart`. Then come those for smart, by `Score.fast`, and then
the rest:

    0 .......... reasoning .......... 1 ............ smart ............ 2   fast
      Score.smart / its threshold        1 + Score.fast / its threshold

A bound ends a tier at a point of that axis. Reasoning ends where the turns before the point are its
share of the recent turns. Smart ends where the turns after that are its own share. So turns that
reasoning loses go to smart and count as smart's. Turns that smart loses go to fast. A bound only
lowers the tier: no turn gets a higher tier than the classifier's own thresholds give.

The axis is counted in cells. One cell may hold many turns with equal scores. So the cut splits the
cell by a fraction that depends on the time of the call. The same evidence gives the same side.
"""

from collections.abc import Sequence

import msgspec

from gateway.core.decision_context import Score, ShareCut, Thresholds
from gateway.core.target import Tier

CELLS_PER_TIER = 128
"""The number of cells of each bounded tier."""
FAST_CELL = 2 * CELLS_PER_TIER
"""The cell of all turns that go to fast anyway."""
CELL_COUNT = FAST_CELL + 1
BOUNDED_INDEX, REASONING_INDEX, SMART_INDEX = CELL_COUNT, CELL_COUNT + 1, CELL_COUNT + 2
"""The indexes of three counters after the cells: bounded turns, and those of them that went to
reasoning or to smart."""
COUNTER_COUNT = CELL_COUNT + 3
NO_CUT = ShareCut(reasoning=1.0, smart=2.0)
"""The cut that leaves every turn in its tier."""


class ShareBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The maximum shares of tiers in the turns that a classifier decides, 0 to 1."""

    reasoning: float = 1.0
    smart: float = 1.0


def find_cell(score: Score, thresholds: Thresholds) -> int:
    """Return the cell of a turn on the axis, by the classifier's own thresholds."""
    if score.fast >= thresholds.fast:
        return FAST_CELL
    if score.smart < thresholds.smart:
        return min(int(score.smart / thresholds.smart * CELLS_PER_TIER), CELLS_PER_TIER - 1)
    return CELLS_PER_TIER + min(
        int(score.fast / thresholds.fast * CELLS_PER_TIER), CELLS_PER_TIER - 1
    )


def choose_tier(score: Score, thresholds: Thresholds, cut: ShareCut, timestamp: float) -> Tier:
    """Return the tier of a turn under a cut; `timestamp` is in seconds since the epoch."""
    cell_index = find_cell(score, thresholds)
    if cell_index == FAST_CELL:
        return "fast"
    point = (cell_index + draw_fraction(timestamp)) / CELLS_PER_TIER
    if cell_index < CELLS_PER_TIER and point < cut.reasoning:
        return "reasoning"
    return "smart" if point < cut.smart else "fast"


def draw_fraction(timestamp: float) -> float:
    """Return a number from 0 up to 1 for a moment, evenly distributed (splitmix64).

    It depends only on the moment. So a replay needs no text, and a text that is sent many times is
    not always on the same side.
    """
    mixed = int(timestamp * 1e6) * 0x9E3779B97F4A7C15 & _WORD_MASK
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & _WORD_MASK
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _WORD_MASK
    return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)


def compute_cut(counts: Sequence[int], bounds: ShareBounds) -> ShareCut:
    """Return where the tiers end, by the number of recent turns in each of `CELL_COUNT` cells.

    If the counters of earlier cuts follow the cells, they correct the bounds.
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
    """Return bounds that compensate for tiers that had too large or too small a share.

    Quantiles of so few turns are off by a percentage point. The correction soon halves the error.
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
    """Return the point `turn_count` turns after a start on the axis.

    The start is `offset` of a cell after the beginning of the cell at `cell_index`. There are more
    turns than that behind it, apart from rounding.
    """
    remaining = turn_count + offset * counts[cell_index]
    while cell_index < FAST_CELL and remaining > counts[cell_index]:
        remaining -= counts[cell_index]
        cell_index += 1
    return (
        cell_index + (remaining / counts[cell_index] if counts[cell_index] else 0.0)
    ) / CELLS_PER_TIER


_HORIZON_TURNS = 500
"""The number of turns over which a correction compensates an error."""
_MAX_DECREASE, _MAX_INCREASE = 0.02, 0.01
"""The maximum decrease and increase of a bound."""
_WORD_MASK = (1 << 64) - 1

MIN_TURNS = 2000
"""The number of recent turns from which on they give thresholds."""


class RecentTurns:
    """The recent turns of one key, or of all keys of a tenant, in two generations.

    The current generation grows until it has `MIN_TURNS` turns. Then it replaces the previous one,
    and a new one begins. So the counts are of the last `MIN_TURNS` turns at least, and of twice as
    many at most.
    """

    __slots__ = ("current", "previous")

    def __init__(self, previous: list[int] | None = None, current: list[int] | None = None) -> None:
        self.previous = previous or [0] * COUNTER_COUNT
        self.current = current or [0] * COUNTER_COUNT

    @property
    def counts(self) -> list[int]:
        """The number of turns by cell, with the counters after the cells."""
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
        """The number of turns in both generations."""
        return sum(self.previous[:CELL_COUNT]) + sum(self.current[:CELL_COUNT])
