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
before are let go. So what is told is of the last `TURNS` turns at least, and twice as many at most.
"""

from collections.abc import Sequence

import msgspec

from gateway.core.decision_context import Score, ShareCut, Thresholds
from gateway.core.target import Tier

CELLS = 128
"""Of each tier that is bounded."""
FAST = 2 * CELLS
"""The cell of all turns that go to fast anyway."""
SIZE = FAST + 1
BOUNDED, REASONED, SMART = SIZE, SIZE + 1, SIZE + 2
"""Behind the cells: turns that were held against a cut, those of them that were reasoned, and that
went to smart."""
WIDTH = SIZE + 3
NONE = ShareCut(reasoning=1.0, smart=2.0)
"""What cuts nothing."""


class ShareBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The shares that tiers may have of the turns that a classifier decides, 0 to 1."""

    reasoning: float = 1.0
    smart: float = 1.0


def cell(score: Score, own: Thresholds) -> int:
    """Where a turn stands on the axis, by the classifier's own thresholds."""
    if score.fast >= own.fast:
        return FAST
    if score.smart < own.smart:
        return min(int(score.smart / own.smart * CELLS), CELLS - 1)
    return CELLS + min(int(score.fast / own.fast * CELLS), CELLS - 1)


def under(score: Score, used: Thresholds, cut: ShareCut, at: float) -> Tier:
    """The tier of a turn at `at`, seconds since the epoch, where bounds end the tiers."""
    place = cell(score, used)
    if place == FAST:
        return "fast"
    point = (place + fraction(at)) / CELLS
    if place < CELLS and point < cut.reasoning:
        return "reasoning"
    return "smart" if point < cut.smart else "fast"


def fraction(at: float) -> float:
    """A number from 0 up to 1 that a moment gives, as even as chance (splitmix64).

    Of nothing else: a turn can be decided again without its text, and a text that is sent again and
    again is not always on the same side.
    """
    mixed = int(at * 1e6) * 0x9E3779B97F4A7C15 & _WORD
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _WORD
    return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)


def cut(counts: Sequence[int], most: ShareBounds) -> ShareCut:
    """Where the tiers end, by how many recent turns stood in each of `SIZE` cells.

    With what came of earlier cuts behind the cells, the bounds are moved against it.
    """
    counts, most = counts[:SIZE], _moved(counts, most)
    total = sum(counts)
    reasoned = sum(counts[:CELLS])
    room = most.reasoning * total
    first = 1.0 if reasoned <= room else _after(counts, 0, 0.0, room)
    rest = sum(counts[:FAST]) - min(reasoned, room)
    room = most.smart * total
    if rest <= room:
        return ShareCut(reasoning=first, smart=2.0)
    start = int(first * CELLS)
    return ShareCut(reasoning=first, smart=_after(counts, start, first * CELLS - start, room))


def _moved(counts: Sequence[int], most: ShareBounds) -> ShareBounds:
    """Bounds that make up for what tiers had too much or too little of.

    Quantiles of so few turns are off by a point; this halves what is left of that soon after.
    """
    if len(counts) == SIZE:
        return most

    def moved(bound: float, had: int) -> float:
        more = (had - bound * counts[BOUNDED]) / _HORIZON
        return min(1.0, max(0.0, bound - min(_LESS, max(-_MORE, more)))) if bound else bound

    return ShareBounds(
        reasoning=moved(most.reasoning, counts[REASONED]), smart=moved(most.smart, counts[SMART])
    )


def _after(counts: Sequence[int], place: int, part: float, room: float) -> float:
    """The point at which so many turns stand behind another one, `part` of a cell after its start.

    There are more than that.
    """
    left = room + part * counts[place]
    while left > counts[place]:
        left -= counts[place]
        place += 1
    return (place + (left / counts[place] if counts[place] else 0.0)) / CELLS


_HORIZON = 500
"""Turns over which an error is made up for."""
_LESS, _MORE = 0.02, 0.01
"""The most that a bound is moved by."""
_WORD = (1 << 64) - 1

TURNS = 2000
"""From which on thresholds are made of them."""


class RecentTurns:
    """The turns of one key, or of all keys of a tenant."""

    __slots__ = ("before", "now")

    def __init__(self, before: list[int] | None = None, now: list[int] | None = None) -> None:
        self.before = before or [0] * WIDTH
        self.now = now or [0] * WIDTH

    @property
    def counts(self) -> list[int]:
        """Turns by cell."""
        return [one + other for one, other in zip(self.before, self.now, strict=True)]

    def add(self, counts: Sequence[int]) -> None:
        """Count more turns."""
        self.now = [one + other for one, other in zip(self.now, counts, strict=True)]
        if sum(self.now[:SIZE]) >= TURNS:
            self.before, self.now = self.now, [0] * WIDTH

    @property
    def turns(self) -> int:
        """How many they are."""
        return sum(self.before[:SIZE]) + sum(self.now[:SIZE])
