"""The quality and cost of routers, checked against all mixes, orders and thresholds."""

from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.decision_context import Score, Thresholds
from gateway.core.target import TIERS, Tier
from gateway.evaluation.metrics import cost_quality
from gateway.evaluation.metrics.cost_quality import CostQualityPoint, TierScores
from gateway.routing.classifier import heuristic

TABLE = TierScores(
    {"fast": [1, 0, 0, 1], "smart": [1, 1, 0, 0], "reasoning": [1, 1, 1, 0]},
    {"fast": [1, 1, 1, 1], "smart": [2, 2, 2, 2], "reasoning": [10, 10, 10, 20]},
)
PICKS: list[Tier] = ["fast", "smart", "reasoning", "fast"]


def make_table(
    count: int, seed: int, tiers: tuple[Tier, ...] = ("fast", "smart", "reasoning")
) -> TierScores:
    draw = Random(seed)
    scores = {tier: [draw.randrange(3) / 2 for _ in range(count)] for tier in tiers}
    costs = {
        tier: [draw.uniform(1, 2) * 5**at for _ in range(count)] for at, tier in enumerate(tiers)
    }
    return TierScores(scores, costs)


def test_a_router_has_the_mean_cost_and_quality_of_its_picks() -> None:
    assert cost_quality.score_constant_routers(TABLE) == {
        "fast": CostQualityPoint(1, 0.5), "smart": CostQualityPoint(2, 0.5), "reasoning": CostQualityPoint(12.5, 0.75),
    }  # fmt: skip
    assert cost_quality.score_constant_routers(TABLE, [2, 0, 0, 0])["fast"] == CostQualityPoint(
        1, 1
    )
    assert cost_quality.score_constant_routers(TABLE, [0, 0, 0, 0]) == {}
    assert cost_quality.score_router(TABLE, PICKS) == CostQualityPoint(3.5, 1)
    assert cost_quality.score_router(TABLE, PICKS, [0, 0, 0, 0]) is None
    assert (TABLE.tiers, TABLE.row_count) == (("fast", "smart", "reasoning"), 4)


def test_a_random_mix_is_the_mean_of_all_orders() -> None:
    all_points = [cost_quality.score_router(TABLE, order) for order in permutations(PICKS)]
    points = [point for point in all_points if point is not None]
    mean = cost_quality.score_random_mix(TABLE, PICKS)
    assert mean is not None
    assert mean.quality == pytest.approx(sum(point.quality for point in points) / 24)
    assert mean.cost == pytest.approx(sum(point.cost for point in points) / 24)
    assert cost_quality.score_random_mix(TABLE, PICKS, [0, 0, 0, 0]) is None


def test_shuffled_routers_scatter_around_their_exact_mean() -> None:
    table = make_table(200, 1)
    picks: list[Tier] = ["fast", "smart", "reasoning", "fast"] * 50
    shuffled = cost_quality.score_shuffled(table, picks, Random(2), 200)
    exact = cost_quality.score_random_mix(table, picks)
    assert shuffled is not None
    assert exact is not None
    assert shuffled.value == exact.quality
    assert shuffled.low < shuffled.value < shuffled.high < shuffled.low + 0.2
    empty = TierScores({"fast": [], "smart": []}, {"fast": [], "smart": []})
    assert cost_quality.score_shuffled(empty, [], Random(2)) is None


def test_the_oracle_picks_the_cheapest_of_the_best_tiers() -> None:
    assert cost_quality.pick_oracle_tiers(TABLE) == ["fast", "smart", "reasoning", "fast"]
    assert cost_quality.pick_oracle_tiers(TABLE, 0.5) == ["fast", "smart", "fast", "fast"]
    assert cost_quality.pick_oracle_tiers(TABLE, 0) == ["fast", "smart", "reasoning", "fast"]


def test_the_upper_hull_rises_and_is_concave() -> None:
    points = [CostQualityPoint(1, 0.2), CostQualityPoint(2, 0.3), CostQualityPoint(3, 0.8), CostQualityPoint(2.5, 0.1), CostQualityPoint(5, 0.8), CostQualityPoint(6, 0.9)]  # fmt: skip
    assert cost_quality.find_upper_hull(points) == [
        CostQualityPoint(1, 0.2),
        CostQualityPoint(3, 0.8),
        CostQualityPoint(6, 0.9),
    ]
    assert cost_quality.find_upper_hull([CostQualityPoint(1, 0.2), CostQualityPoint(1, 0.4)]) == [
        CostQualityPoint(1, 0.4)
    ]
    assert cost_quality.find_upper_hull([]) == []


@pytest.mark.parametrize(
    ("quality", "cost"), [(0.1, 1), (0.2, 1), (0.5, 2), (0.8, 3), (0.85, 4.5), (0.9, 6), (0.95, None)]
)  # fmt: skip
def test_the_cost_of_a_mix_is_interpolated_between_two_points(
    quality: float, cost: float | None
) -> None:
    hull = [CostQualityPoint(1, 0.2), CostQualityPoint(3, 0.8), CostQualityPoint(6, 0.9)]
    assert cost_quality.interpolate_cost(hull, quality) == (
        None if cost is None else pytest.approx(cost)
    )


@given(st.integers(0, 1000), st.integers(2, 3), st.booleans())
def test_the_threshold_sweep_gives_the_tiers_of_decisions(
    seed: int, tiers: int, weighted: bool
) -> None:
    """Every point is the choice of the heuristic's tiers at one pair of thresholds."""
    names: tuple[Tier, ...] = TIERS[:tiers]
    table, draw = make_table(12, seed, names), Random(seed)
    scored = [
        Score(fast=low, smart=high)
        for low, high in (sorted(draw.choices((0.1, 0.3, 0.5, 0.7, 0.9), k=2)) for _ in range(12))
    ]
    weights = [draw.randrange(3) for _ in range(12)] if weighted else [1] * 12
    cuts = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    expected = set()
    for fast in cuts:
        for smart in cuts:
            thresholds = Thresholds(fast=fast, smart=smart, id="t")
            picks = [heuristic.choose_tier(point, thresholds) for point in scored]
            folded = [pick if pick in names else "smart" for pick in picks]
            point = cost_quality.score_router(table, folded, weights)
            if point is not None:
                expected.add((round(point.cost, 6), round(point.quality, 6)))
    swept = {
        (round(point.cost, 6), round(point.quality, 6))
        for point in cost_quality.sweep_thresholds(table, scored, weights, 12)
    }
    assert swept == expected


def test_a_sweep_of_few_steps_uses_quantiles() -> None:
    table = make_table(100, 5)
    scored = [Score(fast=at / 200, smart=at / 100) for at in range(100)]
    assert len(cost_quality.sweep_thresholds(table, scored, steps=4)) == 5 * 5
    assert cost_quality.sweep_thresholds(table, scored, [0] * 100) == []


def test_the_frugal_share_is_the_cost_at_a_share_of_the_best_quality() -> None:
    dear = CostQualityPoint(10, 1.0)
    assert cost_quality.find_frugal_share([CostQualityPoint(1, 0.5)], dear) == pytest.approx(
        (1 + 0.9 * 9) / 10
    )
    assert cost_quality.find_frugal_share(
        [CostQualityPoint(1, 0.5), CostQualityPoint(2, 0.96)], dear, 0.95
    ) == pytest.approx(0.198, abs=0.001)
    assert cost_quality.find_frugal_share([CostQualityPoint(1, 0.97)], dear) == pytest.approx(0.1)
    assert (
        cost_quality.find_frugal_share([CostQualityPoint(0, 0.5)], CostQualityPoint(0, 1)) is None
    )
    assert cost_quality.find_frugal_share([], CostQualityPoint(1, 0.0), 2) == 1.0
