"""Estimates from clusters: known values, and what clusters change."""

import math
from random import Random
from statistics import fmean, stdev

import pytest

from gateway.evaluation.metrics.clustered import (
    MIN_CLUSTERS,
    ClusterSums,
    ClusterValues,
    find_student_quantile,
)
from gateway.evaluation.metrics.figure import Figure

_STUDENT_39 = 2.02269
"""The 97.5% quantile of Student's t with 39 degrees of freedom (tables)."""


def sums_of(*clusters: tuple[float, int]) -> ClusterSums:
    sums = ClusterSums()
    for total, count in clusters:
        sums.add(total, count)
    return sums


def widths(figure: Figure | None) -> tuple[float, float]:
    """Return how far an interval reaches below and above its value."""
    assert figure is not None
    assert figure.low is not None
    assert figure.high is not None
    return figure.value - figure.low, figure.high - figure.value


def test_the_mean_of_single_observations_has_the_interval_of_student() -> None:
    rng = Random(1)
    values = [rng.gauss(10, 2) for _ in range(40)]
    figure = sums_of(*((value, 1) for value in values)).estimate_mean()
    assert figure is not None
    assert figure.value == pytest.approx(fmean(values))
    expected = _STUDENT_39 * stdev(values) / math.sqrt(40)
    assert widths(figure) == pytest.approx((expected, expected), rel=1e-4)


def test_calls_that_repeat_within_a_cluster_tell_no_more() -> None:
    """Ten equal calls in each cluster give the interval of one call in each."""
    rng = Random(2)
    values = [rng.gauss(10, 2) for _ in range(40)]
    once = sums_of(*((value, 1) for value in values)).estimate_mean()
    assert sums_of(*((10 * value, 10) for value in values)).estimate_mean() == pytest.approx(once)
    votes = [float(value > 10) for value in values]
    once = sums_of(*((vote, 1) for vote in votes)).estimate_share()
    tenfold = sums_of(*((10 * vote, 10) for vote in votes)).estimate_share()
    assert widths(tenfold) == pytest.approx(widths(once))


def test_a_mean_weighs_clusters_by_their_observations() -> None:
    clusters = [(float(size), size) for size in range(1, 21)] + [(0.0, 10)] * 20
    sums = sums_of(*clusters)
    figure = sums.estimate_mean()
    assert figure is not None
    assert figure.value == pytest.approx(210 / 410)
    mean = 210 / 410
    variance = sum((total - mean * size) ** 2 for total, size in clusters) * 40 / 39 / 410**2
    expected = _STUDENT_39 * math.sqrt(variance)
    assert widths(figure) == pytest.approx((expected, expected), rel=1e-4)


def test_a_mean_of_what_is_never_negative_has_no_negative_end() -> None:
    figure = sums_of((100.0, 1), *[(0.0, 1)] * 39).estimate_mean()
    assert figure is not None
    assert figure.low == 0


def test_equal_clusters_have_an_interval_without_a_width() -> None:
    assert sums_of(*[(0.1, 1)] * 40).estimate_mean() == pytest.approx(Figure(0.1, 0.1, 0.1))


def test_the_share_of_single_observations_is_that_of_wilson() -> None:
    """81 of 263 is an example of Newcombe (1998): 0.2553 to 0.3662 with the normal quantile."""
    figure = sums_of(*[(1.0, 1)] * 81, *[(0.0, 1)] * 182).estimate_share()
    assert figure == pytest.approx(Figure(81 / 263, 0.2553, 0.3662), abs=5e-4)


@pytest.mark.parametrize(("value", "expected"), [(0.0, (0.0, 0.0928)), (1.0, (0.9072, 1.0))])
def test_a_share_of_none_or_all_has_an_interval(
    value: float, expected: tuple[float, float]
) -> None:
    """Wilson's of none of 40 is 0 to 0.0876; Student's quantile of 39 degrees widens it."""
    figure = sums_of(*[(value, 1)] * 40).estimate_share()
    assert figure == pytest.approx(Figure(value, *expected), abs=1e-4)
    # Nothing shows how alike calls of a cluster are, so five calls each count as one.
    assert sums_of(*[(5 * value, 5)] * 40).estimate_share() == pytest.approx(figure)


def test_clusters_with_the_same_share_count_as_independent_calls() -> None:
    """The share does not vary between clusters at all; the calls are still only so many."""
    figure = sums_of(*[(1.0, 2)] * 40).estimate_share()
    independent = sums_of(*[(1.0, 1)] * 40, *[(0.0, 1)] * 40).estimate_share()
    assert widths(figure) == pytest.approx(widths(independent), rel=0.02)


def test_without_observations_there_is_no_figure() -> None:
    sums = sums_of((0.0, 0))
    assert (sums.clusters, sums.estimate_mean(), sums.estimate_share()) == (0, None, None)
    values = ClusterValues()
    values.add([])
    assert values.estimate_quantiles([0.5]) == [None]


def test_too_few_clusters_give_a_figure_without_an_interval() -> None:
    few = [(1.0, 2)] * (MIN_CLUSTERS - 1)
    assert sums_of(*few).estimate_mean() == Figure(0.5)
    assert sums_of(*few).estimate_share() == Figure(0.5)
    values = ClusterValues()
    for _ in few:
        values.add([1.0, 3.0])
    assert values.estimate_quantiles([0.5]) == [Figure(1.0)]
    assert widths(sums_of((1.0, 2), *few).estimate_mean()) == (0, 0)
    assert widths(sums_of((1.0, 2), *few).estimate_share()) > (0, 0)
    values.add([1.0, 3.0])
    (median,) = values.estimate_quantiles([0.5])
    assert widths(median) == (0.0, 2.0)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(19, 2.0930), (39, _STUDENT_39), (1_000, 1.96233908)]
)
def test_the_quantile_of_student_is_that_of_the_tables(freedom: int, quantile: float) -> None:
    """Three terms miss it by 0.0004 at 19 degrees of freedom, and by a billionth at 1,000."""
    tolerance = 5e-4 if freedom < 100 else 1e-8
    assert find_student_quantile(freedom) == pytest.approx(quantile, abs=tolerance)


@pytest.mark.parametrize("count", [32, 36, 40, 100])
def test_a_share_is_never_above_one(count: int) -> None:
    figure = sums_of(*[(1.0, 1)] * count).estimate_share()
    assert figure is not None
    assert figure.high is not None
    assert figure.high <= 1.0


def test_a_quantile_lies_between_the_ranks_of_a_binomial() -> None:
    """The median of 100 single values lies between the 40th and the 61st with at least 95%."""
    values = ClusterValues()
    for value in range(100, 0, -1):
        values.add([float(value)])
    median, high = values.estimate_quantiles([0.5, 0.95])
    assert median == Figure(50.0, 40.0, 61.0)
    # The 95th percentile of 100 values may lie above all of them, so it has no interval.
    assert high == Figure(95.0)


def test_an_interval_of_a_quantile_may_end_at_the_least_or_the_greatest_value() -> None:
    values = ClusterValues()
    for value in range(1, 61):
        values.add([float(value)])
    low, high = values.estimate_quantiles([0.1, 0.9])
    assert low is not None
    assert high is not None
    assert (low.value, low.low, high.value, high.high) == (6.0, 1.0, 54.0, 60.0)


def test_values_equal_to_a_quantile_count_as_up_to_it() -> None:
    """Clusters lie wholly up to the third quartile, or wholly above it: 40 tell as much as 80."""
    values = ClusterValues()
    for index in range(30):
        values.add([index / 100, 2.0])
    for index in range(10):
        values.add([3.0 + index / 50, 3.01 + index / 50])
    assert values.estimate_quantiles([0.75]) == [Figure(2.0, 2.0, 3.12)]


def test_a_quantile_by_nearest_rank_allows_for_clusters() -> None:
    rng = Random(3)
    centers = [rng.random() for _ in range(60)]
    alike, single = ClusterValues(), ClusterValues()
    for center in centers:
        alike.add([center] * 20)
        for _ in range(20):
            single.add([rng.random()])
    (of_alike,), (of_single,) = (sample.estimate_quantiles([0.5]) for sample in (alike, single))
    assert sum(widths(of_alike)) > 3 * sum(widths(of_single))
    assert of_alike is not None
    assert of_alike.value == sorted(centers)[29]


def test_a_median_of_equal_values_is_that_value() -> None:
    values = ClusterValues()
    for _ in range(30):
        values.add([2.0, 2.0])
    assert values.estimate_quantiles([0.5]) == [Figure(2.0, 2.0, 2.0)]
