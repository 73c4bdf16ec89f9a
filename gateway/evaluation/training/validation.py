"""Validation of training on unseen rows: held-out parts and sources, own labels, three tiers."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import NamedTuple

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
"""The number of labels of an unseen source with which a base is refitted."""
_MAX_OWN_SHARE = 0.7
"""The largest share of a source that a refit may use, so that a small source leaves rows to judge.
"""
COSTS: Mapping[Tier, float] = {"fast": 0.005, "smart": 0.15, "reasoning": 1.0}
"""The cost of an answer by tier, relative to reasoning.

It is the output price of one lab times 400, 600 and 2,000 tokens.
"""


_WORTHS = tuple(2.0**exponent for exponent in range(-6, 8))
"""The units of score that an oracle gives up to save one unit of cost; more is more frugal."""


class UnseenResult(msgspec.Struct, frozen=True, kw_only=True):
    """The scores of a fold's held-out rows, by an artefact trained on its other rows."""

    scores: list[Score]
    own_labels: int = 0
    """The number of held-out rows with which the artefact was then refitted."""
    gain: refit.RefitGain | None = None
    """The gain of that refit on the rest of the held-out rows; None without a refit."""


def judge_part(
    rows: Sequence[TrainingRow],
    plan: TrainingPlan,
    seed: int,
    calibration: Calibration,
    fold: Fold,
) -> UnseenResult:
    """Return the scores of held-out parts of all sources, by an artefact trained on the rest."""
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
    """Return the scores of a whole held-out source, and the gain of a refit with its labels.

    The heuristic is fitted again without that source too. `fold` has indexes of the scored rows.
    All placed rows train the artefact, because their sources are not judged.
    """
    scored = list_scored(rows)
    train_rows = [scored[index] for index in fold.train_rows]
    held_out = [scored[index] for index in fold.held_out_rows]
    base = refit_base(train_rows)
    fitted = fit([*train_rows, *list_placed(rows)], plan, Random(seed))  # noqa: S311 - seeded
    random = Random(seed)  # noqa: S311 - seeded
    split = split_own_labels(len(held_out), random)
    labelled = [held_out[index] for index in split.labelled]
    rest = [held_out[index] for index in split.rest]
    refitted = refit.refit(fitted, labelled, seed, base)
    gain = refit.compare_needs(
        compute_needs(fitted, rest, base), compute_needs(refitted, rest, base), rest, random
    )
    return UnseenResult(
        scores=compute_scores(fitted, held_out, base),
        own_labels=len(labelled),
        gain=gain,
    )


class OwnLabelSplit(NamedTuple):
    """The rows of an unseen source that a refit gets, and the rows that judge it."""

    labelled: list[int]
    rest: list[int]


def split_own_labels(
    row_count: int, random: Random, label_count: int = OWN_LABELS
) -> OwnLabelSplit:
    """Return a random split of a source; a small source gives 70% of its rows."""
    order = list(range(row_count))
    random.shuffle(order)
    count = min(label_count, int(_MAX_OWN_SHARE * row_count))
    return OwnLabelSplit(order[:count], order[count:])


def measure_frugality(
    rows: Sequence[TrainingRow], scores: Sequence[Score]
) -> dict[str, float | None]:
    """Return the cost of 95% of the quality of reasoning for every prompt, for four routers.

    The cost is a share of the cost of reasoning for every prompt; None if a router never keeps
    95%. The routers are `chance`, `prior`, `learned` and `oracle`. The figures use the scored rows
    that have a score of reasoning, and the thresholds that serve each router best. The result is
    empty without such rows.
    """
    priced = [
        index for index, row in enumerate(rows) if row.reasoning is not None and row.tier is None
    ]
    if not priced:
        return {}
    judged = [rows[index] for index in priced]
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
    learned_scores = [scores[index] for index in priced]
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
    """Return a gain in the form of a card."""
    return {
        "before": describe_interval(gain.before),
        "after": describe_interval(gain.after),
        "gain": describe_interval(gain.gain),
    }
