"""Simulated traffic whose saving and whose loss of quality are known, with labels of a sample."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import NamedTuple

from gateway.core.ledger_rows import SavingRow
from gateway.core.target import Tier
from gateway.evaluation.labelling.sampled_label import SampledLabel, SampleDraw
from gateway.evaluation.labelling.strata import LabelCandidate, draw, name_stratum
from gateway.evaluation.labels import Label
from gateway.evaluation.savings_report import RoutedSample, SavingSample

PRICES: Mapping[Tier, float] = {"fast": 0.001, "smart": 0.004, "reasoning": 0.02}
"""USD of a usual answer."""


class SimulatedCall(NamedTuple):
    """A call with the tier that routing picks, and how likely each tier suffices."""

    conversation: int
    prompt: int
    score: float
    pick: Tier
    worth: Mapping[Tier, float]
    size: float
    """Its tokens, as a multiple of a usual call's."""


class Scenario(NamedTuple):
    """A kind of traffic: the tiers that are compared, and how their worth depends on a prompt."""

    tiers: tuple[Tier, ...]
    find_worth: Callable[[float, Tier], float]
    """The chance that a tier suffices for a prompt, by its hardness."""

    def pick(self, score: float) -> Tier:
        """Pick a tier by the classifier's score: the probability that fast suffices."""
        if len(self.tiers) > 2 and score < 0.25:
            return "reasoning"
        return "fast" if score >= 0.5 else "smart"

    def call(self, rng: Random) -> list[SimulatedCall]:
        """Return the calls of a conversation, which are alike."""
        conversation, topic = rng.getrandbits(60), rng.random()
        calls = []
        for _ in range(rng.choice((1, 1, 2, 3, 5))):
            hardness = min(1.0, max(0.0, topic + rng.gauss(0, 0.15)))
            score = min(1.0, max(0.0, 1 - hardness + rng.gauss(0, 0.2)))
            worth = {tier: self.find_worth(hardness, tier) for tier in self.tiers}
            size = math.exp(rng.gauss(0, 0.7)) * (1 + topic)
            # Some prompts come again and again.
            prompt = rng.getrandbits(60)
            repeats = 3 if rng.random() < 0.1 else 1
            call = SimulatedCall(conversation, prompt, score, self.pick(score), worth, size)
            calls += [call] * repeats
        return calls


class Truth(NamedTuple):
    """What holds for all traffic of a scenario."""

    saved: float
    lost: float


def find_truth(scenario: Scenario, conversations: int = 40_000) -> Truth:
    """Return the truth, from so many conversations that chance does not count."""
    rng, upper = Random(7), scenario.tiers[-1]
    calls = [call for _ in range(conversations) for call in scenario.call(rng)]
    cost = sum(PRICES[call.pick] * call.size for call in calls)
    baseline = sum(PRICES[upper] * call.size for call in calls)
    lost = sum(call.worth[upper] - call.worth[call.pick] for call in calls)
    return Truth(1 - cost / baseline, lost / len(calls))


def observe(
    scenario: Scenario, seed: int, *, conversations: int, labels: int
) -> tuple[SavingSample, list[RoutedSample]]:
    """Return what a ledger of some conversations and a sample of its prompts show."""
    rng, upper = Random(seed), scenario.tiers[-1]
    calls = [call for _ in range(conversations) for call in scenario.call(rng)]
    sample = SavingSample()
    for call in calls:
        sample.add(
            SavingRow(
                conversation=f"{call.conversation}",
                tenant="default",
                key="app",
                tags=(),
                source="classifier",
                state="settled",
                cost=Decimal(f"{PRICES[call.pick] * call.size:.9f}"),
                baseline=Decimal(f"{PRICES[upper] * call.size:.9f}"),
                has_unknown_cost=False,
            )
        )
    return sample, label_calls(scenario, calls, rng, seed, labels)


def label_calls(
    scenario: Scenario, calls: Sequence[SimulatedCall], rng: Random, seed: int, labels: int
) -> list[RoutedSample]:
    """Return labels of a stratified sample of the prompts of calls, as a judge gives them."""
    by_prompt = {call.prompt: call for call in calls}
    counts = Counter(call.prompt for call in calls)
    candidates = [
        LabelCandidate(
            digest=f"{prompt}",
            call=f"{prompt}",
            stratum=name_stratum(call.score),
            calls=counts[prompt],
        )
        for prompt, call in by_prompt.items()
    ]
    samples = []
    for drawn in draw(candidates, labels, seed):
        call = by_prompt[int(drawn.candidate.digest)]
        scores = {tier: judge(call.worth[tier], rng) for tier in scenario.tiers[:-1]}
        scores[scenario.tiers[-1]] = 1.0
        sampled = SampledLabel(
            label=Label(prompt="p", scores=scores, source="own:default"),
            digest=drawn.candidate.digest,
            conversation=f"{call.conversation}",
            draw=SampleDraw(
                stratum=drawn.candidate.stratum,
                stratum_prompts=drawn.stratum_prompts,
                calls=drawn.candidate.calls,
                probability=drawn.probability,
                seed=seed,
            ),
        )
        samples.append(RoutedSample(sampled, call.pick))
    return samples


def judge(worth: float, rng: Random) -> float:
    """Return the score of a tier that suffices with this chance: 0, 1 or a split of both orders."""
    if rng.random() < 0.2:  # a split is worth a half, so it comes as often on either side
        return 0.5 if rng.random() < 2 * min(worth, 1 - worth) else float(worth > 0.5)
    return float(rng.random() < worth)


def suffice(hardness: float, tier: Tier) -> float:
    """Return how likely a tier suffices, if the higher one is better on hard prompts."""
    return {"fast": 1 - hardness**2, "smart": 1 - hardness**4 / 2, "reasoning": 1.0}[tier]


PAIR = Scenario(("fast", "smart"), lambda hardness, tier: 1.0 if tier == "smart" else suffice(hardness, tier))  # fmt: skip
TRIPLE = Scenario(("fast", "smart", "reasoning"), suffice)
BLIND = Scenario(("fast", "smart"), lambda _hardness, tier: 1.0 if tier == "smart" else 0.6)
"""Prompts of which nothing tells whether fast suffices."""
EQUAL = Scenario(("fast", "smart"), lambda _hardness, _tier: 1.0)
"""Tiers that are as good as each other."""
