"""Refit an artefact with an owner's own labels, and measure the gain."""

from collections.abc import Callable, Sequence
from operator import mul
from random import Random
from statistics import pstdev

import msgspec

from gateway.evaluation.metrics.bootstrap import Interval, Weights, compute_intervals
from gateway.evaluation.metrics.cross_validation import split_randomly
from gateway.evaluation.metrics.ranking import Sources, average_sources
from gateway.evaluation.training import ridge
from gateway.evaluation.training.dataset import TrainingRow, centre_sources, compute_needs
from gateway.evaluation.training.fit import make_example, make_head, round_table, shorten
from gateway.evaluation.training.train import name_model
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classifier.model_file import ClassifierModel
from gateway.routing.classifier.text_features import PLACES

HALF_WEIGHT_LABELS = 80
"""The number of own labels that weigh as much as all labels that the base was trained on.

It was chosen on five sources, each judged by a base that had not seen it. With 50 to 500 labels 80
gained more than 150 and 300 did; 40 gained more with 50 labels, and as much with 200.
"""
MIN_LABELS = 50
PENALTY = 3.0


def compute_base_share(labels: float) -> float:
    """Return the weight of the base beside n labels of the owner: 80 / (80 + n)."""
    return HALF_WEIGHT_LABELS / (HALF_WEIGHT_LABELS + labels)


def refit(
    model: ClassifierModel,
    rows: Sequence[TrainingRow],
    seed: int = 1,
    base: Classifier | None = None,
    weights: Sequence[float] | None = None,
) -> ClassifierModel:
    """Return the artefact with a head fitted to `rows`, which replaces an earlier such head.

    `weights` say how much each row counts beside a certain label, which has 1. Without them all
    rows count 1. If the rows come from one owner, the artefact must serve that owner alone.
    Without rows, return the artefact without an own head.
    """
    bare = remove_own_labels(model)
    if not rows:
        return bare
    examples = [make_example(row, bare) for row in rows]
    gains = centre_sources([row.gain for row in rows], [row.source for row in rows])
    row_weights = [1.0] * len(rows) if weights is None else weights
    fitted = ridge.fit_ridge(
        examples,
        gains,
        row_weights,
        PENALTY,
        size=PLACES,
        random=Random(seed),  # noqa: S311 - an order of rows
    )
    table, step = round_table(fitted.table)
    # Few labels give a flat fit. Scale its needs to spread as widely as the base's on these rows.
    base_spread = pstdev(compute_needs(bare, rows, base))
    factor = base_spread / (pstdev(ridge.predict(fitted, examples)) or 1.0) or 1.0
    return name_model(
        msgspec.structs.replace(
            bare,
            own_labels=len(rows),
            base_share=shorten(compute_base_share(sum(row_weights))),
            own_fails=make_head(
                [factor * weight for weight in fitted.numbers], bare, step=step * factor
            ),
            own_table=table,
        )
    )


def remove_own_labels(model: ClassifierModel) -> ClassifierModel:
    """Return the artefact without the head that an owner's labels gave it."""
    if model.own_fails is None:
        return model
    return name_model(
        msgspec.structs.replace(model, own_labels=0, base_share=1.0, own_fails=None, own_table=b"")
    )


class RefitGain(msgspec.Struct, frozen=True, kw_only=True):
    """The APGR before and after a refit, on labels that the refit has not seen, and the gain."""

    before: Interval | None
    after: Interval | None
    gain: Interval | None


def compute_unseen_needs(
    bare: ClassifierModel,
    rows: Sequence[TrainingRow],
    random: Random,
    seed: int,
    fold_count: int,
    weights: Sequence[float] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[float]:
    """Return the need of each row, by an artefact refitted on the other parts of the rows.

    `random` chooses the parts. The function calls `tick` after each of them. `weights` are those
    of `refit`.
    """
    needs = [0.0] * len(rows)
    for fold in split_randomly([""] * len(rows), random, fold_count):
        fold_weights = None if weights is None else [weights[index] for index in fold.train_rows]
        fitted = refit(bare, [rows[index] for index in fold.train_rows], seed, weights=fold_weights)
        held_out_needs = compute_needs(fitted, [rows[index] for index in fold.held_out_rows])
        for index, need in zip(fold.held_out_rows, held_out_needs, strict=True):
            needs[index] = need
        tick()
    return needs


def compare_needs(
    before: Sequence[float],
    after: Sequence[float],
    rows: Sequence[TrainingRow],
    random: Random,
    counts: Sequence[int] | None = None,
) -> RefitGain:
    """Compare two lists of needs of the same rows by their APGR, the mean over sources.

    `counts` are the times that each row counts; None counts each once.
    """
    weak, strong = [row.fast for row in rows], [row.smart for row in rows]
    sources = [row.source for row in rows]
    old_rankings = Sources(before, weak, strong, sources)
    new_rankings = Sources(after, weak, strong, sources)

    def compute_figures(weights: Weights) -> dict[str, float | None]:
        drawn = weights if counts is None else list(map(mul, weights, counts))
        old = average_sources(old_rankings.compute_apgr(drawn))
        new = average_sources(new_rankings.compute_apgr(drawn))
        return {
            "before": old,
            "after": new,
            "gain": None if old is None or new is None else new - old,
        }

    intervals = compute_intervals(compute_figures, len(rows), random)
    return RefitGain(before=intervals["before"], after=intervals["after"], gain=intervals["gain"])
