"""APGR and AUC, checked against their definitions, counted one by one."""

from itertools import pairwise, permutations
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.evaluation.metrics import ranking
from gateway.evaluation.metrics.ranking import Ranking, Sources

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)),
    min_size=1, max_size=6,
)  # fmt: skip


def area(gains: list[float]) -> float | None:
    """Return the area of one order: trapezoids between the shares 0, 1/n, ..., 1."""
    if sum(gains) <= 0:
        return None
    curve = [sum(gains[:at]) / sum(gains) for at in range(len(gains) + 1)]
    return sum((a + b) / 2 for a, b in pairwise(curve)) / len(gains)


@given(ROWS)
def test_apgr_is_the_mean_area_of_all_orders_that_the_score_allows(
    rows: list[tuple[int, int, int, int]],
) -> None:
    """The order of ties is random, so they change nothing; a weight counts as repeated rows."""
    repeated = [(need, strong - weak) for need, weak, strong, w in rows for _ in range(w)][:7]
    need, weak, strong, weights = (list(column) for column in zip(*rows, strict=True))
    assume(sum(weights) <= 7)
    score = Ranking(need, weak, strong).compute_apgr(weights)
    orders = [
        order for order in permutations(repeated) if all(a[0] >= b[0] for a, b in pairwise(order))
    ]
    areas = [area([gain for _, gain in order]) for order in orders]
    defined_areas = [value for value in areas if value is not None]
    if len(defined_areas) == len(areas):
        assert score == pytest.approx(sum(defined_areas) / len(defined_areas))
    else:
        assert score is None


@pytest.mark.parametrize(
    ("need", "apgr"),
    [([3, 2, 1, 0], 0.75), ([0, 1, 2, 3], 0.25), ([1, 1, 1, 1], 0.5), ([1, 1, 0, 0], 0.75), ([1, 0, 1, 0], 0.5)],
)  # fmt: skip
def test_apgr_is_high_for_a_score_that_ranks_well_and_low_for_a_bad_one(
    need: list[float], apgr: float
) -> None:
    """Half of the rows gain: a score that puts them first has 3/4, one that puts them last 1/4."""
    assert Ranking(need, [0, 0, 1, 1], [1, 1, 1, 1]).compute_apgr() == pytest.approx(apgr)


def test_the_curve_has_a_point_after_each_score_value() -> None:
    ranked = Ranking([2, 1, 1, 0], [0, 0, 0, 1], [1, 1, 0, 1])
    assert ranked.compute_curve() == [(0, 0), (0.25, 0.5), (0.75, 1), (1, 1)]
    assert ranked.compute_curve([1, 1, 0, 2]) == [(0, 0), (0.25, 0.5), (0.5, 1), (1, 1)]


@pytest.mark.parametrize("weights", [None, [0, 0]])
def test_without_a_gap_between_tiers_there_is_no_apgr(weights: list[int] | None) -> None:
    ranked = Ranking([1, 0], [1, 1], [1, 1])
    assert ranked.compute_apgr(weights) is None
    assert ranked.compute_curve(weights) is None
    assert Ranking([1, 0], [1, 1], [2, 2]).compute_apgr([0, 0]) is None


def test_no_rows_have_no_apgr() -> None:
    assert Ranking([], [], []).compute_apgr() is None
    assert Ranking([], [], []).compute_curve() is None


def test_each_source_is_ranked_alone_and_has_the_same_weight() -> None:
    """A score that only knows which source is harder knows nothing."""
    sources = ["b"] * 4 + ["a"] * 2
    ranked = Sources([1, 1, 1, 1, 0, 0], [0] * 6, [1] * 4 + [0, 1], sources)
    assert ranked.rows_by_source == {"a": [4, 5], "b": [0, 1, 2, 3]}
    assert ranked.compute_apgr() == {"a": 0.5, "b": 0.5}
    assert ranked.compute_apgr([1, 1, 1, 1, 1, 0]) == {"a": None, "b": 0.5}
    assert ranking.average_sources({"a": 0.4, "b": None, "c": 0.8}) == pytest.approx(0.6)
    assert ranking.average_sources({"a": None}) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 2)), max_size=7))
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool, int]]) -> None:
    repeated = [(score, yes) for score, yes, weight in rows for _ in range(weight)]
    pairs = [(a, b) for a, yes in repeated if yes for b, no in repeated if not no]
    won = sum((a > b) + (a == b) / 2 for a, b in pairs)
    auc = ranking.compute_auc([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])
    assert auc == (pytest.approx(won / len(pairs)) if pairs else None)


def test_a_random_score_has_an_auc_of_one_half() -> None:
    draw = Random(3)
    score = [draw.random() for _ in range(4000)]
    assert ranking.compute_auc(score, [at % 2 == 0 for at in range(4000)]) == pytest.approx(
        0.5, abs=0.03
    )
    assert ranking.compute_auc(score, [value > 0.5 for value in score]) == 1
