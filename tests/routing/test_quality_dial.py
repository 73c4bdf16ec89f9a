"""The quality dial: its choice, whose setting wins, and that more never gives less quality."""

from decimal import Decimal
from itertools import pairwise
from statistics import fmean

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import OPEN_KEY, RequestOptions
from gateway.core.decision import Decision
from gateway.core.decision_context import DecisionContext, DialTerms, Score
from gateway.core.price import LaterPrice, Price, PriceStep
from gateway.core.quality import DIAL_SHARES, find_share
from gateway.core.rates import Rates
from gateway.core.target import TIERS, Lab, Target
from gateway.dialects import OPENAI_CHAT
from gateway.routing import quality_dial
from gateway.routing.quality_dial import (
    OwnTokens,
    OwnTraffic,
    ReferenceSet,
    TierCosts,
    TierWeights,
    Worth,
)
from gateway.routing.router import Router, decide
from tests.routing import world

COSTS: TierCosts = (0.0002, 0.006, 0.08)
_COSTS = st.tuples(*[st.floats(1e-5, 1.0) | st.none()] * 3).filter(
    lambda costs: len({cost for cost in costs if cost is not None}) > 1
)
_SCORES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(
    lambda pair: Score(fast=min(pair), smart=max(pair))
)


def price(usd: str) -> Price:
    """Return a price of so many USD for a million tokens of output."""
    return Price(rates=Rates(input=Decimal(1), output=Decimal(usd)), version="v")


def priced(target: Target, usd: str) -> Target:
    return msgspec.structs.replace(target, price=price(usd))


PRICED_LAB = world.lab(
    "openai",
    [priced(world.LUNA, "0.5")],
    [priced(world.SOL, "10")],
    [priced(world.ASTRA, "40")],
)


def make_router(
    lab: Lab = PRICED_LAB,
    *,
    score: tuple[float, float] = (0.5, 0.9),
    guards: tuple[world.Json, ...] = (),
) -> Router:
    return world.router(
        guards, classifier=world.FixedScoreClassifier(*score), known=world.catalogue([lab])
    )


def choose(
    router: Router,
    *,
    options: float | None = None,
    key: float | None = None,
    maximum: float | None = None,
) -> tuple[str | None, str]:
    """Return the tier of a call, and who set the quality that it keeps."""
    call = world.call(
        "a",
        key=msgspec.structs.replace(OPEN_KEY, quality=key, max_quality=maximum),
        steer=RequestOptions(quality=options),
    )
    decision, _ = world.decided(router, call)
    reasons = [step.reason for step in decision.trace if step.step == "dial"]
    return decision.tier, reasons[0].partition("(")[2].partition(")")[0] if reasons else ""


# the choice


@pytest.mark.parametrize("score", [(0.0, 0.0), (0.5, 0.9), (1.0, 1.0)])
def test_the_ends_of_the_dial_ignore_the_score(score: tuple[float, float]) -> None:
    worth = quality_dial.estimate_worth(Score(fast=score[0], smart=score[1]))
    assert quality_dial.choose_tier(worth, COSTS, find_share(0)) == "fast"
    assert quality_dial.choose_tier(worth, COSTS, find_share(10)) == "reasoning"


def test_the_ends_of_the_dial_are_the_lowest_and_highest_tier_of_the_lab() -> None:
    worth = Worth(0.2, 0.4, 0.6)
    assert quality_dial.choose_tier(worth, (None, 0.1, 0.2), find_share(0)) == "smart"
    assert quality_dial.choose_tier(worth, (0.1, 0.2, None), find_share(10)) == "smart"


def test_of_tiers_of_equal_worth_the_cheapest_is_chosen() -> None:
    assert quality_dial.choose_tier(Worth(0.9, 0.9, 0.9), COSTS, 0.99) == "fast"


@given(_SCORES, _COSTS)
def test_a_higher_dial_never_gives_a_cheaper_or_a_worse_tier(
    score: Score, costs: TierCosts
) -> None:
    worth = quality_dial.estimate_worth(score)
    chosen = [
        TIERS.index(quality_dial.choose_tier(worth, costs, share)) for share in DIAL_SHARES[1:-1]
    ]
    assert all((costs[low] or 0) <= (costs[high] or 0) for low, high in pairwise(chosen))
    assert all(worth[low] <= worth[high] for low, high in pairwise(chosen))


@given(_COSTS, st.floats(0.01, 0.999))
def test_the_price_of_quality_keeps_the_share_on_the_reference_set(
    costs: TierCosts, share: float
) -> None:
    available = [tier for tier, cost in enumerate(costs) if cost is not None]
    worths = quality_dial.load_shipped_reference().worths
    highest = fmean(max(worth[tier] for tier in available) for worth in worths)
    quality = fmean(
        worth[TIERS.index(quality_dial.choose_tier(worth, costs, share))] for worth in worths
    )
    assert quality >= share * highest - 1e-9


@given(_SCORES)
def test_worth_rises_with_the_tier(score: Score) -> None:
    worth = quality_dial.estimate_worth(score)
    assert 0 <= worth.fast <= worth.smart <= worth.reasoning <= 1


# costs


def test_an_answer_costs_its_expected_tokens_at_the_price_of_the_first_target() -> None:
    assert quality_dial.find_costs(PRICED_LAB, 0.0) == pytest.approx((0.0002, 0.006, 0.08))


def test_a_tier_that_the_lab_lacks_has_no_cost() -> None:
    lab = world.lab("a", [priced(world.LUNA, "1")], [], [priced(world.ASTRA, "2")])
    assert quality_dial.find_costs(lab, 0.0) == (0.0004, None, 0.004)


@pytest.mark.parametrize(
    "lab",
    [
        world.lab("a", [world.LUNA], [priced(world.SOL, "1")]),
        world.lab("a", [priced(world.LUNA, "0")], [priced(world.SOL, "0")]),
        world.lab("a", [priced(world.LUNA, "1")]),
        world.lab(
            "a", [msgspec.structs.replace(world.LUNA, price=Price(rates=Rates(), version="v"))]
        ),
    ],
    ids=["no price", "all free", "one tier", "no rate"],
)
def test_without_prices_that_differ_there_are_no_costs(lab: Lab) -> None:
    assert quality_dial.find_costs(lab, 0.0) is None


def test_the_output_of_a_short_prompt_at_the_time_of_the_call_has_the_cost() -> None:
    """A step for longer prompts does not count."""
    stepped = msgspec.structs.replace(
        price("1"), steps=(PriceStep(0, Rates(input=Decimal(9), output=Decimal(9))),)
    )
    later = msgspec.structs.replace(stepped, later=(LaterPrice(100.0, price("3")),))
    lab = world.lab(
        "a", [msgspec.structs.replace(world.LUNA, price=later)], [priced(world.SOL, "2")]
    )
    traffic = OwnTraffic()
    for timestamp, costs in ((99.0, (0.0004, 0.0012, None)), (100.0, (0.0012, 0.0012, None))):
        expected = costs if costs[0] != costs[1] else None
        assert quality_dial.find_costs(lab, timestamp) == expected
        quality = quality_dial.find_quality(0.9, "x", lab, timestamp, traffic, None)
        assert quality.costs == expected


def test_a_replayed_quality_has_the_recorded_terms_and_its_own_source() -> None:
    recorded = DialTerms("openai", (40, 60, 200), 0.5, has_own_reference=True)
    quality = quality_dial.find_quality(0.9, "key k", PRICED_LAB, 0.0, OwnTraffic(), recorded)
    assert (quality.share, quality.source, quality.terms) == (0.9, "key k", recorded)
    assert quality.costs == pytest.approx((0.00002, 0.0006, 0.008))


@pytest.mark.parametrize(
    ("probability", "word"),
    [
        (0.0, "low"),
        (0.499, "low"),
        (0.5, "medium"),
        (0.799, "medium"),
        (0.8, "high"),
        (1.0, "high"),
    ],
)
def test_a_probability_is_told_as_a_word(probability: float, word: str) -> None:
    assert quality_dial.describe_probability(probability) == word


def test_the_trace_ends_with_the_reference_set() -> None:
    terms = DialTerms("x", (1, 2, 3), 1.0, has_own_reference=True)
    text = quality_dial.explain(
        Worth(0.3, 0.6, 0.9), quality_dial.CallQuality(0.9, "x", (0.1, 0.2, 0.3), terms)
    )
    assert text.endswith("of 1, 2, 3 tokens; the reference set is your own calls")
    without = quality_dial.CallQuality(0.9, "x", None, terms)
    assert "worth" not in quality_dial.explain(Worth(0.3, 0.6, 0.9), without)


RISING = Worth(0.2, 0.6, 0.7)


@pytest.mark.parametrize(
    ("worth", "weights", "tier", "step"),
    [
        (RISING, ((1.0, 0), (3.0, 1), (8.0, 2)), 0, (0.2, 1)),  # 0.4 for 2, not 0.5 for 7
        (RISING, ((1.0, 0), (3.0, 1), (8.0, 2)), 1, (0.02, 2)),
        (RISING, ((1.0, 0), (3.0, 1), (8.0, 2)), 2, None),
        (RISING, ((1.0, 0), (3.0, 1), (2.0, 2)), 0, (0.5, 2)),
        (RISING, ((0.0, 0), (2.0, 1)), 0, (0.2, 1)),
        (RISING, ((1.0, 0), (6.0, 2)), 0, (0.1, 2)),
        (RISING, ((1.0, 0), (1.0, 1), (6.0, 2)), 0, (0.1, 2)),  # as cheap, so no step
        (RISING, ((5.0, 0), (1.0, 1)), 0, None),  # better and cheaper, so no step
        (Worth(0.5, 0.5, 0.5), ((1.0, 0), (2.0, 1), (3.0, 2)), 0, None),
    ],
)
def test_the_next_step_is_the_tier_that_gains_most_for_its_cost(
    worth: Worth, weights: TierWeights, tier: int, step: tuple[float, int] | None
) -> None:
    found = quality_dial._find_next_step(worth, weights, tier)
    assert (found is None) == (step is None)
    if found is not None and step is not None:
        assert found[0] == pytest.approx(step[0])
        assert found[1] == step[1]


@pytest.mark.parametrize(
    ("weights", "tier"),
    [(((1.0, 0), (2.0, 1), (3.0, 2)), 0), (((3.0, 0), (1.0, 1)), 1), (((2.0, 1), (1.0, 2)), 2)],
)
def test_of_equal_tiers_the_one_with_the_least_weight_is_chosen(
    weights: TierWeights, tier: int
) -> None:
    for quality_price in (0.0, 0.5):
        assert quality_dial._choose(Worth(0.9, 0.9, 0.9), weights, quality_price) == tier


# in a decision


def test_without_a_dial_the_thresholds_decide() -> None:
    assert choose(make_router(score=(0.6, 0.9))) == ("fast", "")


def test_the_most_specific_quality_setting_applies() -> None:
    router = msgspec.structs.replace(make_router(), quality=find_share(0))
    assert choose(router) == ("fast", "routing.quality")
    lab = msgspec.structs.replace(PRICED_LAB, quality=find_share(10))
    router = msgspec.structs.replace(make_router(lab), quality=find_share(0))
    assert choose(router) == ("reasoning", "lab openai")
    assert choose(router, key=find_share(0)) == ("fast", "key open")
    assert choose(router, key=find_share(0), options=find_share(10)) == (
        "reasoning",
        "x-tiergate-quality",
    )
    guarded = make_router(lab, guards=({"quality": 0},))
    assert choose(guarded, options=find_share(10)) == ("fast", "guard 0")


def test_a_client_gets_no_more_quality_than_its_key_allows() -> None:
    router = make_router()
    assert choose(router, options=find_share(10), maximum=find_share(0)) == (
        "fast",
        "max_quality of key open",
    )
    assert choose(router, options=find_share(0), maximum=find_share(5)) == (
        "fast",
        "x-tiergate-quality",
    )


def test_without_prices_the_default_tier_decides_and_the_trace_says_so() -> None:
    router = make_router(world.lab("openai", [world.LUNA], [world.SOL], [world.ASTRA]))
    decision, _ = world.decided(
        router, world.call("a", steer=RequestOptions(quality=find_share(2)))
    )
    assert (decision.tier, decision.source) == ("smart", "default")
    reason = "x-tiergate-quality: the lab's tiers cost the same, or a price is unknown"
    assert f"-dial:  ({reason})" in world.lines(decision)


def test_the_trace_says_what_each_tier_is_worth_and_costs() -> None:
    router = msgspec.structs.replace(make_router(score=(0.1, 0.9)), quality=find_share(5))
    decision, _ = world.decided(router, world.call("a"))
    (line,) = [step for step in decision.trace if step.step == "dial"]
    assert line.effect == decision.tier
    assert line.reason == (
        "quality 5 (routing.quality): fast is worth low for 0.20 USD, smart is worth high for"
        " 6.00 USD, reasoning is worth high for 80.00 USD a thousand answers"
        " of 400, 600, 2000 tokens"
    )


def test_the_trace_omits_a_tier_that_the_lab_lacks() -> None:
    quality = quality_dial.CallQuality(0.9, "x", (0.1, None, 0.2), DialTerms("x", (1, 2, 3), 1.0))
    assert "smart" not in quality_dial.explain(Worth(0.3, 0.6, 0.9), quality)


@pytest.mark.parametrize("position", [1, 5, 9])
def test_the_dial_does_not_apply_to_a_named_tier(position: int) -> None:
    router = msgspec.structs.replace(make_router(), quality=find_share(position))
    decision, _ = world.decided(router, world.call("a", "reasoning"))
    assert decision.tier == "reasoning"
    assert all(step.step != "dial" for step in decision.trace)


# What the dial learns from own calls.


def own_traffic(**tokens: float) -> OwnTraffic:
    means = {tier: float(tokens[tier]) for tier in TIERS if tier in tokens}
    return OwnTraffic({"openai": quality_dial.expect_tokens(means)})


def test_own_answer_lengths_are_rounded_to_two_digits() -> None:
    traffic = own_traffic(fast=151, smart=604, reasoning=2_960)
    assert traffic.find_tokens("openai") == (150, 600, 3_000)
    assert traffic.find_tokens("google") == quality_dial.USUAL_TOKENS
    costs = quality_dial.find_costs(PRICED_LAB, 0.0, traffic.find_tokens("openai"))
    assert costs == pytest.approx((0.000075, 0.006, 0.12))


def test_a_tier_with_few_own_answers_has_the_usual_ratio_of_lengths() -> None:
    """Own reasoning with short answers does not look cheaper than fast."""
    tokens = own_traffic(reasoning=100).tokens["openai"]
    assert (tokens.tokens, tokens.own_tiers) == ((20, 30, 100), ("reasoning",))
    assert own_traffic(fast=400, reasoning=8_000).find_tokens("openai") == (400, 1_200, 8_000)
    assert own_traffic(fast=0.001).find_tokens("openai") == (1, 1, 1)


def test_one_model_at_three_efforts_costs_by_its_answer_lengths() -> None:
    targets = [
        msgspec.structs.replace(priced(world.SOL, "10"), effort=effort)
        for effort in ("low", "medium", "high")
    ]
    lab = world.lab("openai", *[[target] for target in targets])
    tokens = own_traffic(fast=90, smart=700, reasoning=5_200).find_tokens("openai")
    assert quality_dial.find_costs(lab, 0.0, tokens) == pytest.approx((0.0009, 0.007, 0.052))


def decide_with(router: Router, dial: DialTerms | None = None) -> Decision:
    router = msgspec.structs.replace(router, quality=find_share(6))
    decision, _ = decide(router, world.call("a"), OPENAI_CHAT, DecisionContext(dial=dial))
    return decision


def test_a_decision_records_the_terms_of_the_dial_and_a_replay_uses_them() -> None:
    """Reasoning costs little if its answers are short; a replay uses the lengths in the row."""
    router = make_router(score=(0.4, 0.8))
    before = decide_with(router)
    router.own_traffic.tokens = {"openai": OwnTokens((400, 600, 1), ())}
    after = decide_with(router)
    assert (before.tier, after.tier) == ("smart", "reasoning")
    assert after.dial_terms is not None
    assert after.dial_terms.tokens == (400, 600, 1)
    replayed = decide_with(router, before.dial_terms)
    assert (replayed.tier, replayed.dial_terms) == (before.tier, before.dial_terms)
    assert "answers of 400, 600, 1 tokens" in str([*after.trace])


def test_the_dial_ignores_recorded_terms_of_another_lab_or_without_a_price() -> None:
    router = make_router()
    price = quality_dial.find_quality_price(COSTS, find_share(6))
    own = DialTerms("openai", quality_dial.USUAL_TOKENS, price)
    assert decide_with(router, DialTerms("google", (1, 1, 1), 5.0)).dial_terms == own
    unpriced = DialTerms("openai", (40, 60, 200), None)
    terms = decide_with(router, unpriced).dial_terms
    assert terms is not None
    assert terms.tokens == (40, 60, 200)
    assert terms.price is not None


def test_own_calls_as_the_reference_set_move_the_price_of_quality() -> None:
    """If all own prompts are easy, almost none need leave fast."""
    router = make_router(score=(0.4, 0.8))
    easy = [Worth(0.95 + step / 1_000, 0.96, 0.99) for step in range(20)]
    router.own_traffic.reference = ReferenceSet(easy)
    assert decide_with(make_router(score=(0.4, 0.8))).tier == "smart"
    decision = decide_with(router)
    assert decision.tier == "fast"
    assert decision.dial_terms is not None
    assert decision.dial_terms.has_own_reference
    assert "the reference set is your own calls" in str([*decision.trace])


def test_without_a_dial_a_decision_records_no_terms() -> None:
    assert world.decided(make_router(), world.call("a"))[0].dial_terms is None
