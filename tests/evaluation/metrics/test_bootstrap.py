"""Intervals and shuffles: the same for a seed, right where the answer is known."""

import math
from random import Random

import pytest

from gateway.evaluation.metrics import bootstrap
from gateway.evaluation.metrics.bootstrap import Interval, Weights


def test_a_resample_draws_each_row_once_on_average_with_variance_one() -> None:
    """The table shows it exactly, so no random draw decides the test."""
    table = bytes(range(256)).translate(bootstrap._POISSON_TABLE)
    average = sum(table) / 256
    assert average == 1
    assert sum(value * value for value in table) / 256 - average**2 == pytest.approx(1.0078125)


def test_a_seed_gives_the_same_resamples() -> None:
    first, repeated = (list(bootstrap.draw_resamples(50, Random(7), 3)) for _ in range(2))
    different = list(bootstrap.draw_resamples(50, Random(8), 3))
    assert first == repeated != different
    assert [len(item) for item in first] == [50, 50, 50]


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    """The width of a 95% interval is 2 x 1.96 s / sqrt(n); 1,000 resamples know it to a tenth."""
    draw = Random(1)
    values = [draw.gauss(10, 2) for _ in range(400)]
    middle = sum(values) / 400
    spread = math.sqrt(sum((item - middle) ** 2 for item in values) / 400)
    interval = bootstrap.compute_interval(
        lambda w: bootstrap.compute_mean(values, w), 400, Random(2)
    )
    assert interval is not None
    assert interval.value == pytest.approx(middle)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * spread / 20, rel=0.1)
    assert interval.low < middle < interval.high


def test_intervals_of_several_figures_use_the_same_resamples() -> None:
    values = [1.0, 2.0, 3.0, 4.0] * 10

    def figures(weights: Weights) -> dict[str, float | None]:
        mean = bootstrap.compute_mean(values, weights)
        return {"one": mean, "two": None if mean is None else 2 * mean, "none": None}

    intervals = bootstrap.compute_intervals(figures, 40, Random(3), 200)
    single, double = intervals["one"], intervals["two"]
    assert single is not None
    assert double == Interval(single.value * 2, single.low * 2, single.high * 2)
    assert intervals["none"] is None


def test_a_figure_that_most_resamples_lack_has_no_interval() -> None:
    """With one row, a third of all resamples are empty."""
    assert (
        bootstrap.compute_interval(lambda w: bootstrap.compute_mean([5.0], w), 1, Random(4), 100)
        is None
    )


@pytest.mark.parametrize(("missing", "has_interval"), [(1, True), (2, False)])
def test_a_tenth_of_the_resamples_may_lack_a_figure(missing: int, has_interval: bool) -> None:
    figures = iter([5.0, *[None] * missing, *[5.0] * (10 - missing)])
    interval = bootstrap.compute_interval(lambda _: next(figures), 1, Random(4), 10)
    assert interval == (Interval(5.0, 5.0, 5.0) if has_interval else None)


def test_an_interval_holds_the_share_of_resamples_that_its_level_says() -> None:
    """Resamples whose figures are 0 to 100: half of them lie from 25 to 75."""
    figures = iter([50.0, *map(float, range(101))])
    interval = bootstrap.compute_interval(lambda _: next(figures), 1, Random(4), 101, 0.5)
    assert interval == Interval(50.0, 25.0, 75.0)


@pytest.mark.parametrize(
    ("control", "above"), [(0.9, True), (1.0, False), (1.5, False), (3.0, False)]
)
def test_a_value_within_an_interval_may_be_chance(control: float, above: bool) -> None:
    assert Interval(1.5, 1.0, 2.0).is_above(control) is above
    assert str(Interval(1.5, 1.0, 2.0)) == "1.500 (1.000 to 2.000)"


def test_quantiles_lie_between_neighbours() -> None:
    assert [bootstrap.compute_quantile([1, 2, 4], share) for share in (0, 0.25, 0.5, 0.75, 1)] == [
        1, 1.5, 2, 3, 4,
    ]  # fmt: skip
    assert bootstrap.make_interval(5, [1, 2, 3], 0.5) == Interval(5, 1.5, 2.5)


def test_shuffles_keep_their_items() -> None:
    shuffles = [tuple(item) for item in bootstrap.draw_shuffles("aabbbc", Random(5), 20)]
    assert {tuple(sorted(item)) for item in shuffles} == {tuple("aabbbc")}
    assert len(set(shuffles)) > 5
    assert shuffles == [tuple(item) for item in bootstrap.draw_shuffles("aabbbc", Random(5), 20)]
