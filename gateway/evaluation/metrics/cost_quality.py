"""Routers by what their tiers give and cost: constant ones, mixes by chance, an oracle, thresholds.

A `TierScores` has a column of scores and one of costs for each tier; costs are in any one unit. All
figures are means over rows, of a resample where weights are given.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import compress
from random import Random
from typing import NamedTuple

from gateway.core.decision_context import Score
from gateway.core.target import TIERS, Tier
from gateway.evaluation.metrics.bootstrap import (
    REPEATS,
    Interval,
    Weights,
    between,
    mean,
    ones,
    shuffles,
)


class CostQualityPoint(NamedTuple):
    """What a router costs and gives, on average."""

    cost: float
    quality: float


class TierScores(NamedTuple):
    """What each tier scored and cost on the same rows."""

    scores: Mapping[Tier, Sequence[float]]
    costs: Mapping[Tier, Sequence[float]]

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """Cheapest first."""
        return tuple(tier for tier in TIERS if tier in self.scores)

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.scores[self.tiers[0]])

    def picked(self, picks: Sequence[Tier]) -> tuple[list[float], list[float]]:
        """The columns of score and cost of a router that picks a tier for each row."""
        scores = [self.scores[tier][at] for at, tier in enumerate(picks)]
        return scores, [self.costs[tier][at] for at, tier in enumerate(picks)]


def constant(table: TierScores, weights: Weights | None = None) -> dict[Tier, CostQualityPoint]:
    """Always the same tier. Empty where a resample is."""
    drawn = ones(table.rows) if weights is None else weights
    found = {}
    for tier in table.tiers:
        cost, quality = mean(table.costs[tier], drawn), mean(table.scores[tier], drawn)
        if cost is not None and quality is not None:
            found[tier] = CostQualityPoint(cost, quality)
    return found


def by_chance(
    table: TierScores, picks: Sequence[Tier], weights: Weights | None = None
) -> CostQualityPoint | None:
    """What shuffled picks give on average, exactly: each tier's mean, by how often it is picked."""
    drawn = ones(table.rows) if weights is None else weights
    fixed, total = constant(table, drawn), sum(drawn)
    if not fixed:
        return None
    shares = {tier: sum(compress(drawn, (p == tier for p in picks))) / total for tier in fixed}
    return CostQualityPoint(
        sum(share * fixed[tier].cost for tier, share in shares.items()),
        sum(share * fixed[tier].quality for tier, share in shares.items()),
    )


def shuffled(
    table: TierScores, picks: Sequence[Tier], chance: Random, repeats: int = REPEATS
) -> Interval | None:
    """The quality of shuffled picks: its mean, and where most of many shuffles lie."""
    middle = by_chance(table, picks)
    if middle is None:
        return None
    columns, places = table.scores, range(table.rows)
    drawn = [
        sum(columns[tier][at] for at, tier in zip(places, order, strict=True)) / table.rows
        for order in shuffles(picks, chance, repeats)
    ]
    return between(middle.quality, drawn)


def oracle(table: TierScores, worth: float | None = None) -> list[Tier]:
    """Of each row the cheapest of its best tiers: it has seen every answer.

    With `worth`, the tier whose score less `worth` times its cost is highest.
    """
    price = 0.0 if worth is None else worth

    def value(tier: Tier, at: int) -> tuple[float, float]:
        cost = table.costs[tier][at]
        return table.scores[tier][at] - price * cost, -cost

    return [max(table.tiers, key=partial(value, at=at)) for at in range(table.rows)]


def edge(points: Sequence[CostQualityPoint]) -> list[CostQualityPoint]:
    """The best that mixes of points give: the upper hull, cheapest first, as far as it climbs."""
    hull: list[CostQualityPoint] = []
    for point in sorted(points, key=lambda one: (one.cost, -one.quality)):
        if hull and point.quality <= hull[-1].quality:
            continue
        while len(hull) > 1 and _turns_up(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _turns_up(first: CostQualityPoint, middle: CostQualityPoint, last: CostQualityPoint) -> bool:
    rise = (middle.quality - first.quality) * (last.cost - first.cost)
    return rise <= (last.quality - first.quality) * (middle.cost - first.cost)


def cost_at(hull: Sequence[CostQualityPoint], quality: float) -> float | None:
    """What a mix along an edge costs that gives this much; None where none does."""
    below: CostQualityPoint | None = None
    for point in hull:
        if point.quality >= quality:
            if below is None:
                return point.cost
            part = (quality - below.quality) / (point.quality - below.quality)
            return below.cost + part * (point.cost - below.cost)
        below = point
    return None


def thresholds(
    table: TierScores, scored: Sequence[Score], weights: Weights | None = None, steps: int = 40
) -> list[CostQualityPoint]:
    """What a classifier gives and costs at all pairs of thresholds on a grid of its quantiles.

    The tiers part as they do in a decision: fast where `fast` is at least the one threshold, else
    the dearest where `smart` is below the other, else the one between. Of two tiers there is one
    threshold, on `fast`; of fast and reasoning alone too.
    """
    drawn = ones(table.rows) if weights is None else weights
    total = sum(drawn)
    if not total:
        return []
    low, high = table.tiers[0], table.tiers[-1]
    middle = table.tiers[1] if len(table.tiers) > 2 else high
    cells, wide, deep = _cells(table, scored, drawn, steps, (low, middle, high))
    points = []
    # Rows of a lower bin of `fast` than the first threshold leave the cheapest tier.
    base_cost, base_quality = cells.low_cost, cells.low_quality
    middle_cost, middle_quality = [0.0] * deep, [0.0] * deep
    for cut in range(wide + 1):
        if cut:
            base_cost -= cells.fast_cost[cut - 1]
            base_quality -= cells.fast_quality[cut - 1]
            for at in range(deep):
                middle_cost[at] += cells.cost[cut - 1][at]
                middle_quality[at] += cells.quality[cut - 1][at]
        cost = base_cost + cells.middle_cost[cut]
        quality = base_quality + cells.middle_quality[cut]
        points.append(CostQualityPoint(cost / total, quality / total))
        for at in range(deep):
            cost += middle_cost[at]
            quality += middle_quality[at]
            points.append(CostQualityPoint(cost / total, quality / total))
    return points


class _Cells(NamedTuple):
    """Sums over the grid: of the cheapest tier by bin of `fast`, and what the dearest adds."""

    low_cost: float
    low_quality: float
    fast_cost: list[float]
    fast_quality: list[float]
    middle_cost: list[float]
    middle_quality: list[float]
    cost: list[list[float]]
    quality: list[list[float]]


def _cells(
    table: TierScores,
    scored: Sequence[Score],
    drawn: Weights,
    steps: int,
    tiers: tuple[Tier, Tier, Tier],
) -> tuple[_Cells, int, int]:
    low, middle, high = tiers
    across, wide = _bins([one.fast for one in scored], steps)
    down, deep = _bins([one.smart for one in scored], steps)
    fast_cost, fast_quality = [0.0] * wide, [0.0] * wide
    middle_cost, middle_quality = [0.0] * (wide + 1), [0.0] * (wide + 1)
    cost = [[0.0] * deep for _ in range(wide)]
    quality = [[0.0] * deep for _ in range(wide)]
    costs, scores = table.costs, table.scores
    for at, (x, y, weight) in enumerate(zip(across, down, drawn, strict=True)):
        fast_cost[x] += weight * costs[low][at]
        fast_quality[x] += weight * scores[low][at]
        middle_cost[x + 1] += weight * costs[middle][at]
        middle_quality[x + 1] += weight * scores[middle][at]
        cost[x][y] += weight * (costs[high][at] - costs[middle][at])
        quality[x][y] += weight * (scores[high][at] - scores[middle][at])
    for cut in range(wide):
        middle_cost[cut + 1] += middle_cost[cut]
        middle_quality[cut + 1] += middle_quality[cut]
    made = _Cells(
        sum(fast_cost), sum(fast_quality), fast_cost, fast_quality,
        middle_cost, middle_quality, cost, quality,
    )  # fmt: skip
    return made, wide, deep


def _bins(values: Sequence[float], steps: int) -> tuple[list[int], int]:
    """The bin of each value, lowest first, about as many rows in each; equal values share one."""
    order = sorted(values)
    cuts = sorted({order[at * len(order) // steps] for at in range(steps)})
    by_value: dict[float, int] = {}
    place = 0
    for value in order:
        while place + 1 < len(cuts) and value >= cuts[place + 1]:
            place += 1
        by_value[value] = place
    return [by_value[value] for value in values], len(cuts)


def frugal(
    points: Sequence[CostQualityPoint], dearest: CostQualityPoint, share: float = 0.95
) -> float | None:
    """What mixes of points cost that give `share` of what the dearest gives, as a part of its cost.

    None where nothing does, or the dearest costs nothing.
    """
    cost = cost_at(edge([*points, dearest]), share * dearest.quality)
    return None if cost is None or not dearest.cost else cost / dearest.cost


def quality(
    table: TierScores, picks: Sequence[Tier], weights: Weights | None = None
) -> CostQualityPoint | None:
    """What a router gives and costs that picks these tiers."""
    scores, costs = table.picked(picks)
    drawn = ones(table.rows) if weights is None else weights
    cost, found = mean(costs, drawn), mean(scores, drawn)
    return None if cost is None or found is None else CostQualityPoint(cost, found)
