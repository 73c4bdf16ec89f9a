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
from gateway.evaluation.training.dataset import (
    TrainingRow,
    compute_needs,
    compute_scores,
    list_placed,
    list_scored,
)
from gateway.evaluation.training.fit import TrainingPlan, fit
from gateway.evaluation.training.train import (
    Calibration,
    apply_calibration,
    describe_interval,
)
from gateway.routing.classifier.heuristic import Classifier, HeuristicClassifier

OWN_LABELS = 500
"""Labels of an unseen source that a base is refitted with."""
_MAX_OWN_SHARE = 0.7
"""Of a source, where it has fewer rows than that leaves to judge."""
COSTS: Mapping[Tier, float] = {"fast": 0.005, "smart": 0.15, "reasoning": 1.0}
"""Of an answer: output prices of one lab times 400, 600 and 2,000 tokens, reasoning being 1."""


_WORTHS = tuple(2.0**exponent for exponent in range(-6, 8))
"""What a unit of cost is worth to an oracle: the more, the more frugal."""


class UnseenResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an artefact says of the rows that a fold holds, trained on its others."""

    scores: list[Score]
    own_labels: int = 0
    """Labels of these rows that it was then refitted with, and what that was worth on the rest."""
    gain: refit.RefitGain | None = None


def judge_part(
    rows: Sequence[TrainingRow],
    plan: TrainingPlan,
    seed: int,
    calibration: Calibration,
    fold: Fold,
) -> UnseenResult:
    """Judge a part of every source, held out."""
    train_rows = [rows[index] for index in fold.train_rows]
    fitted = apply_calibration(fit(train_rows, plan, Random(seed)), calibration)  # noqa: S311 - seeded
    held_out = [rows[index] for index in fold.held_out_rows]
    return UnseenResult(scores=compute_scores(fitted, held_out))


def judge_source(
    rows: Sequence[TrainingRow],
    plan: TrainingPlan,
    seed: int,
    refit_base: Callable[[Sequence[TrainingRow]], Classifier],
    fold: Fold,
) -> UnseenResult:
    """Judge a whole source, held out: also of the formula, which is fitted again without it.

    `fold` is of the scored rows. Placed ones are of no source that is judged: all of them teach.
    """
    scored = list_scored(rows)
    train_rows = [scored[index] for index in fold.train_rows]
    held_out = [scored[index] for index in fold.held_out_rows]
    base = refit_base(train_rows)
    fitted = fit([*train_rows, *list_placed(rows)], plan, Random(seed))  # noqa: S311 - seeded
    random = Random(seed)  # noqa: S311 - seeded
    order = list(range(len(held_out)))
    random.shuffle(order)
    count = min(OWN_LABELS, int(_MAX_OWN_SHARE * len(held_out)))
    labelled = [held_out[index] for index in order[:count]]
    rest = [held_out[index] for index in order[count:]]
    refitted = refit.refit(fitted, labelled, seed, base)
    gain = refit.compare_needs(
        compute_needs(fitted, rest, base), compute_needs(refitted, rest, base), rest, random
    )
    return UnseenResult(
        scores=compute_scores(fitted, held_out, base),
        own_labels=count,
        gain=gain,
    )


def measure_frugality(
    rows: Sequence[TrainingRow], scores: Sequence[Score]
) -> dict[str, float | None]:
    """Return what 95% of always reasoning's quality costs, as a part of its cost, of some routers.

    On the rows with scores of a reasoning tier; thresholds are those that serve each router best.
    """
    known = [
        index for index, row in enumerate(rows) if row.reasoning is not None and row.tier is None
    ]
    if not known:
        return {}
    judged = [rows[index] for index in known]
    table = TierScores(
        scores={
            "fast": [row.fast for row in judged],
            "smart": [row.smart for row in judged],
            "reasoning": [row.reasoning or 0.0 for row in judged],
        },
        costs={tier: [COSTS[tier]] * len(judged) for tier in TIERS},
    )
    constant = score_constant_routers(table)
    picks = [pick_oracle_tiers(table, worth) for worth in _WORTHS]
    oracle = [point for pick in picks if (point := score_router(table, pick)) is not None]
    base_scores = [HeuristicClassifier().score("", row.signals) for row in judged]
    learned_scores = [scores[index] for index in known]
    return {
        "chance": find_frugal_share([*constant.values()], constant["reasoning"]),
        "prior": find_frugal_share(
            [*constant.values(), *sweep_thresholds(table, base_scores)], constant["reasoning"]
        ),
        "learned": find_frugal_share(
            [*constant.values(), *sweep_thresholds(table, learned_scores)], constant["reasoning"]
        ),
        "oracle": find_frugal_share(oracle, constant["reasoning"]),
    }


def describe_gain(gain: refit.RefitGain) -> dict[str, object]:
    """Return a gain as a card has it."""
    return {
        "before": describe_interval(gain.before),
        "after": describe_interval(gain.after),
        "gain": describe_interval(gain.gain),
    }
