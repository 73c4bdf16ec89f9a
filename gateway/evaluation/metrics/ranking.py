"""How well a score finds the prompts that need a stronger model."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import mul

from gateway.evaluation.metrics.bootstrap import Weights, ones

type Curve = list[tuple[float, float]]
"""Share of the calls that go to the stronger model, share of the quality gap that is recovered."""


class Ranking:
    """Rows in the order in which a score sends them to the stronger model, neediest first.

    `need`: of each row, higher goes first. Rows of one need cannot be told apart: they go together,
    and the curve between them is the straight line that a random order has on average.
    """

    def __init__(
        self, need: Sequence[float], weak: Sequence[float], strong: Sequence[float]
    ) -> None:
        order = sorted(range(len(need)), key=need.__getitem__, reverse=True)
        self._order = order
        self._gains = [strong[at] - weak[at] for at in order]
        last = len(order) - 1
        self._ends = [
            place
            for place, at in enumerate(order)
            if place == last or need[order[place + 1]] != need[at]
        ]

    def curve(self, weights: Weights | None = None) -> Curve | None:
        """From (0, 0) to (1, 1), a point behind each need; None where there is no gap to recover.

        `weights` are of the rows as they were given.
        """
        drawn = self._drawn(weights)
        count = list(accumulate(drawn))
        gained = list(accumulate(map(mul, self._gains, drawn)))
        if not count or gained[-1] <= 0:
            return None
        total, gap = count[-1], gained[-1]
        return [(0.0, 0.0), *((count[at] / total, gained[at] / gap) for at in self._ends)]

    def apgr(self, weights: Weights | None = None) -> float | None:
        """The area under the curve: 1/2 is chance (RouteLLM, arXiv 2406.18665, its APGR).

        None where the stronger model is no better than the weaker one.
        """
        drawn = self._drawn(weights)
        gained: list[float] = list(accumulate(map(mul, self._gains, drawn)))
        if not gained or gained[-1] <= 0:
            return None
        if len(self._ends) == len(gained):  # no ties: each row is a step of its own
            halves = sum(map(mul, map(mul, self._gains, drawn), drawn)) / 2
            step: float = sum(map(mul, gained, drawn)) - halves
            return step / (sum(drawn) * gained[-1])
        count = list(accumulate(drawn))
        area, before, left = 0.0, 0.0, 0
        for at in self._ends:
            area += (count[at] - left) * (before + gained[at]) / 2
            before, left = gained[at], count[at]
        return area / (left * before)

    def _drawn(self, weights: Weights | None) -> list[int]:
        given = ones(len(self._order)) if weights is None else weights
        return list(map(given.__getitem__, self._order))


def by_source(sources: Sequence[str]) -> dict[str, list[int]]:
    """The rows of each source, in order of its name."""
    found: dict[str, list[int]] = {}
    for at, source in enumerate(sources):
        found.setdefault(source, []).append(at)
    return dict(sorted(found.items()))


class Sources:
    """Rankings of each source apart: a score need not be right about which source is harder."""

    def __init__(
        self,
        need: Sequence[float],
        weak: Sequence[float],
        strong: Sequence[float],
        sources: Sequence[str],
    ) -> None:
        self.rows = by_source(sources)
        self._rankings = {
            name: Ranking(
                [need[at] for at in rows], [weak[at] for at in rows], [strong[at] for at in rows]
            )
            for name, rows in self.rows.items()
        }

    def apgr(self, weights: Weights | None = None) -> dict[str, float | None]:
        """Of each source."""
        return {
            name: ranking.apgr(None if weights is None else [weights[at] for at in self.rows[name]])
            for name, ranking in self._rankings.items()
        }


def average(by_name: Mapping[str, float | None]) -> float | None:
    """The mean over the sources that have a figure: each counts the same, however long it is."""
    known = [value for value in by_name.values() if value is not None]
    return sum(known) / len(known) if known else None


def auc(
    score: Sequence[float], positive: Sequence[bool], weights: Weights | None = None
) -> float | None:
    """The probability that a positive row scores above a negative one, a tie counting half.

    None where there are not both.
    """
    drawn = ones(len(score)) if weights is None else weights
    order = sorted(range(len(score)), key=score.__getitem__)
    above = won = 0.0
    yes = no = place = 0
    while place < len(order):
        some, none, value = 0, 0, score[order[place]]
        while place < len(order) and score[order[place]] == value:
            at = order[place]
            if positive[at]:
                some += drawn[at]
            else:
                none += drawn[at]
            place += 1
        won += some * (no + none / 2)
        yes, no = yes + some, no + none
    above = yes * no
    return won / above if above else None
