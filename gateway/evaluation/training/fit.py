"""Fit the numbers of an artefact to rows, without its calibration.

Each head of an artefact is the sum of two ridges. Placed prompts teach which tier requests need.
Scored prompts teach where small models fail. A head that is fitted on both at once is worse on
either: 38 of 60 golden prompts in place of 47. So each kind is fitted alone, and both count.
"""

from collections.abc import Callable, Sequence
from math import sqrt, sumprod
from random import Random

import msgspec

from gateway.evaluation.training import ridge
from gateway.evaluation.training.dataset import (
    TrainingRow,
    centre_sources,
    list_placed,
    list_scored,
)
from gateway.routing.classifier import text_features
from gateway.routing.classifier.model_file import ClassifierModel, FailureHead, TierThresholds
from gateway.routing.classifier.text_features import PLACES

NUMBER_SCALE = 0.1
"""The weight of one standard deviation of a number, beside all places of a text together."""
_DIGITS = 6
_BYTE_STEPS = 127


class TrainingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of training. The defaults are those of the artefact that ships."""

    passes: int = ridge.PASSES
    scored_penalty: float = 2.0
    placed_penalty: float = 0.3
    """The penalties of the ridges over scored rows and over placed rows."""
    scored_share: float = 0.8
    """The weight of scored rows beside placed ones.

    A lower weight gives more golden prompts their tier. A higher one ranks benchmarks better.
    """
    smart_share: float = 0.5
    """The share of smart's score that counts for how hard a scored prompt is for fast."""
    fast_formula: float = 0.35
    smart_formula: float = 0.3
    """The weights of the heuristic's logits, beside the ridge over scored rows."""


SHIPPED = TrainingPlan()
STEPS = 4
"""The number of times that `fit` calls `tick`, once after each ridge."""


def fit(
    rows: Sequence[TrainingRow],
    plan: TrainingPlan,
    random: Random,
    tick: Callable[[], None] = lambda: None,
) -> ClassifierModel:
    """Return an artefact trained on scored and placed rows, and call `tick` after each ridge.

    Its probabilities mean nothing before it is calibrated.
    """
    scored, placed = list_scored(rows), list_placed(rows)
    means, spreads = _measure_numbers(scored, placed)
    model = ClassifierModel(
        id="",
        sources=tuple(sorted({row.source for row in scored})),
        means=means,
        spreads=spreads,
        fast_fails=_EMPTY_HEAD,
        smart_fails=_EMPTY_HEAD,
        thresholds_by_tier=TierThresholds(fast=0.5, smart=0.5),
    )

    def solve(some: Sequence[TrainingRow], targets: Sequence[float], penalty: float) -> _Weights:
        examples = [make_example(row, model) for row in some]
        middle = sum(targets) / max(len(targets), 1)
        fitted = ridge.fit_ridge(
            examples,
            [target - middle for target in targets],
            [1.0] * len(targets),
            penalty,
            size=PLACES,
            random=random,
            passes=plan.passes,
        )
        tick()
        return fitted

    hardness = [plan.smart_share * row.smart - row.fast for row in scored]
    smart_misses = centre_sources([1 - row.smart for row in scored], [row.source for row in scored])
    heads = (
        (
            solve(placed, [float(row.tier != "fast") for row in placed], plan.placed_penalty),
            solve(scored, hardness, plan.scored_penalty),
            plan.fast_formula,
        ),
        (
            solve(placed, [float(row.tier == "reasoning") for row in placed], plan.placed_penalty),
            solve(scored, smart_misses, plan.scored_penalty),
            plan.smart_formula,
        ),
    )
    joined = [
        _join_head(of_placed, of_scored, plan.scored_share, formula, model)
        for of_placed, of_scored, formula in heads
    ]
    (fast_head, fast_table), (smart_head, smart_table) = joined
    return msgspec.structs.replace(
        model, fast_fails=fast_head, smart_fails=smart_head, table=fast_table + smart_table
    )


type _Weights = ridge.RidgeWeights
_EMPTY_HEAD = FailureHead(step=1.0, weights=())


def _join_head(
    placed: _Weights, scored: _Weights, share: float, formula: float, model: ClassifierModel
) -> tuple[FailureHead, bytes]:
    table, step = round_table(
        [weight + share * other for weight, other in zip(placed.table, scored.table, strict=True)]
    )
    width = len(text_features.NUMBER_NAMES)
    no_numbers = [0.0] * width
    weights = [
        weight + share * other
        for weight, other in zip(
            placed.numbers or no_numbers, scored.numbers or no_numbers, strict=True
        )
    ]
    return make_head(weights, model, step=step, formula=share * formula), table


def _measure_numbers(
    *groups: Sequence[TrainingRow],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each number; groups of rows count the same."""
    columns = [list(zip(*(row.numbers for row in group), strict=True)) for group in groups if group]
    means, spreads = [], []
    for number_columns in zip(*columns, strict=True):
        mean = sum(sum(column) / len(column) for column in number_columns) / len(columns)
        variance = sum(
            sum((value - mean) ** 2 for value in column) / len(column) for column in number_columns
        ) / len(columns)
        means.append(shorten(mean))
        spreads.append(shorten(sqrt(variance)) or 1.0)
    return tuple(means), tuple(spreads)


def make_example(row: TrainingRow, model: ClassifierModel) -> ridge.Example:
    """Return a row in the form that a ridge takes."""
    return ridge.Example(
        tuple(sorted(row.places)),
        1 / sqrt(len(row.places) or 1),
        tuple(
            NUMBER_SCALE * (number - mean) / spread
            for number, mean, spread in zip(row.numbers, model.means, model.spreads, strict=True)
        ),
    )


def make_head(
    weights: Sequence[float], model: ClassifierModel, *, step: float, formula: float = 0.0
) -> FailureHead:
    """Return a head from a ridge's weights of the scaled numbers of its examples."""
    plain = [
        shorten(NUMBER_SCALE * weight / spread)
        for weight, spread in zip(weights, model.spreads, strict=True)
    ]
    return FailureHead(
        step=shorten(step),
        weights=tuple(plain),
        usual=shorten(sumprod(plain, model.means)),
        formula=shorten(formula),
    )


def round_table(table: Sequence[float]) -> tuple[bytes, float]:
    """Return a table as signed bytes, and the value of one step of these."""
    step = shorten(max(map(abs, table), default=0.0) / _BYTE_STEPS) or 1.0
    return bytes(round(value / step) & 255 for value in table), step


def shorten(value: float) -> float:
    """Return a number rounded to six significant digits, which an artefact keeps."""
    return float(f"{value:.{_DIGITS}g}")
