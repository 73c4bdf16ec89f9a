"""Checks if tiers are worth their price: their costs, reversals of these, and labels."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from itertools import pairwise
from random import Random

import msgspec

from gateway.core.price import compute_cost
from gateway.core.target import TIERS, Lab, Target, Tier
from gateway.core.usage import Usage
from gateway.evaluation.labels import Label
from gateway.evaluation.metrics.bootstrap import REPEATS, Interval, compute_interval, compute_mean

USUAL_PROMPT_TOKENS = 1_000
"""Tokens of a usual prompt."""
MIN_PRICE_RATIO = Decimal("1.5")
"""The ratio of two tiers' costs up to which routing to the lower tier saves little."""


class TierPrice(msgspec.Struct, frozen=True, kw_only=True):
    """A tier of a lab, and its first target that is enabled."""

    tier: Tier
    target: Target

    def compute_usd(
        self, prompt_tokens: int, output_tokens: Mapping[Tier, int], timestamp: float
    ) -> Decimal | None:
        """Return the USD of a call at a moment; None if the price is unknown."""
        price = (
            self.target.price.find_in_force(timestamp) if self.target.price is not None else None
        )
        return compute_cost(Usage(input=prompt_tokens, output=output_tokens[self.tier]), price)


class TierStep(msgspec.Struct, frozen=True, kw_only=True):
    """The costs of two tiers of a lab, one above the other, compared at one prompt length."""

    lower: TierPrice
    upper: TierPrice
    prompt_tokens: int
    """The tokens of the prompt: a usual prompt, or the first length after a price step."""
    price_ratio: Decimal | None
    """The cost of the upper tier divided by that of the lower; None if the lower costs nothing."""


def list_tier_prices(lab: Lab) -> list[TierPrice]:
    """Return the tiers of a lab that have an enabled target, in the order of `TIERS`."""
    tier_prices = []
    for tier in TIERS:
        tier_targets = lab.tiers.get(tier, ())
        target = next((candidate for candidate in tier_targets if candidate.provider.enabled), None)
        if target is not None:
            tier_prices.append(TierPrice(tier=tier, target=target))
    return tier_prices


def list_unpriced(lab: Lab, output_tokens: Mapping[Tier, int], timestamp: float) -> list[TierPrice]:
    """Return the tiers of a lab whose price is unknown."""
    return [
        tier_price
        for tier_price in list_tier_prices(lab)
        if tier_price.compute_usd(USUAL_PROMPT_TOKENS, output_tokens, timestamp) is None
    ]


def list_steps(lab: Lab, output_tokens: Mapping[Tier, int], timestamp: float) -> list[TierStep]:
    """Compare each tier of a lab with the next, for a usual prompt; skip tiers without a price."""
    return [
        *_iterate_steps(
            _list_priced(lab, output_tokens, timestamp),
            USUAL_PROMPT_TOKENS,
            output_tokens,
            timestamp,
        )
    ]


def find_reversals(lab: Lab, output_tokens: Mapping[Tier, int], timestamp: float) -> list[TierStep]:
    """Return the pairs of tiers of which the lower costs no less than the upper for long prompts.

    A long-context step of a price causes that. The function reports only pairs that are in order
    for a usual prompt, each at the first length that reverses it.
    """
    tier_prices = _list_priced(lab, output_tokens, timestamp)
    usual_steps = {
        (step.lower.tier, step.upper.tier): step
        for step in _iterate_steps(tier_prices, USUAL_PROMPT_TOKENS, output_tokens, timestamp)
    }
    reversals: dict[tuple[Tier, Tier], TierStep] = {}
    for threshold in _list_price_thresholds(tier_prices, timestamp):
        for step in _iterate_steps(tier_prices, threshold + 1, output_tokens, timestamp):
            pair = step.lower.tier, step.upper.tier
            usual_ratio = usual_steps[pair].price_ratio
            if (
                usual_ratio is not None
                and usual_ratio > 1
                and step.price_ratio is not None
                and step.price_ratio <= 1
            ):
                reversals.setdefault(pair, step)
    return list(reversals.values())


def _list_priced(lab: Lab, output_tokens: Mapping[Tier, int], timestamp: float) -> list[TierPrice]:
    return [
        tier_price
        for tier_price in list_tier_prices(lab)
        if tier_price.compute_usd(USUAL_PROMPT_TOKENS, output_tokens, timestamp) is not None
    ]


def _list_price_thresholds(tier_prices: Sequence[TierPrice], timestamp: float) -> list[int]:
    prices = [
        tier_price.target.price.find_in_force(timestamp)
        for tier_price in tier_prices
        if tier_price.target.price is not None
    ]
    return sorted({step.above for price in prices for step in price.steps})


def _iterate_steps(
    tier_prices: Sequence[TierPrice],
    prompt_tokens: int,
    output_tokens: Mapping[Tier, int],
    timestamp: float,
) -> Iterator[TierStep]:
    for lower, upper in pairwise(tier_prices):
        lower_usd = lower.compute_usd(prompt_tokens, output_tokens, timestamp)
        upper_usd = upper.compute_usd(prompt_tokens, output_tokens, timestamp)
        if lower_usd is not None and upper_usd is not None:
            price_ratio = (upper_usd / lower_usd).quantize(Decimal("0.01")) if lower_usd else None
            yield TierStep(
                lower=lower, upper=upper, prompt_tokens=prompt_tokens, price_ratio=price_ratio
            )


class TierGain(msgspec.Struct, frozen=True, kw_only=True):
    """The scores of two tiers, one above the other, compared on labels."""

    lower: Tier
    upper: Tier
    prompt_count: int
    """The number of prompts that have scores for both tiers."""
    gain: Interval | None
    """The mean score of the upper tier minus that of the lower; None if prompts are too few."""

    @property
    def is_better(self) -> bool:
        """True if the upper tier is better, and chance does not explain it."""
        return self.gain is not None and self.gain.is_above(0)


def compare_tiers(labels: Sequence[Label], rng: Random, repeats: int = REPEATS) -> list[TierGain]:
    """Compare each tier with the one below it, on the prompts that have scores for both."""
    scored_tiers = [tier for tier in TIERS if any(tier in label.scores for label in labels)]
    gains = []
    for lower, upper in pairwise(scored_tiers):
        gaps = [
            label.scores[upper] - label.scores[lower]
            for label in labels
            if lower in label.scores and upper in label.scores
        ]
        gain = compute_interval(partial(compute_mean, gaps), len(gaps), rng, repeats)
        gains.append(TierGain(lower=lower, upper=upper, prompt_count=len(gaps), gain=gain))
    return gains
