"""The quality dial: the tier that is worth its price, where a classifier decides.

The worth of a tier is the expected quality of its answer. Each call takes the tier with the
greatest worth minus the price of quality times the cube root of its cost. That price is chosen by
lab: the highest at which the tiers chosen on a reference set keep a share of what reasoning would
give. So two labs at one position of the dial keep the same quality.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from gateway.core import jsonio
from gateway.core.decision_context import Score
from gateway.core.quality import ALWAYS_FAST, ALWAYS_REASONING, find_position
from gateway.core.target import TIERS, Lab, Tier

EXPECTED_OUTPUT_TOKENS: Mapping[Tier, int] = {"fast": 400, "smart": 600, "reasoning": 2_000}
"""Tokens of an answer by tier, with its reasoning, where nothing better is known."""
_REFERENCE_FILE = Path(__file__).parent / "quality_reference.json"
_LEFT_BY_REASONING = 0.25
"""The share of the turns that smart fails which reasoning fails too."""
_SAME_PRICE = 1 - 1e-9
"""Prices of quality nearer to one another than this are the same but for rounding."""
_LOW, _HIGH = 0.5, 0.8

type TierCosts = tuple[float | None, ...]
"""The expected cost of an answer by tier, USD; None for a tier that the lab does not have."""
type TierWeights = tuple[float | None, ...]
"""How much costs weigh by tier; None for a tier that the lab does not have."""


class Worth(NamedTuple):
    """The expected quality of an answer of each tier, 0 to 1."""

    fast: float
    smart: float
    reasoning: float


_READ_WORTHS = jsonio.make_reader(list[Worth])


class CallQuality(NamedTuple):
    """What holds for a call."""

    share: float
    """Of the reasoning tier's expected quality that is kept."""
    source: str
    """Who says so, for the trace."""
    costs: TierCosts | None
    """None if the costs of the lab's tiers are not known, or all the same."""


def find_costs(lab: Lab, timestamp: float) -> TierCosts | None:
    """Return what an answer of each tier of a lab costs, by its first target at a time.

    None if a price is not known, or if no tier is cheaper than another.
    """
    costs: list[float | None] = []
    for tier in TIERS:
        targets = lab.tiers.get(tier, ())
        if not targets:
            costs.append(None)
            continue
        price = targets[0].price
        rate = None if price is None else price.find_in_force(timestamp).find_rates(0).output
        if rate is None:
            return None
        costs.append(float(rate) * EXPECTED_OUTPUT_TOKENS[tier] / 1e6)
    known_costs = {cost for cost in costs if cost is not None}
    return tuple(costs) if len(known_costs) > 1 else None


def estimate_worth(score: Score) -> Worth:
    """Return the worth of each tier for a turn with this score.

    An answer is of worth where its tier suffices. Reasoning saves three of four turns that smart
    fails: so it did on prompts whose answers were scored (docs/classifier.md).
    """
    return Worth(score.fast, score.smart, 1 - (1 - score.smart) * _LEFT_BY_REASONING)


def explain(worth: Worth, quality: CallQuality) -> str:
    """Say what each tier is worth and costs: `quality 5 (lab x): fast is worth medium for ...`."""
    costs = quality.costs or ()
    parts = [
        f"{tier} is worth {describe_probability(value)} for {cost * 1_000:.2f} USD"
        for tier, value, cost in zip(TIERS, worth, costs, strict=False)
        if cost is not None
    ]
    position = f"{find_position(quality.share):.1f}".removesuffix(".0")
    return f"quality {position} ({quality.source}): {', '.join(parts)} a thousand answers"


def describe_probability(probability: float) -> str:
    """Return a word: without labels of one's own the probabilities are no percentages."""
    if probability < _LOW:
        return "low"
    return "medium" if probability < _HIGH else "high"


def choose_tier(worth: Worth, costs: TierCosts, share: float) -> Tier:
    """Return the tier with the greatest worth minus its cost; of equal ones the cheapest."""
    tiers = [tier for tier, cost in zip(TIERS, costs, strict=True) if cost is not None]
    if share <= ALWAYS_FAST:
        return tiers[0]
    if share >= ALWAYS_REASONING:
        return tiers[-1]
    weights = weigh_costs(costs)
    return TIERS[_choose(worth, weights, find_quality_price(weights, share))]


def weigh_costs(costs: TierCosts) -> TierWeights:
    """Return what is taken from the worth of each tier, times the price of quality.

    The cube root of the cost: reasoning costs 5 to 400 times what fast does, and with the cost
    itself no price that lets anything reason leaves anything on fast. With the square root 2% fewer
    of the written prompts get their tier, and scored ones cost 4% less.
    """
    return tuple(None if cost is None else math.cbrt(cost) for cost in costs)


def find_quality_price(weights: TierWeights, share: float) -> float:
    """Return a price of quality at which the reference set keeps a share, and hardly more."""
    prices, shares = _rank_steps(weights)
    index = min(bisect_left(shares, share), len(prices) - 2)
    while prices[index + 1] > prices[index] * _SAME_PRICE:
        index += 1
    return (prices[index] + prices[index + 1]) / 2  # between two steps: rounding moves nobody


@lru_cache(maxsize=256)
def _rank_steps(weights: TierWeights) -> tuple[Sequence[float], Sequence[float]]:
    """Return the prices below which some prompt gets a dearer tier, and the share kept below each.

    The highest price comes first.
    """
    quality = best_quality = 0.0
    steps: list[tuple[float, float]] = []
    for worth in list_reference_worths():
        tier = _choose(worth, weights, math.inf)
        quality += worth[tier]
        while (step := _find_next_step(worth, weights, tier)) is not None:
            price, next_tier = step
            steps.append((price, worth[next_tier] - worth[tier]))
            tier = next_tier
        best_quality += worth[tier]
    steps.sort(reverse=True)
    qualities = accumulate((gain for _, gain in steps), initial=quality)
    return (
        [math.inf, *(price for price, _ in steps), 0.0],
        [kept_quality / best_quality for kept_quality in qualities],
    )


def _find_next_step(worth: Worth, weights: TierWeights, tier: int) -> tuple[float, int] | None:
    """Return the dearer tier that a falling price of quality leads to first, and at what price."""
    tier_weight = weights[tier] or 0.0
    steps = [
        ((quality - worth[tier]) / (weight - tier_weight), next_tier)
        for next_tier, (quality, weight) in enumerate(zip(worth, weights, strict=True))
        if weight is not None and weight > tier_weight and quality > worth[tier]
    ]
    return max(steps, default=None)


@lru_cache(maxsize=1)
def list_reference_worths() -> Sequence[Worth]:
    """Return the worths of the reference set: 300 of the written prompts, a third of each tier.

    Their scores are of classifiers that had not seen them (`bench/quality_reference.py`).
    """
    return tuple(_READ_WORTHS(_REFERENCE_FILE.read_bytes()))


def _choose(worth: Worth, weights: TierWeights, price: float) -> int:
    """Return the tier that is worth most at a price of quality; of equal ones the cheapest."""
    known = [(weight, tier) for tier, weight in enumerate(weights) if weight is not None]
    if price == math.inf:
        return min(known, key=lambda it: (it[0], -worth[it[1]]))[1]
    return max(known, key=lambda it: (worth[it[1]] - price * it[0], -it[0]))[1]
