"""The quality dial: the tier that is worth its price, where a classifier decides.

The worth of a tier is the expected quality of its answer. Each call takes the tier with the
greatest worth minus the price of quality times the logarithm of its cost. That price is chosen by
lab: the highest at which the tiers chosen on a reference set keep a share of what reasoning would
give. So two labs at one position of the dial keep the same quality.
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
"""Tokens of an answer by tier, with its reasoning, where nothing better is known."""
MIN_OWN_CALLS = 50
"""Own calls from which on they count in place of what ships."""
_REFERENCE_FILE = Path(__file__).parent / "quality_reference.json"
_LEAST_COST = 1e-6
"""USD of an answer below which none is told cheaper: a free tier costs no less than others."""
_LEFT_BY_REASONING = 0.25
"""The share of the turns that smart fails which reasoning fails too."""
_SAME_PRICE = 1 - 1e-9
"""Prices of quality nearer to one another than this are the same but for rounding."""
_LOW, _HIGH = 0.5, 0.8

type TierTokens = tuple[int, ...]
"""The expected tokens of an answer by tier, with its reasoning."""
type TierCosts = tuple[float | None, ...]
"""The expected cost of an answer by tier, USD; None for a tier that the lab does not have."""
type TierWeights = tuple[float | None, ...]
"""How much costs weigh by tier; None for a tier that the lab does not have."""
USUAL_TOKENS: TierTokens = tuple(EXPECTED_OUTPUT_TOKENS[tier] for tier in TIERS)


class Worth(NamedTuple):
    """The expected quality of an answer of each tier, 0 to 1."""

    fast: float
    smart: float
    reasoning: float


class ReferenceSet:
    """Prompts on which the price of quality is found."""

    def __init__(self, worths: Sequence[Worth]) -> None:
        self.worths = tuple(worths)


_READ_WORTHS = jsonio.make_reader(list[Worth])


class CallQuality(NamedTuple):
    """What holds for a call."""

    share: float
    """Of the reasoning tier's expected quality that is kept."""
    source: str
    """Who says so, for the trace."""
    costs: TierCosts | None
    """None if the costs of the lab's tiers are not known, or all the same."""
    terms: DialTerms
    """What else it goes by; the row keeps it."""


class OwnTokens(NamedTuple):
    """How long the answers of a lab are."""

    tokens: TierTokens
    own_tiers: tuple[Tier, ...]
    """The tiers with enough own answers. The others are as much longer as they usually are."""


def expect_tokens(means: Mapping[Tier, float]) -> OwnTokens:
    """Return the tokens of answers by the mean of each tier that has enough of them.

    To two digits: costs that hardly change keep their price of quality. A tier without a mean is
    not taken for its usual length, beside which own short answers of reasoning would look cheap.
    """
    factors = [mean / EXPECTED_OUTPUT_TOKENS[tier] for tier, mean in means.items()]
    factor = geometric_mean(factors)
    tokens = (means.get(tier, usual * factor) for tier, usual in EXPECTED_OUTPUT_TOKENS.items())
    return OwnTokens(tuple(_round_tokens(count) for count in tokens), tuple(means))


def _round_tokens(tokens: float) -> int:
    return max(1, int(round(tokens, 1 - math.floor(math.log10(tokens)))))


class OwnTraffic(msgspec.Struct):
    """What recent own calls tell the dial. A running gateway renews it in place."""

    tokens: Mapping[str, OwnTokens] = {}
    """How long answers are, by lab."""
    reference: ReferenceSet | None = None
    """Own calls as the reference set; None is the shipped one."""

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
    """Return what holds for a call at a lab; `recorded` are the terms of one that is replayed."""
    if recorded is not None and recorded.lab != lab.name:
        recorded = None
    tokens = own_traffic.find_tokens(lab.name) if recorded is None else recorded.tokens
    costs = find_costs(lab, timestamp, tokens)
    if recorded is not None and recorded.price is not None:
        return CallQuality(share, source, costs, recorded)
    reference = own_traffic.reference
    price = None if costs is None else find_quality_price(costs, share, reference)
    terms = DialTerms(lab.name, tokens, price, reference is not None)
    return CallQuality(share, source, costs, terms)


def find_costs(
    lab: Lab, timestamp: float, tokens_by_tier: TierTokens = USUAL_TOKENS
) -> TierCosts | None:
    """Return what an answer of each tier of a lab costs, by its first target at a time.

    None if a price is not known, or if no tier is cheaper than another.
    """
    costs: list[float | None] = []
    for tier, tokens in zip(TIERS, tokens_by_tier, strict=True):
        targets = lab.tiers.get(tier, ())
        if not targets:
            costs.append(None)
            continue
        price = targets[0].price
        rate = None if price is None else price.find_in_force(timestamp).find_rates(0).output
        if rate is None:
            return None
        costs.append(float(rate) * tokens / 1e6)
    known_costs = {cost for cost in costs if cost is not None}
    return tuple(costs) if len(known_costs) > 1 else None


def estimate_worth(score: Score) -> Worth:
    """Return the worth of each tier for a turn with this score.

    An answer is of worth where its tier suffices. Fast counts as far as smart suffices too: both
    heads must trust it, and half as many hard prompts get fast (docs/classifier.md). Reasoning
    saves three of four turns that smart fails: so it did on prompts whose answers were scored.
    """
    fast, smart = score.fast * score.smart, score.smart
    return Worth(fast, smart, 1 - (1 - smart) * _LEFT_BY_REASONING)


def explain(worth: Worth, quality: CallQuality) -> str:
    """Say what each tier is worth and costs: `quality 5 (lab x): fast is worth medium for ...`."""
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
    reference = "; the reference set is own calls" if terms.has_own_reference else ""
    return (
        f"quality {position} ({quality.source}): {', '.join(parts)}"
        f" a thousand answers of {tokens} tokens{reference}"
    )


def describe_probability(probability: float) -> str:
    """Return a word: without labels of one's own the probabilities are no percentages."""
    if probability < _LOW:
        return "low"
    return "medium" if probability < _HIGH else "high"


def choose_tier(
    worth: Worth, costs: TierCosts, share: float, quality_price: float | None = None
) -> Tier:
    """Return the tier with the greatest worth minus its cost; of equal ones the cheapest.

    Without a `quality_price` it is that of the shipped reference set.
    """
    tiers = [tier for tier, cost in zip(TIERS, costs, strict=True) if cost is not None]
    if share <= ALWAYS_FAST:
        return tiers[0]
    if share >= ALWAYS_REASONING:
        return tiers[-1]
    if quality_price is None:
        quality_price = find_quality_price(costs, share)
    return TIERS[_choose(worth, weigh_costs(costs), quality_price)]


@lru_cache(maxsize=256)
def weigh_costs(costs: TierCosts) -> TierWeights:
    """Return what is taken from the worth of each tier, times the price of quality.

    The logarithm of the cost: each doubling of what an answer costs must be worth as much. With the
    cost itself no price that lets anything reason leaves anything on fast. With its root fewer of
    the written prompts get their tier, most of all at labs whose smart tier costs little.
    """
    return tuple(None if cost is None else math.log1p(cost / _LEAST_COST) for cost in costs)


@lru_cache(maxsize=256)
def find_quality_price(
    costs: TierCosts, share: float, reference: ReferenceSet | None = None
) -> float:
    """Return a price of quality at which a reference set keeps a share, and hardly more.

    The shipped set is taken if there is no other. At the ends of the dial the price is no matter.
    """
    if not ALWAYS_FAST < share < ALWAYS_REASONING:
        return 0.0
    prices, shares = _rank_steps(weigh_costs(costs), reference or load_shipped_reference())
    index = min(bisect_left(shares, share), len(prices) - 2)
    while prices[index + 1] > prices[index] * _SAME_PRICE:
        index += 1
    return (prices[index] + prices[index + 1]) / 2  # between two steps: rounding moves nobody


@lru_cache(maxsize=256)
def _rank_steps(
    weights: TierWeights, reference: ReferenceSet
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the prices below which some prompt gets a dearer tier, and the share kept below each.

    The highest price comes first.
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
    """Return the dearer tier that a falling price of quality leads to first, and at what price."""
    tier_weight = weights[tier] or 0.0
    steps = [
        ((quality - worth[tier]) / (weight - tier_weight), next_tier)
        for next_tier, (quality, weight) in enumerate(zip(worth, weights, strict=True))
        if weight is not None and weight > tier_weight and quality > worth[tier]
    ]
    return max(steps, default=None)


@lru_cache(maxsize=1)
def load_shipped_reference() -> ReferenceSet:
    """Return the shipped reference set: 300 of the written prompts, a third of each tier.

    Their scores are of classifiers that had not seen them (`bench/quality_reference.py`).
    """
    return ReferenceSet(_READ_WORTHS(_REFERENCE_FILE.read_bytes()))


def _choose(worth: Worth, weights: TierWeights, price: float) -> int:
    """Return the tier that is worth most at a price of quality; of equal ones the cheapest."""
    known = [(weight, tier) for tier, weight in enumerate(weights) if weight is not None]
    if price == math.inf:
        return min(known, key=lambda it: (it[0], -worth[it[1]]))[1]
    return max(known, key=lambda it: (worth[it[1]] - price * it[0], -it[0]))[1]
