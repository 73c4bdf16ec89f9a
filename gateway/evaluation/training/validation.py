"""What training is worth where it has not been: parts, unseen sources, own labels, three tiers."""

from collections.abc import Callable, Mapping, Sequence
from random import Random

import msgspec

from gateway.core.decision_context import Score
from gateway.core.target import TIERS, Tier
from gateway.evaluation.metrics.cost_quality import (
    TierScores,
    find_frugal_share,
    pick_oracle_tiers,
    score_constant_routers,
    score_router,
    sweep_thresholds,
)
from gateway.evaluation.metrics.cross_validation import Fold
from gateway.evaluation.training import refit
from gateway.evaluation.training.dataset import TrainingRow, needs, weighed
from gateway.evaluation.training.fit import TrainingPlan, fit
from gateway.evaluation.training.train import shown
from gateway.routing.classifier.heuristic import Classifier, HeuristicClassifier
from gateway.routing.classifier.learned import logistic

OWN = 500
"""Labels of an unseen source that a base is refitted with."""
_MOST = 0.7
"""Of a source, where it has fewer rows than that leaves to judge."""
COSTS: Mapping[Tier, float] = {"fast": 0.005, "smart": 0.15, "reasoning": 1.0}
"""Of an answer: output prices of one lab times 400, 600 and 2,000 tokens, reasoning being 1."""


_WORTHS = tuple(2.0**at for at in range(-6, 8))
"""What a unit of cost is worth to an oracle: the more, the more frugal."""


class UnseenResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an artefact says of the rows that a fold holds, trained on its others."""

    weighed: list[tuple[float, float]]
    own: int = 0
    """Labels of these rows that it was then refitted with, and what that was worth on the rest."""
    gain: refit.RefitGain | None = None


def part(rows: Sequence[TrainingRow], plan: TrainingPlan, seed: int, fold: Fold) -> UnseenResult:
    """A part of every source, held out."""
    train = [rows[at] for at in fold.train_rows]
    found = fit(train, plan, Random(seed))  # noqa: S311 - seeded
    return UnseenResult(weighed=weighed(found, [rows[at] for at in fold.held_out_rows]))


def source(
    rows: Sequence[TrainingRow],
    plan: TrainingPlan,
    seed: int,
    base: Callable[[Sequence[TrainingRow]], Classifier],
    fold: Fold,
) -> UnseenResult:
    """A whole source, held out: also of the prior, which is fitted again without it."""
    train, held = [rows[at] for at in fold.train_rows], [rows[at] for at in fold.held_out_rows]
    prior = base(train)
    found = fit(train, plan, Random(seed))  # noqa: S311 - seeded
    chance = Random(seed)  # noqa: S311 - seeded
    order = list(range(len(held)))
    chance.shuffle(order)
    count = min(OWN, int(_MOST * len(held)))
    labelled, rest = [held[at] for at in order[:count]], [held[at] for at in order[count:]]
    fitted = refit.refit(found, labelled, seed, prior)
    gain = refit.compare(needs(found, rest, prior), needs(fitted, rest, prior), rest, chance)
    return UnseenResult(weighed=weighed(found, held, prior), own=count, gain=gain)


def score(weighed: tuple[float, float], slope: float, level: float) -> Score:
    """The score of what was weighed."""
    need, fails = weighed
    fast = logistic(level - slope * need)
    return Score(fast=fast, smart=1 - (1 - fast) * fails)


def frugality(rows: Sequence[TrainingRow], scored: Sequence[Score]) -> dict[str, float | None]:
    """What 95% of always reasoning's quality costs, as a part of its cost, of several routers.

    On the rows with scores of a reasoning tier; thresholds are those that serve each router best.
    """
    known = [at for at, row in enumerate(rows) if row.reasoning is not None]
    if not known:
        return {}
    some = [rows[at] for at in known]
    table = TierScores(
        scores={
            "fast": [row.fast for row in some],
            "smart": [row.smart for row in some],
            "reasoning": [row.reasoning or 0.0 for row in some],
        },
        costs={tier: [COSTS[tier]] * len(some) for tier in TIERS},
    )
    fixed = score_constant_routers(table)
    picks = [pick_oracle_tiers(table, worth) for worth in _WORTHS]
    seen = [point for one in picks if (point := score_router(table, one)) is not None]
    prior = [HeuristicClassifier().score("", row.signals) for row in some]
    return {
        "chance": find_frugal_share([*fixed.values()], fixed["reasoning"]),
        "prior": find_frugal_share(
            [*fixed.values(), *sweep_thresholds(table, prior)], fixed["reasoning"]
        ),
        "learned": find_frugal_share(
            [*fixed.values(), *sweep_thresholds(table, [scored[at] for at in known])],
            fixed["reasoning"],
        ),
        "oracle": find_frugal_share(seen, fixed["reasoning"]),
    }


def plain(gain: refit.RefitGain) -> dict[str, object]:
    """As a card has it."""
    return {"before": shown(gain.before), "after": shown(gain.after), "gain": shown(gain.gain)}
