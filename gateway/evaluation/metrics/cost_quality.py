"""Cost and quality of routers: constant tiers, random mixes, an oracle, classifier thresholds.

A `TierScores` has a column of scores and a column of costs for each tier. All costs are in one
unit, whichever. All figures are means over rows; with weights, over the rows of a resample.
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
    compute_mean,
    draw_shuffles,
    make_interval,
    make_unit_weights,
)


class CostQualityPoint(NamedTuple):
    """The mean cost and the mean quality of a router."""

    cost: float
    quality: float


class TierScores(NamedTuple):
    """The scores and the costs of each tier on the same rows."""

    scores: Mapping[Tier, Sequence[float]]
    costs: Mapping[Tier, Sequence[float]]

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers that have scores, in the order of `TIERS`."""
        return tuple(tier for tier in TIERS if tier in self.scores)

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return len(self.scores[self.tiers[0]])

    def select_columns(self, picks: Sequence[Tier]) -> tuple[list[float], list[float]]:
        """Return the scores and the costs of a router that picks a tier for each row."""
        scores = [self.scores[tier][row] for row, tier in enumerate(picks)]
        return scores, [self.costs[tier][row] for row, tier in enumerate(picks)]


def score_constant_routers(
    table: TierScores, weights: Weights | None = None
) -> dict[Tier, CostQualityPoint]:
    """Return the cost and quality of each tier for every row; empty if the resample is empty."""
    row_weights = make_unit_weights(table.row_count) if weights is None else weights
    point_by_tier = {}
    for tier in table.tiers:
        cost = compute_mean(table.costs[tier], row_weights)
        quality = compute_mean(table.scores[tier], row_weights)
        if cost is not None and quality is not None:
            point_by_tier[tier] = CostQualityPoint(cost, quality)
    return point_by_tier


def score_random_mix(
    table: TierScores, picks: Sequence[Tier], weights: Weights | None = None
) -> CostQualityPoint | None:
    """Return the exact mean cost and quality of shuffled picks; None if the resample is empty.

    It is the mean of each tier, weighted by how often the picks have that tier.
    """
    row_weights = make_unit_weights(table.row_count) if weights is None else weights
    constant_points, total = score_constant_routers(table, row_weights), sum(row_weights)
    if not constant_points:
        return None
    shares = {
        tier: sum(compress(row_weights, (pick == tier for pick in picks))) / total
        for tier in constant_points
    }
    return CostQualityPoint(
        sum(share * constant_points[tier].cost for tier, share in shares.items()),
        sum(share * constant_points[tier].quality for tier, share in shares.items()),
    )


def score_shuffled(
    table: TierScores, picks: Sequence[Tier], rng: Random, repeats: int = REPEATS
) -> Interval | None:
    """Return the mean quality of shuffled picks, and the interval of 95% of the shuffles."""
    mean_point = score_random_mix(table, picks)
    if mean_point is None:
        return None
    scores, rows = table.scores, range(table.row_count)
    qualities = [
        sum(scores[tier][row] for row, tier in zip(rows, order, strict=True)) / table.row_count
        for order in draw_shuffles(picks, rng, repeats)
    ]
    return make_interval(mean_point.quality, qualities)


def pick_oracle_tiers(table: TierScores, cost_weight: float | None = None) -> list[Tier]:
    """Return for each row the cheapest of its best tiers, as an oracle that saw every answer.

    With `cost_weight`, it is the tier with the highest score minus `cost_weight` times its cost.
    """
    weight = 0.0 if cost_weight is None else cost_weight

    def rank_tier(tier: Tier, at: int) -> tuple[float, float]:
        cost = table.costs[tier][at]
        return table.scores[tier][at] - weight * cost, -cost

    return [max(table.tiers, key=partial(rank_tier, at=at)) for at in range(table.row_count)]


def find_upper_hull(points: Sequence[CostQualityPoint]) -> list[CostQualityPoint]:
    """Return the best that mixes of points give: the rising part of the upper hull.

    The cheapest point comes first.
    """
    hull: list[CostQualityPoint] = []
    for point in sorted(points, key=lambda candidate: (candidate.cost, -candidate.quality)):
        if hull and point.quality <= hull[-1].quality:
            continue
        while len(hull) > 1 and _is_below_line(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _is_below_line(
    first: CostQualityPoint, middle: CostQualityPoint, last: CostQualityPoint
) -> bool:
    rise = (middle.quality - first.quality) * (last.cost - first.cost)
    return rise <= (last.quality - first.quality) * (middle.cost - first.cost)


def interpolate_cost(hull: Sequence[CostQualityPoint], quality: float) -> float | None:
    """Return the cost of the mix along the hull with this quality; None if no mix reaches it."""
    previous: CostQualityPoint | None = None
    for point in hull:
        if point.quality >= quality:
            if previous is None:
                return point.cost
            fraction = (quality - previous.quality) / (point.quality - previous.quality)
            return previous.cost + fraction * (point.cost - previous.cost)
        previous = point
    return None


def sweep_thresholds(
    table: TierScores,
    classifier_scores: Sequence[Score],
    weights: Weights | None = None,
    steps: int = 40,
) -> list[CostQualityPoint]:
    """Return the cost and quality of a classifier at all pairs of thresholds on a grid.

    The grid has quantiles of the classifier's scores. Thresholds choose tiers as in a decision: a
    row gets the cheapest tier if its `fast` is at least the first threshold. Otherwise it gets the
    dearest if its `smart` is below the second threshold, else the middle one. Two tiers have only
    the threshold on `fast`, even if they are fast and reasoning.
    """
    row_weights = make_unit_weights(table.row_count) if weights is None else weights
    total = sum(row_weights)
    if not total:
        return []
    low, high = table.tiers[0], table.tiers[-1]
    middle = table.tiers[1] if len(table.tiers) > 2 else high
    cells, fast_bin_count, smart_bin_count = _sum_grid(
        table, classifier_scores, row_weights, steps, (low, middle, high)
    )
    points = []
    # The first threshold rises bin by bin: rows whose `fast` is below it leave the cheapest tier.
    base_cost, base_quality = cells.low_cost, cells.low_quality
    middle_cost, middle_quality = [0.0] * smart_bin_count, [0.0] * smart_bin_count
    for fast_bin in range(fast_bin_count + 1):
        if fast_bin:
            base_cost -= cells.fast_cost[fast_bin - 1]
            base_quality -= cells.fast_quality[fast_bin - 1]
            for smart_bin in range(smart_bin_count):
                middle_cost[smart_bin] += cells.cost[fast_bin - 1][smart_bin]
                middle_quality[smart_bin] += cells.quality[fast_bin - 1][smart_bin]
        cost = base_cost + cells.middle_cost[fast_bin]
        quality = base_quality + cells.middle_quality[fast_bin]
        points.append(CostQualityPoint(cost / total, quality / total))
        for smart_bin in range(smart_bin_count):
            cost += middle_cost[smart_bin]
            quality += middle_quality[smart_bin]
            points.append(CostQualityPoint(cost / total, quality / total))
    return points


class _GridSums(NamedTuple):
    """Weighted sums of cost and quality over the grid of thresholds.

    `low_*` sum the cheapest tier over all rows, `fast_*` by bin of `fast`. `middle_*` sum the
    middle tier over all lower bins of `fast`. `cost` and `quality` hold what the dearest tier adds
    to the middle one, by bin of `fast` and then of `smart`.
    """

    low_cost: float
    low_quality: float
    fast_cost: list[float]
    fast_quality: list[float]
    middle_cost: list[float]
    middle_quality: list[float]
    cost: list[list[float]]
    quality: list[list[float]]


def _sum_grid(
    table: TierScores,
    classifier_scores: Sequence[Score],
    row_weights: Weights,
    steps: int,
    tiers: tuple[Tier, Tier, Tier],
) -> tuple[_GridSums, int, int]:
    low, middle, high = tiers
    fast_bins, fast_bin_count = _assign_bins([score.fast for score in classifier_scores], steps)
    smart_bins, smart_bin_count = _assign_bins([score.smart for score in classifier_scores], steps)
    fast_cost, fast_quality = [0.0] * fast_bin_count, [0.0] * fast_bin_count
    middle_cost, middle_quality = [0.0] * (fast_bin_count + 1), [0.0] * (fast_bin_count + 1)
    cost = [[0.0] * smart_bin_count for _ in range(fast_bin_count)]
    quality = [[0.0] * smart_bin_count for _ in range(fast_bin_count)]
    costs, scores = table.costs, table.scores
    for row, (fast_bin, smart_bin, weight) in enumerate(
        zip(fast_bins, smart_bins, row_weights, strict=True)
    ):
        fast_cost[fast_bin] += weight * costs[low][row]
        fast_quality[fast_bin] += weight * scores[low][row]
        middle_cost[fast_bin + 1] += weight * costs[middle][row]
        middle_quality[fast_bin + 1] += weight * scores[middle][row]
        cost[fast_bin][smart_bin] += weight * (costs[high][row] - costs[middle][row])
        quality[fast_bin][smart_bin] += weight * (scores[high][row] - scores[middle][row])
    for bin_index in range(fast_bin_count):
        middle_cost[bin_index + 1] += middle_cost[bin_index]
        middle_quality[bin_index + 1] += middle_quality[bin_index]
    cells = _GridSums(
        sum(fast_cost), sum(fast_quality), fast_cost, fast_quality,
        middle_cost, middle_quality, cost, quality,
    )  # fmt: skip
    return cells, fast_bin_count, smart_bin_count


def _assign_bins(values: Sequence[float], steps: int) -> tuple[list[int], int]:
    """Return the bin of each value and the number of bins; the lowest bin is 0.

    Bins have about equally many rows. Equal values share a bin.
    """
    ordered = sorted(values)
    cuts = sorted({ordered[step * len(ordered) // steps] for step in range(steps)})
    bin_by_value: dict[float, int] = {}
    bin_index = 0
    for value in ordered:
        while bin_index + 1 < len(cuts) and value >= cuts[bin_index + 1]:
            bin_index += 1
        bin_by_value[value] = bin_index
    return [bin_by_value[value] for value in values], len(cuts)


def find_frugal_share(
    points: Sequence[CostQualityPoint], dearest_point: CostQualityPoint, share: float = 0.95
) -> float | None:
    """Return the cost of the mix of points that keeps `share` of the dearest point's quality.

    It is a share of the dearest point's cost. None if no mix keeps that much, or if the dearest
    point costs nothing.
    """
    cost = interpolate_cost(
        find_upper_hull([*points, dearest_point]), share * dearest_point.quality
    )
    return None if cost is None or not dearest_point.cost else cost / dearest_point.cost


def score_router(
    table: TierScores, picks: Sequence[Tier], weights: Weights | None = None
) -> CostQualityPoint | None:
    """Return the cost and quality of a router with these picks; None if the resample is empty."""
    scores, costs = table.select_columns(picks)
    row_weights = make_unit_weights(table.row_count) if weights is None else weights
    cost, mean_score = compute_mean(costs, row_weights), compute_mean(scores, row_weights)
    return None if cost is None or mean_score is None else CostQualityPoint(cost, mean_score)
