"""Means, shares and quantiles of calls that are alike within clusters, with 95% intervals.

A rule assigns whole conversations to its arms, so a conversation is a cluster: its calls share a
task, a length and often a fate. A thousand calls of ten conversations tell little more than ten
calls do. All intervals here rest on how much clusters differ. They take the calls from sums over
clusters, in one pass, without resampling.

Fewer than `MIN_CLUSTERS` clusters do not show how clusters differ, so their figures have no
interval.
"""

import math
from array import array
from collections.abc import Sequence
from statistics import NormalDist

from gateway.evaluation.metrics.bootstrap import CONFIDENCE_LEVEL
from gateway.evaluation.metrics.figure import Figure

MIN_CLUSTERS = 20
"""The least number of clusters with observations for an interval."""
_NORMAL_QUANTILE = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)


class ClusterSums:
    """The sums of some observations by cluster, and the products that a variance needs."""

    __slots__ = ("_products", "_squared_counts", "_squared_totals", "clusters", "count", "total")

    def __init__(self) -> None:
        self.clusters = 0
        """Clusters with at least one observation."""
        self.count = 0
        """Observations."""
        self.total = 0.0
        """The sum of their values."""
        self._squared_counts = 0
        self._products = 0.0
        self._squared_totals = 0.0

    def add(self, total: float, count: int) -> None:
        """Add a cluster, unless it has no values: their sum, and their number."""
        if not count:
            return
        self.clusters += 1
        self.count += count
        self.total += total
        self._squared_counts += count * count
        self._products += total * count
        self._squared_totals += total * total

    @property
    def mean(self) -> float:
        """The mean of all observations. There must be at least one."""
        return self.total / self.count

    def estimate_mean(self) -> Figure | None:
        """Return the mean of values that are never negative; None without an observation.

        The interval is Student's for the ratio of two sums over clusters (Cochran 1977, chapter 6).
        """
        if not self.count:
            return None
        mean = self.mean
        if self.clusters < MIN_CLUSTERS:
            return Figure(mean)
        half_width = self._find_student_quantile() * math.sqrt(self._compute_variance())
        return Figure(mean, max(0.0, mean - half_width), mean + half_width)

    def estimate_share(self) -> Figure | None:
        """Return the share of observations whose value is 1, of values 0 and 1; None without any.

        The interval is Wilson's (1927) for as many independent observations as would tell as much
        (Korn and Graubard 1998). It holds also near 0 and 1.
        """
        if not self.count:
            return None
        share = self.mean
        if self.clusters < MIN_CLUSTERS:
            return Figure(share)
        size, quantile = self._compute_effective_size(), self._find_student_quantile()
        correction = quantile * quantile / size
        center = (share + correction / 2) / (1 + correction)
        half_width = math.sqrt(correction * (share * (1 - share) + correction / 4)) / (
            1 + correction
        )
        return Figure(share, max(0.0, center - half_width), min(1.0, center + half_width))

    def _compute_effective_size(self) -> float:
        """Return the number of independent observations, each 0 or 1, that tell as much.

        If all are equal, nothing shows how alike the calls of a cluster are. They then count as
        wholly alike (Kish 1965).
        """
        share = self.mean
        variance = self._compute_variance()
        if not 0 < share < 1:
            return self.count**2 / self._squared_counts
        return min(self.count, share * (1 - share) / variance) if variance else self.count

    def compute_rank_share_error(self, share: float) -> float:
        """Return how far the rank of a quantile may lie from `share`, as a share of all ranks."""
        error = math.sqrt(share * (1 - share) / self._compute_effective_size())
        return self._find_student_quantile() * error

    def _compute_variance(self) -> float:
        """Return the variance of the mean. There must be at least two clusters."""
        mean = self.mean
        squares = self._squared_totals - mean * (2 * self._products - mean * self._squared_counts)
        # Rounding can leave a little less than 0 where all clusters are equal.
        return max(0.0, squares) * self.clusters / (self.clusters - 1) / self.count**2

    def _find_student_quantile(self) -> float:
        return find_student_quantile(self.clusters - 1)


def find_student_quantile(freedom: float) -> float:
    """Return the quantile of Student's t (Abramowitz and Stegun 26.7.5).

    With 19 degrees of freedom or more, three terms are exact to 0.0005.
    """
    normal = _NORMAL_QUANTILE
    return (
        normal
        + (normal**3 + normal) / (4 * freedom)
        + (5 * normal**5 + 16 * normal**3 + 3 * normal) / (96 * freedom**2)
    )


class ClusterValues:
    """Single observations by cluster, for their quantiles: 8 bytes for each."""

    __slots__ = ("_ends", "_values")

    def __init__(self) -> None:
        self._values = array("d")
        self._ends = array("q")
        """The end of each cluster in `_values`."""

    def add(self, values: Sequence[float]) -> None:
        """Add the values of a cluster."""
        self._values.extend(values)
        self._ends.append(len(self._values))

    def estimate_quantiles(self, shares: Sequence[float]) -> list[Figure | None]:
        """Return the quantiles at some shares, by the nearest rank; None without an observation."""
        ordered = sorted(self._values)
        return [self._estimate_quantile(ordered, share) if ordered else None for share in shares]

    def _estimate_quantile(self, ordered: Sequence[float], share: float) -> Figure:
        """Return the quantile, between two of the ordered values (Woodruff 1952).

        The number of values up to the true quantile is binomial, but for clusters. So the interval
        ends at two ranks around that of the quantile, at a distance that allows for clusters. There
        is none if a rank lies outside.
        """
        count = len(ordered)
        value = ordered[math.ceil(count * share) - 1]
        sums = self._count_up_to(value)
        if sums.clusters < MIN_CLUSTERS:
            return Figure(value)
        error = sums.compute_rank_share_error(share)
        low_rank = math.floor(count * (share - error))
        high_rank = math.ceil(count * (share + error)) + 1
        if low_rank < 1 or high_rank > count:
            return Figure(value)
        return Figure(value, ordered[low_rank - 1], ordered[high_rank - 1])

    def _count_up_to(self, bound: float) -> ClusterSums:
        """Count in each cluster the values that are not above a bound."""
        sums, start = ClusterSums(), 0
        for end in self._ends:
            values = self._values[start:end]
            sums.add(sum(value <= bound for value in values), end - start)
            start = end
        return sums
