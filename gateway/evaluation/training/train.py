"""Training from labels to a sealed artefact, which is judged on rows that it has not seen."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import exp
from random import Random
from typing import NamedTuple

import msgspec

from gateway.core.decision_context import Score, Thresholds
from gateway.core.target import TIERS
from gateway.evaluation.errors import TooFewError
from gateway.evaluation.metrics.bootstrap import Interval, compute_quantile, draw_shuffles
from gateway.evaluation.metrics.cross_validation import (
    HeldOutScores,
    compute_held_out_scores,
    split_randomly,
)
from gateway.evaluation.metrics.ranking import Sources, average_sources
from gateway.evaluation.training.base_model import solve
from gateway.evaluation.training.dataset import (
    TrainingRow,
    balance_sources,
    compute_needs,
    compute_scores,
    list_placed,
    list_scored,
)
from gateway.evaluation.training.fit import TrainingPlan, fit, shorten
from gateway.routing.classifier import heuristic, model_file, text_features
from gateway.routing.classifier.learned import LearnedClassifier, scale_head
from gateway.routing.classifier.model_file import ClassifierModel


def name_model(model: ClassifierModel) -> ClassifierModel:
    """Return the artefact sealed, with an id that is made from the hash of its numbers."""
    bare = msgspec.structs.replace(model, id="")
    name = f"learned-{model_file.hash_model(bare)[:8]}"
    return model_file.seal(msgspec.structs.replace(model, id=name))


MIN_ROWS = 100
"""The least number of scored rows. Fewer teach nothing, and cannot be judged."""
_MIN_PLACED = 50
"""The number of held-out placed rows that are enough for calibration."""
SHUFFLES = 200
_NEWTON_STEPS = 25
_SMALL = 1e-3
_MIN_SLOPE = 0.1


class ShuffledControl(msgspec.Struct, frozen=True):
    """The APGR of a score that knows nothing, on the same rows: the same needs, shuffled.

    `low` and `high` are the ends of the middle 95% of the shuffles.
    """

    mean: float
    low: float
    high: float


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """The agreement of decided tiers with the tiers that somebody gave placed prompts."""

    rows: int
    share: float
    """The share of the prompts that get the tier that somebody gave them."""
    shuffled: float
    """The mean of that share if the same tiers are shuffled among the prompts."""
    hard_on_fast: float
    """The share of the prompts placed on reasoning that get fast."""


class HeldOutResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an artefact on rows that it was not trained on."""

    rows: int
    """The number of scored rows."""
    apgr: HeldOutScores
    control: ShuffledControl | None
    agreement: Agreement | None = None

    @property
    def better(self) -> bool:
        """True if the whole interval of its APGR lies above the interval of the shuffles."""
        mean = self.apgr.mean
        return mean is not None and self.control is not None and mean.is_above(self.control.high)


def judge_scores(
    scores: Iterable[Score], rows: Sequence[TrainingRow], random: Random
) -> HeldOutResult:
    """Judge scores by their APGR, averaged over sources, and by the APGR of shuffled scores.

    A row needs smart more, the less likely it is that fast suffices.
    """
    needs = [-score.fast for score in scores]
    weak, strong = [row.fast for row in rows], [row.smart for row in rows]
    sources = [row.source for row in rows]
    apgr = compute_held_out_scores(needs, weak, strong, sources, random)
    values = []
    for order in draw_shuffles(needs, random, SHUFFLES):
        value = average_sources(Sources(order, weak, strong, sources).compute_apgr())
        if value is not None:
            values.append(value)
    values.sort()
    control = (
        ShuffledControl(
            sum(values) / len(values),
            compute_quantile(values, 0.025),
            compute_quantile(values, 0.975),
        )
        if values
        else None
    )
    return HeldOutResult(rows=len(rows), apgr=apgr, control=control)


def measure_agreement(
    scores: Iterable[Score], rows: Sequence[TrainingRow], thresholds: Thresholds
) -> Agreement | None:
    """Return the agreement of placed rows with their scores; None if there are no rows."""
    if not rows:
        return None
    chosen = [heuristic.choose_tier(score, thresholds) for score in scores]
    wanted = [row.tier for row in rows]
    counts, wanted_counts = Counter(chosen), Counter(wanted)
    pairs = Counter(zip(wanted, chosen, strict=True))
    count = len(rows)
    return Agreement(
        rows=count,
        share=sum(pairs[tier, tier] for tier in TIERS) / count,
        shuffled=sum(counts[tier] * wanted_counts[tier] for tier in TIERS) / count**2,
        hard_on_fast=pairs["reasoning", "fast"] / max(wanted_counts["reasoning"], 1),
    )


class LogitLine(msgspec.Struct, frozen=True):
    """The line from the output of a head to the logit of a probability."""

    slope: float
    level: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The lines that turn the outputs of an artefact's heads into probabilities."""

    fast: LogitLine
    smart: LogitLine


class TrainedModel(NamedTuple):
    """The result of training: the artefact, its held-out result and its calibration."""

    model: ClassifierModel
    result: HeldOutResult
    calibration: Calibration


def learn(
    rows: Sequence[TrainingRow],
    plan: TrainingPlan,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> TrainedModel:
    """Return an artefact trained on all rows, with its held-out result and its calibration.

    A first artefact is trained without a fifth of the rows, which judge and calibrate it. The same
    rows, plan and seed give the same bytes. Raises TooFewError.
    """
    check_rows(rows)
    fold = next(split_randomly([row.source for row in rows], Random(seed)))  # noqa: S311 - seeded
    held_out = [rows[index] for index in fold.held_out_rows]
    first = fit([rows[index] for index in fold.train_rows], plan, Random(seed), tick)  # noqa: S311 - seeded
    calibration = calibrate(first, held_out)
    judged = apply_calibration(first, calibration)
    scored, placed = list_scored(held_out), list_placed(held_out)
    result = judge_scores(compute_scores(judged, scored), scored, Random(seed))  # noqa: S311 - seeded
    agreement = measure_agreement(compute_scores(judged, placed), placed, judged.thresholds)
    last = fit(rows, plan, Random(seed), tick)  # noqa: S311 - seeded
    return TrainedModel(
        name_model(apply_calibration(last, calibration)),
        msgspec.structs.replace(result, agreement=agreement),
        calibration,
    )


def check_rows(rows: Sequence[TrainingRow]) -> None:
    """Check that rows can teach something.

    Raises TooFewError if scored rows are too few, or if smart is never better than fast.
    """
    scored = list_scored(rows)
    if len(scored) < MIN_ROWS:
        message = f"{len(scored)} labels have scores of fast and smart; {MIN_ROWS} are needed"
        raise TooFewError(message)
    if not any(row.gain > 0 for row in scored):
        raise TooFewError("smart is never better than fast: there is nothing to learn")


def calibrate(model: ClassifierModel, rows: Sequence[TrainingRow]) -> Calibration:
    """Return the calibration of an artefact, fitted on rows that it has not seen.

    It uses the placed rows if there are enough of them, else the scored rows. Every source counts
    the same.
    """
    placed = list_placed(rows)
    chosen = placed if len(placed) >= _MIN_PLACED else list_scored(rows)
    weights = balance_sources([row.source for row in chosen])
    learned = LearnedClassifier(model)
    logits = [learned.compute_logits(row.features, row.signals) for row in chosen]
    fast_fails = [float(row.gain > 0) for row in chosen]
    smart_fails = [_measure_smart_failure(row) for row in chosen]
    return Calibration(
        fast=fit_line([logit.fast for logit in logits], fast_fails, weights),
        smart=fit_line([logit.smart for logit in logits], smart_fails, weights),
    )


def _measure_smart_failure(row: TrainingRow) -> float:
    """Return how far reasoning does better than smart, 0 to 1.

    A missing score of reasoning counts as a perfect answer. A placed row gives 1 if its tier is
    reasoning, else 0.
    """
    if row.tier is not None:
        return float(row.tier == "reasoning")
    best = 1.0 if row.reasoning is None else row.reasoning
    return min(max(best - row.smart, 0.0), 1.0)


def apply_calibration(model: ClassifierModel, calibration: Calibration) -> ClassifierModel:
    """Return the artefact with heads that give probabilities."""
    fast, smart = calibration.fast, calibration.smart
    return msgspec.structs.replace(
        model,
        fast_fails=scale_head(model.fast_fails, fast.slope, fast.level),
        smart_fails=scale_head(model.smart_fails, smart.slope, smart.level),
    )


def fit_line(
    logits: Sequence[float], labels: Sequence[float], weights: Sequence[float]
) -> LogitLine:
    """Return the line from `logits` to the logit of `labels`, fitted by Newton's method."""
    slope, level = 1.0, 0.0
    for _ in range(_NEWTON_STEPS):
        slope_gradient, level_gradient = -_SMALL * slope, 0.0
        curvature = [[_SMALL, 0.0], [0.0, _SMALL]]
        for value, label, weight in zip(logits, labels, weights, strict=True):
            estimate = 1 / (1 + exp(-max(min(slope * value + level, 30.0), -30.0)))
            miss, bend = weight * (label - estimate), weight * estimate * (1 - estimate)
            slope_gradient += miss * value
            level_gradient += miss
            curvature[0][0] += bend * value * value
            curvature[0][1] += bend * value
            curvature[1][0] += bend * value
            curvature[1][1] += bend
        slope_step, level_step = solve(curvature, [slope_gradient, level_gradient])
        slope, level = slope + slope_step, level + level_step
    return LogitLine(shorten(max(slope, _MIN_SLOPE)), shorten(level))


def make_card(
    rows: Sequence[TrainingRow],
    plan: TrainingPlan,
    seed: int,
    result: HeldOutResult,
    fields: dict[str, object],
) -> dict[str, object]:
    """Return the card of an artefact: facts that people should know before they use it."""
    counts = Counter(row.source for row in list_scored(rows))
    return {
        **fields,
        "design": DESIGN,
        "plan": plan,
        "seed": seed,
        "numbers": text_features.NUMBER_NAMES,
        "rows": dict(sorted(counts.items())),
        "reasoning_rows": sum(row.reasoning is not None for row in list_scored(rows)),
        "placed_rows": len(list_placed(rows)),
        "held_out": describe_result(result),
    }


def describe_interval(interval: Interval | None) -> list[float] | None:
    """Return an interval in the form of a card: the figure and its two ends, to four decimals."""
    if interval is None:
        return None
    return [round(value, 4) for value in (interval.value, interval.low, interval.high)]


def measure_own_fit(model: ClassifierModel, rows: Sequence[TrainingRow]) -> float | None:
    """Return the APGR of an artefact on the rows that it was trained on; None without a figure.

    The figure lets a reader check that the data are the same. It says nothing about unseen rows.
    """
    scored = list_scored(rows)
    weak, strong = [row.fast for row in scored], [row.smart for row in scored]
    sources = [row.source for row in scored]
    value = average_sources(
        Sources(compute_needs(model, scored), weak, strong, sources).compute_apgr()
    )
    return None if value is None else round(value, 4)


def describe_result(result: HeldOutResult) -> dict[str, object]:
    """Return a result in the form of a card: figures with their intervals, to four decimals."""
    control = result.control
    return {
        "rows": result.rows,
        "apgr": describe_interval(result.apgr.mean),
        "sources": {
            name: describe_interval(interval) for name, interval in result.apgr.sources.items()
        },
        "shuffled": None
        if control is None
        else [round(value, 4) for value in (control.mean, control.low, control.high)],
        "better": result.better,
        "agreement": result.agreement,
    }


DESIGN = (
    "two linear heads, one a tier that may fail, over hashed words and pairs, 18 plain numbers and"
    " the formula's logit; each the sum of a ridge over prompts whose tier was given and of a ridge"
    " over prompts whose answers were scored"
)
