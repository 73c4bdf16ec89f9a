"""Measures of how well a score finds the prompts that need a stronger model."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import mul

from gateway.evaluation.metrics.bootstrap import Weights, make_unit_weights

type Curve = list[tuple[float, float]]
"""The share of calls that go to the stronger model, with the share of the quality gap recovered."""


class Ranking:
    """Rows in the order in which a score sends them to the stronger model, neediest first.

    `needs` has one number for each row; the highest goes first. A score cannot tell rows of the
    same need apart, so they go together. The curve between them is a straight line, as a random
    order has it on average.
    """

    def __init__(
        self, needs: Sequence[float], weak: Sequence[float], strong: Sequence[float]
    ) -> None:
        order = sorted(range(len(needs)), key=needs.__getitem__, reverse=True)
        self._order = order
        self._gains = [strong[row] - weak[row] for row in order]
        last_position = len(order) - 1
        self._tie_ends = [
            position
            for position, row in enumerate(order)
            if position == last_position or needs[order[position + 1]] != needs[row]
        ]

    def compute_curve(self, weights: Weights | None = None) -> Curve | None:
        """Return the curve from (0, 0) to (1, 1), with a point after each need.

        None if there is no gap to recover. `weights` are in the order in which the caller gave
        the rows.
        """
        row_weights = self._order_weights(weights)
        cumulative_weights = list(accumulate(row_weights))
        cumulative_gains = list(accumulate(map(mul, self._gains, row_weights)))
        if not cumulative_weights or cumulative_gains[-1] <= 0:
            return None
        total, total_gain = cumulative_weights[-1], cumulative_gains[-1]
        return [
            (0.0, 0.0),
            *(
                (cumulative_weights[position] / total, cumulative_gains[position] / total_gain)
                for position in self._tie_ends
            ),
        ]

    def compute_apgr(self, weights: Weights | None = None) -> float | None:
        """Return the area under the curve: 1/2 is chance (APGR of RouteLLM, arXiv 2406.18665).

        None if the stronger model is no better than the weaker one.
        """
        row_weights = self._order_weights(weights)
        cumulative_gains: list[float] = list(accumulate(map(mul, self._gains, row_weights)))
        if not cumulative_gains or cumulative_gains[-1] <= 0:
            return None
        if len(self._tie_ends) == len(cumulative_gains):  # without ties each row is its own step
            half_steps = sum(map(mul, map(mul, self._gains, row_weights), row_weights)) / 2
            step_area: float = sum(map(mul, cumulative_gains, row_weights)) - half_steps
            return step_area / (sum(row_weights) * cumulative_gains[-1])
        cumulative_weights = list(accumulate(row_weights))
        area, previous_gain, previous_weight = 0.0, 0.0, 0
        for position in self._tie_ends:
            area += (
                (cumulative_weights[position] - previous_weight)
                * (previous_gain + cumulative_gains[position])
                / 2
            )
            previous_gain = cumulative_gains[position]
            previous_weight = cumulative_weights[position]
        return area / (previous_weight * previous_gain)

    def _order_weights(self, weights: Weights | None) -> list[int]:
        row_weights = make_unit_weights(len(self._order)) if weights is None else weights
        return list(map(row_weights.__getitem__, self._order))


def group_by_source(sources: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of each source, with the sources in the order of their names."""
    rows_by_source: dict[str, list[int]] = {}
    for row, source in enumerate(sources):
        rows_by_source.setdefault(source, []).append(row)
    return dict(sorted(rows_by_source.items()))


class Sources:
    """A ranking for each source: a score need not know which source is harder."""

    def __init__(
        self,
        needs: Sequence[float],
        weak: Sequence[float],
        strong: Sequence[float],
        sources: Sequence[str],
    ) -> None:
        self.rows_by_source = group_by_source(sources)
        self._rankings = {
            name: Ranking(
                [needs[row] for row in rows],
                [weak[row] for row in rows],
                [strong[row] for row in rows],
            )
            for name, rows in self.rows_by_source.items()
        }

    def compute_apgr(self, weights: Weights | None = None) -> dict[str, float | None]:
        """Return the APGR of each source; None for one without a gap to recover."""
        return {
            name: ranking.compute_apgr(
                None if weights is None else [weights[row] for row in self.rows_by_source[name]]
            )
            for name, ranking in self._rankings.items()
        }


def average_sources(value_by_source: Mapping[str, float | None]) -> float | None:
    """Return the mean over the sources that have a figure; each counts the same, large or small."""
    values = [value for value in value_by_source.values() if value is not None]
    return sum(values) / len(values) if values else None


def compute_auc(
    scores: Sequence[float], positive: Sequence[bool], weights: Weights | None = None
) -> float | None:
    """Return the probability that a positive row scores above a negative one; a tie counts half.

    None if there are no positive rows, or no negative ones.
    """
    row_weights = make_unit_weights(len(scores)) if weights is None else weights
    order = sorted(range(len(scores)), key=scores.__getitem__)
    pair_weight = won_pair_weight = 0.0
    positive_weight = negative_weight = position = 0
    while position < len(order):
        tied_positive, tied_negative, value = 0, 0, scores[order[position]]
        while position < len(order) and scores[order[position]] == value:
            row = order[position]
            if positive[row]:
                tied_positive += row_weights[row]
            else:
                tied_negative += row_weights[row]
            position += 1
        won_pair_weight += tied_positive * (negative_weight + tied_negative / 2)
        positive_weight = positive_weight + tied_positive
        negative_weight = negative_weight + tied_negative
    pair_weight = positive_weight * negative_weight
    return won_pair_weight / pair_weight if pair_weight else None
