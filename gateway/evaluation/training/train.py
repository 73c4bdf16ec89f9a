"""Training from labels to a sealed artefact, judged on what it has not seen.

The name and the hash of an artefact.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import exp
from random import Random

import msgspec

from gateway.evaluation.errors import TooFewError
from gateway.evaluation.metrics.bootstrap import Interval, compute_quantile, draw_shuffles
from gateway.evaluation.metrics.cross_validation import (
    HeldOutScores,
    compute_held_out_scores,
    split_randomly,
)
from gateway.evaluation.metrics.ranking import Sources, average_sources
from gateway.evaluation.training.base_model import solve
from gateway.evaluation.training.dataset import TrainingRow, balanced, needs, scores
from gateway.evaluation.training.fit import TrainingPlan, fit
from gateway.routing.classifier import heuristic, text_features
from gateway.routing.classifier import model_file as files
from gateway.routing.classifier.model_file import ClassifierModel, TierThresholds


def named(artefact: ClassifierModel) -> ClassifierModel:
    """Sealed, under an id that tells its numbers from all others."""
    bare = msgspec.structs.replace(artefact, id="")
    name = f"learned-{files.hash_model(bare)[:8]}"
    return files.seal(msgspec.structs.replace(artefact, id=name))


FEWEST = 100
"""Rows with outcomes: fewer teach nothing, and cannot be judged."""
FAST, REASONING = 0.53, 0.10
"""Shares of the held-out prompts that the thresholds leave to the two tiers, as the prior's do."""
LEAST = heuristic.THRESHOLDS.fast
"""No less goes to fast: unsure goes to smart, and the prior's share of the scale stays its own."""
SHUFFLES = 200
_STEPS = 25
_SMALL = 1e-3
_FLATTEST = 0.1


class ShuffledControl(msgspec.Struct, frozen=True):
    """What a score that knows nothing gets on the same rows: the same needs, shuffled."""

    mean: float
    low: float
    high: float


class HeldOutResult(msgspec.Struct, frozen=True, kw_only=True):
    """What it was worth on rows that it was not trained on."""

    rows: int
    apgr: HeldOutScores
    control: ShuffledControl | None

    @property
    def better(self) -> bool:
        """Whether all of its interval lies above all that shuffling gives."""
        mean = self.apgr.mean
        return mean is not None and self.control is not None and mean.is_above(self.control.high)


class FittedCalibration(msgspec.Struct, frozen=True):
    """From needs to probabilities, and where the tiers part."""

    slope: float
    level: float
    fast: float
    smart: float


def held(need: Sequence[float], rows: Sequence[TrainingRow], chance: Random) -> HeldOutResult:
    """Judge needs, by the mean over sources, and what the same needs are worth when shuffled."""
    weak, strong = [row.fast for row in rows], [row.smart for row in rows]
    sources = [row.source for row in rows]
    judged = compute_held_out_scores(need, weak, strong, sources, chance)
    found = []
    for order in draw_shuffles(need, chance, SHUFFLES):
        value = average_sources(Sources(order, weak, strong, sources).compute_apgr())
        if value is not None:
            found.append(value)
    found.sort()
    control = (
        ShuffledControl(
            sum(found) / len(found), compute_quantile(found, 0.025), compute_quantile(found, 0.975)
        )
        if found
        else None
    )
    return HeldOutResult(rows=len(rows), apgr=judged, control=control)


def learn(
    rows: Sequence[TrainingRow],
    plan: TrainingPlan,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> tuple[ClassifierModel, HeldOutResult]:
    """An artefact of all rows; a fifth is held out first, to judge and to calibrate it.

    The same rows, plan and seed give the same bytes. Raises TooFewError.
    """
    check(rows)
    fold = next(split_randomly([row.source for row in rows], Random(seed)))  # noqa: S311 - seeded
    kept = [rows[at] for at in fold.held_out_rows]
    first = fit([rows[at] for at in fold.train_rows], plan, Random(seed), tick)  # noqa: S311 - seeded
    need = needs(first, kept)
    told = held(need, kept, Random(seed))  # noqa: S311 - seeded
    found = calibrate(first, need, kept)
    last = fit(rows, plan, Random(seed), tick)  # noqa: S311 - seeded
    return named(calibrated(last, found)), told


def check(rows: Sequence[TrainingRow]) -> None:
    """Raises TooFewError where rows teach nothing."""
    if len(rows) < FEWEST:
        message = f"{len(rows)} labels have scores of fast and smart; {FEWEST} are needed"
        raise TooFewError(message)
    if not any(row.gain > 0 for row in rows):
        raise TooFewError("smart is never better than fast: there is nothing to learn")


def calibrate(
    artefact: ClassifierModel, need: Sequence[float], rows: Sequence[TrainingRow]
) -> FittedCalibration:
    """Fit on rows that the artefact has not seen; every source weighs the same."""
    weights = balanced([row.source for row in rows])
    slope, level = _platt(need, [float(row.gain <= 0) for row in rows], weights)
    slope, level = short4(slope), short4(level)
    told = scores(msgspec.structs.replace(artefact, slope=slope, level=level), rows)
    fast = max(_at([score.fast for score in told], weights, 1 - FAST), LEAST)
    above = [score.smart if score.fast < fast else 2.0 for score in told]
    return FittedCalibration(slope, level, short4(fast), short4(_at(above, weights, REASONING)))


def calibrated(artefact: ClassifierModel, found: FittedCalibration) -> ClassifierModel:
    """With probabilities and thresholds."""
    parting = TierThresholds(fast=found.fast, smart=found.smart)
    return msgspec.structs.replace(artefact, slope=found.slope, level=found.level, parting=parting)


def short4(value: float) -> float:
    """Four digits: a threshold says no more."""
    return float(f"{value:.4g}")


def _platt(
    need: Sequence[float], labels: Sequence[float], weights: Sequence[float]
) -> tuple[float, float]:
    """Slope and level of the logit of `labels`, by Newton's method."""
    slope, level = 1.0, 0.0
    for _ in range(_STEPS):
        first, second = -_SMALL * slope, 0.0
        curve = [[_SMALL, 0.0], [0.0, _SMALL]]
        for value, label, weight in zip(need, labels, weights, strict=True):
            said = 1 / (1 + exp(slope * value - level))
            miss, bend = weight * (label - said), weight * said * (1 - said)
            first -= miss * value
            second += miss
            curve[0][0] += bend * value * value
            curve[0][1] -= bend * value
            curve[1][0] -= bend * value
            curve[1][1] += bend
        one, two = solve(curve, [first, second])
        slope, level = slope + one, level + two
    return max(slope, _FLATTEST), level


def _at(values: Sequence[float], weights: Sequence[float], share: float) -> float:
    """The value below which a share of the weight lies."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ends = list(accumulate(weights[at] for at in order))
    place = min(bisect_left(ends, share * ends[-1]), len(ends) - 1)
    return min(values[order[place]], 1.0)


def card(
    rows: Sequence[TrainingRow],
    plan: TrainingPlan,
    seed: int,
    told: HeldOutResult,
    about: dict[str, object],
) -> dict[str, object]:
    """What people should know of an artefact before they use it."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.source] = counts.get(row.source, 0) + 1
    return {
        **about,
        "design": DESIGN,
        "plan": plan,
        "seed": seed,
        "features": len(text_features.SHAPE_NAMES),
        "rows": dict(sorted(counts.items())),
        "reasoning_rows": sum(row.reasoning is not None for row in rows),
        "held_out": plain(told),
    }


def shown(one: Interval | None) -> list[float] | None:
    """An interval as a card has it: the figure, its ends."""
    return None if one is None else [round(x, 4) for x in (one.value, one.low, one.high)]


def fitted(artefact: ClassifierModel, rows: Sequence[TrainingRow]) -> float | None:
    """APGR on the rows that it was trained on: by it a reader can tell that he has the same data.

    It says nothing of what is unseen.
    """
    weak, strong = [row.fast for row in rows], [row.smart for row in rows]
    found = Sources(
        needs(artefact, rows), weak, strong, [row.source for row in rows]
    ).compute_apgr()
    value = average_sources(found)
    return None if value is None else round(value, 4)


def plain(told: HeldOutResult) -> dict[str, object]:
    """A judgement as a card has it: figures with their intervals, to four places."""
    control = told.control
    return {
        "rows": told.rows,
        "apgr": shown(told.apgr.mean),
        "sources": {name: shown(one) for name, one in told.apgr.sources.items()},
        "shuffled": None
        if control is None
        else [round(x, 4) for x in (control.mean, control.low, control.high)],
        "better": told.better,
    }


DESIGN = (
    "prior + linear gains of each source behind linear gates, over the most common words and pairs"
    " and the numbers of a form; a transfer head trained on difficulty where nothing is familiar;"
    " extremely randomised trees on the form"
)
