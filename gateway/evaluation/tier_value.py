"""Whether tiers are worth their price: what each costs, where that turns about, what labels say."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from random import Random

import msgspec

from gateway.core.price import cost
from gateway.core.target import TIERS, Lab, Target, Tier
from gateway.core.usage import Usage
from gateway.evaluation.labels import Label
from gateway.evaluation.metrics.bootstrap import REPEATS, Interval, interval, mean

USUAL = 1_000
"""Tokens of a usual prompt."""
HARDLY = Decimal("1.5")
"""A tier that costs less than this many times the one below saves little by being left out."""


class TierPrice(msgspec.Struct, frozen=True, kw_only=True):
    """A tier of a lab, and its first target that is on."""

    tier: Tier
    target: Target

    def usd(self, prompt: int, output: Mapping[Tier, int], at: float) -> Decimal | None:
        """USD of a call at a moment; None where its price is unknown."""
        price = self.target.price.on(at) if self.target.price is not None else None
        return cost(Usage(input=prompt, output=output[self.tier]), price)


class TierStep(msgspec.Struct, frozen=True, kw_only=True):
    """Two tiers of a lab, one above the other, at a length of prompts."""

    lower: TierPrice
    upper: TierPrice
    prompt: int
    """Tokens; prompts of at least so many, where it is not the usual."""
    times: Decimal | None
    """What the upper costs, in costs of the lower; None where the lower costs nothing."""


def rungs(lab: Lab) -> list[TierPrice]:
    """The tiers that are there, cheapest first."""
    found = []
    for tier in TIERS:
        row = lab.tiers.get(tier, ())
        target = next((one for one in row if one.provider.on), None)
        if target is not None:
            found.append(TierPrice(tier=tier, target=target))
    return found


def unpriced(lab: Lab, output: Mapping[Tier, int], at: float) -> list[TierPrice]:
    """The tiers whose price is unknown."""
    return [rung for rung in rungs(lab) if rung.usd(USUAL, output, at) is None]


def stairs(lab: Lab, output: Mapping[Tier, int], at: float) -> list[TierStep]:
    """Each tier beside the next one, for a usual prompt; without those whose price is unknown."""
    return [*_stairs(_priced(lab, output, at), USUAL, output, at)]


def turns(lab: Lab, output: Mapping[Tier, int], at: float) -> list[TierStep]:
    """Where a long-context step of a price makes the lower tier as dear as the upper, or dearer.

    Only of tiers that are in order for a usual prompt: the first length of each pair.
    """
    priced = _priced(lab, output, at)
    usual = {(one.lower.tier, one.upper.tier): one for one in _stairs(priced, USUAL, output, at)}
    found: dict[tuple[Tier, Tier], TierStep] = {}
    for above in _steps(priced, at):
        for one in _stairs(priced, above + 1, output, at):
            pair = one.lower.tier, one.upper.tier
            before = usual[pair].times
            if before is not None and before > 1 and one.times is not None and one.times <= 1:
                found.setdefault(pair, one)
    return list(found.values())


def _priced(lab: Lab, output: Mapping[Tier, int], at: float) -> list[TierPrice]:
    return [rung for rung in rungs(lab) if rung.usd(USUAL, output, at) is not None]


def _steps(priced: Sequence[TierPrice], at: float) -> list[int]:
    prices = [rung.target.price.on(at) for rung in priced if rung.target.price is not None]
    return sorted({step.above for price in prices for step in price.steps})


def _stairs(
    priced: Sequence[TierPrice], prompt: int, output: Mapping[Tier, int], at: float
) -> Iterator[TierStep]:
    for lower, upper in pairwise(priced):
        low, high = lower.usd(prompt, output, at), upper.usd(prompt, output, at)
        if low is not None and high is not None:
            times = (high / low).quantize(Decimal("0.01")) if low else None
            yield TierStep(lower=lower, upper=upper, prompt=prompt, times=times)


class TierGain(msgspec.Struct, frozen=True, kw_only=True):
    """What labels say of two tiers, one above the other."""

    lower: Tier
    upper: Tier
    prompts: int
    """That have a score of both."""
    more: Interval | None
    """What the upper scores more; None where they are too few to say."""

    @property
    def beats(self) -> bool:
        """Whether the upper tier is better, and not by chance."""
        return self.more is not None and self.more.above(0)


def better(labels: Sequence[Label], chance: Random, repeats: int = REPEATS) -> list[TierGain]:
    """Whether each tier beats the one below, on the prompts that have a score of both."""
    known = [tier for tier in TIERS if any(tier in label.scores for label in labels)]
    found = []
    for lower, upper in pairwise(known):
        gaps = [
            label.scores[upper] - label.scores[lower]
            for label in labels
            if lower in label.scores and upper in label.scores
        ]
        more = interval(lambda w, gaps=gaps: mean(gaps, w), len(gaps), chance, repeats)  # type: ignore[misc]
        found.append(TierGain(lower=lower, upper=upper, prompts=len(gaps), more=more))
    return found
