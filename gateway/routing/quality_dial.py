"""The quality dial: the tier that is worth its price, if a classifier decides.

The worth of a tier is the expected quality of its answer. Each call takes the tier with the
greatest worth minus the price of quality times the logarithm of its cost. The gateway chooses that
price for each lab. It is the highest price at which the tiers chosen on a reference set keep a
share of the quality of reasoning. So two labs at one position of the dial keep the same quality.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from statistics import geometric_mean
from typing import NamedTuple

import msgspec

from gateway.core import jsonio
from gateway.core.decision_context import DialTerms, Score
from gateway.core.quality import ALWAYS_FAST, ALWAYS_REASONING, find_position
from gateway.core.target import TIERS, Lab, Tier

EXPECTED_OUTPUT_TOKENS: Mapping[Tier, int] = {"fast": 400, "smart": 600, "reasoning": 2_000}
"""The default number of tokens of an answer by tier, reasoning tokens included."""
MIN_OWN_CALLS = 50
"""The number of own calls from which on they replace the shipped reference set."""
_REFERENCE_FILE = Path(__file__).parent / "quality_reference.json"
_LEAST_COST = 1e-6
"""The cost of an answer, in USD, below which differences hardly count. A free tier weighs no less
than other tiers that cheap."""
_LEFT_BY_REASONING = 0.25
"""The probability that reasoning fails a turn, too, if smart fails it."""
_SAME_PRICE = 1 - 1e-9
"""The ratio of two prices of quality above which only rounding makes them differ."""
_LOW, _HIGH = 0.5, 0.8

type TierTokens = tuple[int, ...]
"""The expected tokens of an answer by tier, reasoning tokens included."""
type TierRates = tuple[float | None, ...]
"""The rate of output by tier, in USD per million; None for a tier that the lab does not have."""
type TierCosts = tuple[float | None, ...]
"""The expected cost of an answer by tier, in USD; None for a tier that the lab does not have."""
type TierWeights = tuple[tuple[float, int], ...]
"""The weight of costs, and the index of the tier, for each tier that the lab has."""
USUAL_TOKENS: TierTokens = tuple(EXPECTED_OUTPUT_TOKENS[tier] for tier in TIERS)


class Worth(NamedTuple):
    """The expected quality of an answer of each tier, 0 to 1."""

    fast: float
    smart: float
    reasoning: float


class ReferenceSet:
    """The prompts on which the gateway finds the price of quality."""

    def __init__(self, worths: Sequence[Worth]) -> None:
        self.worths = tuple(worths)


_READ_WORTHS = jsonio.make_reader(list[Worth])


class CallQuality(msgspec.Struct, frozen=True):
    """The quality that a call must keep, with the costs and terms to choose a tier by."""

    share: float
    """The share of the reasoning tier's expected quality to keep."""
    source: str
    """The source of the share, for the trace."""
    costs: TierCosts | None
    """The expected costs; None if the lab's costs are unknown or all the same."""
    terms: DialTerms
    """The other terms of the choice, which the row keeps."""


class OwnTokens(NamedTuple):
    """The expected length of a lab's answers."""

    tokens: TierTokens
    own_tiers: tuple[Tier, ...]
    """The tiers with enough own answers. The usual lengths of the other tiers are scaled like
    theirs."""


def expect_tokens(means: Mapping[Tier, float]) -> OwnTokens:
    """Return the expected tokens from the mean of each tier that has enough own answers.

    Tokens have two digits, so that costs which hardly change keep their price of quality. A tier
    without a mean does not keep its usual length. Otherwise short own answers of reasoning would
    look cheap beside it.
    """
    factors = [mean / EXPECTED_OUTPUT_TOKENS[tier] for tier, mean in means.items()]
    factor = geometric_mean(factors)
    tokens = (means.get(tier, usual * factor) for tier, usual in EXPECTED_OUTPUT_TOKENS.items())
    return OwnTokens(tuple(_round_tokens(count) for count in tokens), tuple(means))


def _round_tokens(tokens: float) -> int:
    return max(1, int(round(tokens, 1 - math.floor(math.log10(tokens)))))


class OwnTraffic(msgspec.Struct):
    """The facts about recent own calls for the dial. A running gateway renews them in place."""

    tokens: Mapping[str, OwnTokens] = {}
    """The expected length of answers, by lab."""
    reference: ReferenceSet | None = None
    """The reference set from own calls; None for the shipped set."""

    def find_tokens(self, lab: str) -> TierTokens:
        """Return the expected tokens of an answer of a lab, by tier."""
        own_tokens = self.tokens.get(lab)
        return USUAL_TOKENS if own_tokens is None else own_tokens.tokens


def find_quality(
    share: float,
    source: str,
    lab: Lab,
    timestamp: float,
    own_traffic: OwnTraffic,
    recorded: DialTerms | None,
) -> CallQuality:
    """Return the quality of a call at a lab; `recorded` are the terms of a replayed decision."""
    if recorded is not None and recorded.lab != lab.name:
        recorded = None
    tokens = own_traffic.find_tokens(lab.name) if recorded is None else recorded.tokens
    rates = _find_rates(lab, timestamp)
    if recorded is not None and recorded.price is not None:
        return CallQuality(share, source, _compute_costs(rates, tokens), recorded)
    return _make_quality(share, source, lab.name, rates, tokens, own_traffic.reference)


@lru_cache(maxsize=256)
def _make_quality(
    share: float,
    source: str,
    lab: str,
    rates: TierRates | None,
    tokens: TierTokens,
    reference: ReferenceSet | None,
) -> CallQuality:
    """Return the quality of calls at a lab with these rates, which rarely change."""
    costs = _compute_costs(rates, tokens)
    price = None if costs is None else find_quality_price(costs, share, reference)
    terms = DialTerms(lab, tokens, price, reference is not None)
    return CallQuality(share, source, costs, terms)


def find_costs(
    lab: Lab, timestamp: float, tokens_by_tier: TierTokens = USUAL_TOKENS
) -> TierCosts | None:
    """Return the output cost of an answer by tier, in USD, from each tier's first target at a time.

    None if a price is not known, or if no tier is cheaper than another.
    """
    return _compute_costs(_find_rates(lab, timestamp), tokens_by_tier)


def _find_rates(lab: Lab, timestamp: float) -> TierRates | None:
    """Return the rate of output of each tier's first target at a time; None if one is unknown."""
    rates: list[float | None] = []
    for tier in TIERS:
        targets = lab.tiers.get(tier)
        if not targets:
            rates.append(None)
            continue
        price = targets[0].price
        if price is not None and (price.later or price.hours):
            price = price.find_standard(timestamp)
        rate = None if price is None else price.rates.output_float
        if rate is None:
            return None
        rates.append(rate)
    return tuple(rates)


def _compute_costs(rates: TierRates | None, tokens_by_tier: TierTokens) -> TierCosts | None:
    """Return the output cost of an answer by tier; None if no tier is cheaper than another."""
    if rates is None:
        return None
    costs = tuple(
        None if rate is None else rate * tokens / 1e6
        for rate, tokens in zip(rates, tokens_by_tier, strict=True)
    )
    return costs if len({cost for cost in costs if cost is not None}) > 1 else None


def estimate_worth(score: Score) -> Worth:
    """Return the worth of each tier for a turn with this score.

    An answer has worth if its tier suffices. Fast counts only as far as smart suffices too: both
    heads must trust it, and half as many hard prompts get fast (docs/classifier.md). Reasoning
    saves three of four turns that smart fails, as it did on prompts with scored answers.
    """
    fast, smart = score.fast * score.smart, score.smart
    return Worth(fast, smart, 1 - (1 - smart) * _LEFT_BY_REASONING)


def explain(worth: Worth, quality: CallQuality) -> str:
    """Describe what each tier is worth and costs.

    For example: `quality 5 (lab x): fast is worth medium for ...`.
    """
    costs = quality.costs or ()
    parts = [
        f"{tier} is worth {describe_probability(value)} for {cost * 1_000:.2f} USD"
        for tier, value, cost in zip(TIERS, worth, costs, strict=False)
        if cost is not None
    ]
    position = f"{find_position(quality.share):.1f}".removesuffix(".0")
    terms = quality.terms
    tokens = ", ".join(
        str(tokens) for tokens, cost in zip(terms.tokens, costs, strict=False) if cost is not None
    )
    reference = "; the reference set is your own calls" if terms.has_own_reference else ""
    return (
        f"quality {position} ({quality.source}): {', '.join(parts)}"
        f" a thousand answers of {tokens} tokens{reference}"
    )


def describe_probability(probability: float) -> str:
    """Return a word: without the owner's labels, the probabilities are no exact percentages."""
    if probability < _LOW:
        return "low"
    return "medium" if probability < _HIGH else "high"


def choose_tier(
    worth: Worth, costs: TierCosts, share: float, quality_price: float | None = None
) -> Tier:
    """Return the tier with the greatest worth minus its cost; the cheapest if several tie.

    Without a `quality_price`, the shipped reference set gives it.
    """
    if not ALWAYS_FAST < share < ALWAYS_REASONING:
        tiers = [tier for tier, cost in zip(TIERS, costs, strict=True) if cost is not None]
        return tiers[0] if share <= ALWAYS_FAST else tiers[-1]
    if quality_price is None:
        quality_price = find_quality_price(costs, share)
    return TIERS[_choose(worth, weigh_costs(costs), quality_price)]


@lru_cache(maxsize=256)
def weigh_costs(costs: TierCosts) -> TierWeights:
    """Return the weight of each tier's cost, which the price of quality multiplies.

    The weight is the logarithm of the cost: each doubling of an answer's cost must be worth as
    much. With the cost itself, no price that lets any call reason leaves any call on fast. With its
    root, fewer of the written prompts get their tier, most of all at labs whose smart tier costs
    little.
    """
    return tuple(
        (math.log1p(cost / _LEAST_COST), tier)
        for tier, cost in enumerate(costs)
        if cost is not None
    )


@lru_cache(maxsize=256)
def find_quality_price(
    costs: TierCosts, share: float, reference: ReferenceSet | None = None
) -> float:
    """Return a price of quality at which a reference set keeps a share, and hardly more.

    Without a set, the shipped one counts. At the ends of the dial the price does not matter.
    """
    if not ALWAYS_FAST < share < ALWAYS_REASONING:
        return 0.0
    prices, shares = _rank_steps(weigh_costs(costs), reference or load_shipped_reference())
    index = min(bisect_left(shares, share), len(prices) - 2)
    while prices[index + 1] > prices[index] * _SAME_PRICE:
        index += 1
    return (prices[index] + prices[index + 1]) / 2  # between two steps, so rounding changes no tier


@lru_cache(maxsize=256)
def _rank_steps(
    weights: TierWeights, reference: ReferenceSet
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the prices below which some prompt gets a dearer tier, and the shares of quality.

    The share at an index is what the set keeps just below the price at that index. The highest
    price comes first.
    """
    quality = best_quality = 0.0
    steps: list[tuple[float, float]] = []
    for worth in reference.worths:
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
    """Return the first step up as the price of quality falls: the price and the dearer tier."""
    tier_weight = next(weight for weight, index in weights if index == tier)
    steps = [
        ((worth[index] - worth[tier]) / (weight - tier_weight), index)
        for weight, index in weights
        if weight > tier_weight and worth[index] > worth[tier]
    ]
    return max(steps, default=None)


@lru_cache(maxsize=1)
def load_shipped_reference() -> ReferenceSet:
    """Return the shipped reference set: 300 of the written prompts, a third of each tier.

    Their scores come from classifiers that had not seen them (`bench/quality_reference.py`).
    """
    return ReferenceSet(_READ_WORTHS(_REFERENCE_FILE.read_bytes()))


def _choose(worth: Worth, weights: TierWeights, price: float) -> int:
    """Return the tier that is worth most at a price of quality; the cheapest if several tie."""
    if price == math.inf:
        return min([(weight, -worth[tier], tier) for weight, tier in weights])[-1]
    return min([(price * weight - worth[tier], weight, tier) for weight, tier in weights])[-1]
