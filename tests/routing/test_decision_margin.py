"""How near a score is to another tier: with the dial by worth, without it by the thresholds."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.decision_context import DialTerms, Score
from gateway.core.price import LaterPrice
from gateway.core.quality import find_share
from gateway.core.target import TIERS
from gateway.routing import quality_dial
from gateway.routing.decision_margin import find_margin
from gateway.routing.router import Router
from tests.routing import world
from tests.routing.test_quality_dial import PRICED_LAB, make_router, price

SCORES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(
    lambda pair: Score(fast=min(pair), smart=max(pair))
)


def measure(router: Router) -> float:
    decision, _ = world.decided(router, world.call("a"))
    return find_margin(router, decision, 0.0)


@pytest.mark.parametrize(
    ("score", "margin"),
    [
        ((0.9, 1.0), 0.37),  # fast, above its threshold of .53
        ((0.53, 0.6), 0.0),
        ((0.5, 0.95), 0.03),  # smart, just below fast
        ((0.1, 0.64), 0.01),  # smart, just above reasoning
        ((0.1, 0.2), 0.43),  # reasoning: fast is as near as smart
        ((0.52, 0.55), 0.01),
    ],
)
def test_without_the_dial_the_nearest_threshold_counts(
    score: tuple[float, float], margin: float
) -> None:
    router = world.router(classifier=world.FixedScoreClassifier(*score))
    assert measure(router) == pytest.approx(margin)


@given(SCORES)
def test_with_the_dial_a_score_without_margin_is_between_two_tiers(score: Score) -> None:
    """The margin is the difference of two worths after costs, and the chosen tier has the best."""
    router = make_router(score=(score.fast, score.smart))
    router = msgspec.structs.replace(router, quality=find_share(5))
    decision, _ = world.decided(router, world.call("a"))
    terms = decision.dial_terms
    assert terms is not None
    costs = quality_dial.find_costs(PRICED_LAB, 0.0, terms.tokens)
    assert costs is not None
    worths = {
        TIERS[tier]: quality_dial.estimate_worth(score)[tier] - (terms.price or 0) * weight
        for weight, tier in quality_dial.weigh_costs(costs)
    }
    margin = find_margin(router, decision, 0.0)
    assert decision.tier is not None
    others = [worth for tier, worth in worths.items() if tier != decision.tier]
    assert margin == pytest.approx(worths[decision.tier] - max(others), abs=1e-9)
    assert margin >= 0


def test_the_costs_of_a_margin_are_those_of_its_time_and_of_the_recorded_lengths() -> None:
    """Smart surely suffices here, so smart and reasoning differ by their costs alone."""
    reasoning = PRICED_LAB.tiers["reasoning"][0]
    dearer = msgspec.structs.replace(price("40"), later=(LaterPrice(100.0, price("4000")),))
    lab = msgspec.structs.replace(
        PRICED_LAB,
        tiers={
            **PRICED_LAB.tiers, "reasoning": (msgspec.structs.replace(reasoning, price=dearer),),
        },
    )  # fmt: skip
    router = make_router(lab)
    decision, _ = world.decided(router, world.call("a"))

    def margin(timestamp: float, *tokens: int) -> float:
        terms = DialTerms(lab.name, tokens, 0.02)
        decided = msgspec.structs.replace(decision, score=Score(0.5, 1.0), dial_terms=terms)
        return find_margin(router, decided, timestamp)

    def worth(quality: float, usd: float) -> float:
        return quality - 0.02 * math.log1p(usd / 1e-6)

    smart = worth(1.0, 10 * 600 / 1e6)
    assert margin(0.0, 400, 600, 2_000) == pytest.approx(smart - worth(1.0, 40 * 2_000 / 1e6))
    assert margin(0.0, 400, 600, 700) == pytest.approx(smart - worth(1.0, 40 * 700 / 1e6))
    assert margin(100.0, 400, 600, 700) == pytest.approx(smart - worth(1.0, 4_000 * 700 / 1e6))


@pytest.mark.parametrize("position", [0, 10])
def test_at_the_ends_of_the_dial_no_score_changes_the_tier(position: int) -> None:
    router = msgspec.structs.replace(make_router(), quality=find_share(position))
    assert measure(router) == math.inf


def test_a_lab_with_two_tiers_has_a_margin_between_them() -> None:
    lab = msgspec.structs.replace(
        PRICED_LAB, tiers={tier: PRICED_LAB.tiers[tier] for tier in ("fast", "reasoning")}
    )
    router = msgspec.structs.replace(make_router(lab), quality=find_share(5))
    assert 0 <= measure(router) < 1


def test_what_no_classifier_decides_is_far_from_every_tier() -> None:
    decision, _ = world.decided(make_router(), world.call("a", model="smart"))
    assert find_margin(make_router(), decision, 0.0) == math.inf
    unpriced = msgspec.structs.replace(
        decision, score=Score(0.5, 0.5), dial_terms=DialTerms("openai", (1, 1, 1), 0.5)
    )
    assert find_margin(world.router(), unpriced, 0.0) == math.inf
    assert find_margin(world.router(), msgspec.structs.replace(unpriced, dial_terms=None), 0.0) == (
        math.inf
    )
