"""The value of tiers for their price: by the catalogue, at every length, and by labels."""

from collections.abc import Mapping
from decimal import Decimal
from random import Random

import msgspec
import pytest

from gateway.core.price import Price, PriceStep
from gateway.core.rates import Rates
from gateway.core.target import Lab, Target, Tier
from gateway.evaluation import tier_value
from gateway.evaluation.labels import Label
from tests.evaluation import samples
from tests.routing import world

OUTPUT: Mapping[Tier, int] = {"fast": 1000, "smart": 1000, "reasoning": 3000}


def target(into: int | None, out: int, *steps: tuple[int, int]) -> Target:
    """Return a target with prices in USD a million tokens.

    Each step has the number of tokens above which `into` changes.
    """
    rates = Rates(input=None if into is None else Decimal(into), output=Decimal(out))
    price_steps = tuple(
        PriceStep(above, Rates(input=Decimal(price), output=Decimal(out))) for above, price in steps
    )
    price = Price(rates=rates, steps=price_steps, version="v")
    return Target(provider=world.OPENAI, model=f"m{into}", price=price)


def make_lab(*targets: Target) -> Lab:
    return world.lab("l", *([item] for item in targets))


def describe_steps(steps: list[tier_value.TierStep]) -> list[tuple[str, str, int, Decimal | None]]:
    return [
        (item.lower.tier, item.upper.tier, item.prompt_tokens, item.price_ratio) for item in steps
    ]


def test_each_tier_is_compared_with_the_next() -> None:
    """With 1,000 tokens in and so many out the costs are thousandths of a dollar.

    They are (1 + 1), (2 + 3) and (4 + 3 x 7).
    """
    lab = make_lab(target(1, 1), target(2, 3), target(4, 7))
    assert describe_steps(tier_value.list_steps(lab, OUTPUT, 0)) == [
        ("fast", "smart", 1000, Decimal("2.50")), ("smart", "reasoning", 1000, Decimal("5.00")),
    ]  # fmt: skip
    assert tier_value.find_reversals(lab, OUTPUT, 0) == []
    assert tier_value.list_unpriced(lab, OUTPUT, 0) == []


def test_a_tier_without_a_price_is_listed_and_left_out() -> None:
    bare = Target(provider=world.OPENAI, model="bare")
    lab = make_lab(target(1, 1), target(None, 1), bare)
    assert [item.tier for item in tier_value.list_unpriced(lab, OUTPUT, 0)] == [
        "smart",
        "reasoning",
    ]
    assert tier_value.list_steps(lab, OUTPUT, 0) == []
    lab = make_lab(target(1, 1), bare, target(2, 2))
    assert [pair[:2] for pair in describe_steps(tier_value.list_steps(lab, OUTPUT, 0))] == [
        ("fast", "reasoning")
    ]


def test_a_free_tier_has_no_price_ratio() -> None:
    assert describe_steps(
        tier_value.list_steps(make_lab(target(0, 0), target(1, 1)), OUTPUT, 0)
    ) == [("fast", "smart", 1000, None)]


def test_only_targets_that_are_on_count() -> None:
    lab = world.lab("l", [world.SPARE, target(1, 1)], [world.SPARE], [target(2, 2)])
    assert [(rung.tier, rung.target.model) for rung in tier_value.list_tier_prices(lab)] == [
        ("fast", "m1"), ("reasoning", "m2"),
    ]  # fmt: skip


def test_a_price_step_can_reverse_the_order_of_two_tiers() -> None:
    """Fast costs 1 in, but 4 above 5,000 tokens, where smart costs 3.

    The report names the first such length.
    """
    lab = make_lab(target(1, 1, (5_000, 4), (9_000, 5)), target(3, 3), target(9, 9, (7_000, 10)))
    assert describe_steps(tier_value.find_reversals(lab, OUTPUT, 0)) == [
        ("fast", "smart", 5_001, Decimal("0.86"))
    ]


def test_a_price_step_without_a_price_reverses_nothing() -> None:
    bare = Price(
        rates=Rates(input=Decimal(1), output=Decimal(1)),
        steps=(PriceStep(5_000, Rates()),),
        version="v",
    )
    low = Target(provider=world.OPENAI, model="bare", price=bare)
    assert tier_value.find_reversals(make_lab(low, target(3, 3)), OUTPUT, 0) == []


def test_tiers_that_are_always_reversed_are_not_listed_as_reversals() -> None:
    lab = make_lab(target(3, 3, (5_000, 4)), target(1, 1))
    assert tier_value.find_reversals(lab, OUTPUT, 0) == []
    assert describe_steps(tier_value.list_steps(lab, OUTPUT, 0))[0][3] == Decimal("0.33")


def test_free_tiers_have_no_order_to_reverse() -> None:
    lab = make_lab(target(0, 0, (5_000, 4)), target(1, 1))
    assert tier_value.find_reversals(lab, OUTPUT, 0) == []


def test_the_comparison_says_if_a_tier_beats_the_one_below() -> None:
    labels = samples.outcomes(200, ("fast", "smart"))
    equal = [
        msgspec.structs.replace(item, scores={**item.scores, "reasoning": item.scores["smart"]})
        for item in labels
    ]
    first, second = tier_value.compare_tiers(equal, Random(1), 200)
    assert (first.lower, first.upper, first.prompt_count, first.is_better) == (
        "fast",
        "smart",
        200,
        True,
    )
    assert first.gain is not None
    assert first.gain.value == pytest.approx(
        sum(item.scores["smart"] - item.scores["fast"] for item in labels) / 200
    )
    assert (second.upper, second.is_better) == ("reasoning", False)
    assert second.gain is not None
    assert (second.gain.value, second.gain.low, second.gain.high) == (0, 0, 0)


def test_only_prompts_with_both_scores_count() -> None:
    labels = [
        Label(prompt="a", scores={"fast": 1.0}),
        Label(prompt="b", scores={"smart": 1.0}),
        Label(prompt="c", tier="fast"),
    ]
    (step,) = tier_value.compare_tiers(labels, Random(1), 200)
    assert (step.prompt_count, step.gain, step.is_better) == (0, None, False)
    assert tier_value.compare_tiers(labels[2:], Random(1)) == []
