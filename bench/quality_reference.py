"""The reference set of the quality dial, made anew, and what decisions by worth are worth.

`python -m bench.quality_reference FOLDER [FILE]`; FOLDER holds outcomes.parquet and opinions.jsonl,
and the set is written to FILE. Every prompt is scored by a classifier that has not seen it, or its
source. The figures after it are those of docs/classifier.md, "Decisions by worth".
"""

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import NamedTuple

from gateway.core import jsonio
from gateway.core.decision_context import Score
from gateway.core.quality import DIAL_SHARES
from gateway.core.target import TIERS, Tier
from gateway.evaluation import labels
from gateway.evaluation.metrics.bootstrap import Weights, compute_intervals
from gateway.evaluation.metrics.cross_validation import Fold, leave_one_out, split_randomly
from gateway.evaluation.training import base_model, validation
from gateway.evaluation.training.dataset import TrainingRow, balanced, outcomes, weighed
from gateway.evaluation.training.fit import SHIPPED, fit
from gateway.routing.classifier import model_file
from gateway.routing.classifier.learned import LearnedClassifier, logistic
from gateway.routing.classifier.text_signals import read_signals
from gateway.routing.quality_dial import Worth, choose_tier, estimate_worth, list_reference_worths
from gateway.runtime.build import SHIPPED_MODEL

PARTS, CELLS = 10, 5
"""A source becomes so many parts by the worth of smart, and each so many by what smart adds."""
POSITION = 5
"""Of the dial, in the table of figures."""
BINS = 10
_COSTS = tuple(validation.COSTS[tier] for tier in TIERS)
_MIN_PROBABILITY = 1e-6
_MAX_NUMBERS = 20
_NEWTON_STEPS = 30
_RIDGE = 1e-6
_ROUNDING = 1e-9


class JudgedRow(NamedTuple):
    """A prompt with what its answers were worth, and the score of one that had not seen it."""

    row: TrainingRow
    score: Score

    @property
    def qualities(self) -> tuple[float, ...]:
        """What its answers were worth, by tier; without reasoning where that was not asked."""
        known = (self.row.fast, self.row.smart, self.row.reasoning)
        return tuple(value for value in known if value is not None)


# The reference set


def judge_unseen(rows: Sequence[TrainingRow], folds: Iterable[Fold]) -> list[JudgedRow]:
    """Score each row by a classifier that was trained without the fold that holds it."""
    folds = list(folds)
    scores: dict[int, Score] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for fold, fold_scores in zip(folds, pool.map(partial(_judge, rows), folds), strict=True):
            scores.update(zip(fold.held_out_rows, fold_scores, strict=True))
    return [JudgedRow(row, scores[index]) for index, row in enumerate(rows)]


def _judge(rows: Sequence[TrainingRow], fold: Fold) -> list[Score]:
    train = [rows[index] for index in fold.train_rows]
    held_out = [rows[index] for index in fold.held_out_rows]
    is_whole_source = {row.source for row in train}.isdisjoint(row.source for row in held_out)
    prior = base_model.refit(train) if is_whole_source else None
    artefact = fit(train, SHIPPED, Random(0))
    shipped = _read_shipped_model()
    needs = weighed(artefact, held_out, prior)
    return [validation.score(need, shipped.slope, shipped.level) for need in needs]


@cache
def _read_shipped_model() -> model_file.ClassifierModel:
    return model_file.read(SHIPPED_MODEL.read_bytes())


def build_reference(judged: Sequence[JudgedRow], prompts: Iterable[str]) -> list[Worth]:
    """Return the worths of 50 cells of each source, and of the prompts without scores."""
    classifier = LearnedClassifier(_read_shipped_model())
    by_source: dict[str, list[Worth]] = {}
    for item in judged:
        worth = estimate_worth(item.score, item.row.signals)
        by_source.setdefault(item.row.source, []).append(worth)
    signals = [(prompt, read_signals(prompt)) for prompt in prompts]
    unscored = [estimate_worth(classifier.score(prompt, seen), seen) for prompt, seen in signals]
    sources = [by_source[name] for name in sorted(by_source)]
    return [cell for worths in (*sources, unscored) for cell in _summarise(worths)]


def _summarise(worths: Sequence[Worth]) -> Iterator[Worth]:
    """Yield the mean worth of each cell of a source."""
    for part in _split(sorted(worths, key=lambda worth: worth.smart), PARTS):
        for cell in _split(sorted(part, key=lambda worth: worth.smart - worth.fast), CELLS):
            yield Worth(*(round(sum(values) / len(cell), 3) for values in zip(*cell, strict=True)))


def _split[T](items: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    """Split items into parts of nearly the same size, larger ones first."""
    size, rest = divmod(len(items), count)
    start = 0
    for index in range(count):
        end = start + size + (index < rest)
        yield items[start:end]
        start = end


def write_reference(worths: Iterable[Worth], file: Path) -> None:
    """Write the set as the gateway reads it, a worth a line."""
    lines = [f" [{worth.fast:.3f}, {worth.smart:.3f}, {worth.reasoning:.3f}]" for worth in worths]
    file.write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")


# The two lines


def fit_lines(judged: Sequence[JudgedRow]) -> tuple[list[float], list[float]]:
    """Fit how likely smart fails, and what smart adds: least squares, each source alike."""
    weights = balanced([item.row.source for item in judged])
    fails = [(1.0, _fails_logit(item), _log_numbers(item)) for item in judged]
    adds = [(1.0, _logit(item.score.fast)) for item in judged]
    return (
        _fit_line(fails, [1 - item.row.smart for item in judged], weights),
        _fit_line(adds, [item.row.gain for item in judged], weights),
    )


def _fit_line(
    inputs: Sequence[Sequence[float]], targets: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """Fit a logistic line to targets by Gauss-Newton steps."""
    size = len(inputs[0])
    line = [0.0] * size
    for _ in range(_NEWTON_STEPS):
        matrix = [[_RIDGE * (row == column) for column in range(size)] for row in range(size)]
        right = [0.0] * size
        for values, target, weight in zip(inputs, targets, weights, strict=True):
            predicted = logistic(sum(map(float.__mul__, line, values)))
            slope = predicted * (1 - predicted)
            for row, value in enumerate(values):
                right[row] += weight * slope * value * (target - predicted)
                for column, other in enumerate(values):
                    matrix[row][column] += weight * slope * slope * value * other
        line = [old + step for old, step in zip(line, base_model.solve(matrix, right), strict=True)]
    return line


def _fails_logit(item: JudgedRow) -> float:
    score = item.score
    return _logit((1 - score.smart) / max(1 - score.fast, _MIN_PROBABILITY))


def _log_numbers(item: JudgedRow) -> float:
    return math.log1p(min(item.row.signals.numbers, _MAX_NUMBERS))


def _logit(probability: float) -> float:
    clamped = min(max(probability, _MIN_PROBABILITY), 1 - _MIN_PROBABILITY)
    return math.log(clamped / (1 - clamped))


def predict_unseen(judged: Sequence[JudgedRow]) -> list[Worth]:
    """Return the worth of each row, by lines that were fitted without its source."""
    worths: dict[int, Worth] = {}
    for fold in leave_one_out([item.row.source for item in judged]):
        fails_line, adds_line = fit_lines([judged[index] for index in fold.train_rows])
        for index in fold.held_out_rows:
            item = judged[index]
            constant, slope, numbers = fails_line
            smart_fails = logistic(
                constant + slope * _fails_logit(item) + numbers * _log_numbers(item)
            )
            smart_adds = logistic(adds_line[0] + adds_line[1] * _logit(item.score.fast))
            smart = 1 - smart_fails
            worths[index] = Worth(max(0.0, smart - smart_adds), smart, 1 - smart_fails / 4)
    return [worths[index] for index in range(len(judged))]


def compute_distances(judged: Sequence[JudgedRow], worths: Sequence[Worth]) -> Iterator[str]:
    """Say how far the worth of each tier is from what came: by tenths, and by whole sources."""
    for index, tier in enumerate(TIERS):
        known = [
            (item.row.source, worth[index], item.qualities[index])
            for item, worth in zip(judged, worths, strict=True)
            if index < len(item.qualities)
        ]
        weights = balanced([source for source, _, _ in known])
        bins = [0.0] * BINS
        by_source: dict[str, list[float]] = {}
        for (source, worth_value, quality), weight in zip(known, weights, strict=True):
            bins[min(int(worth_value * BINS), BINS - 1)] += weight * (worth_value - quality)
            by_source.setdefault(source, []).append(worth_value - quality)
        distance = sum(map(abs, bins)) / sum(weights)
        levels = [abs(sum(values) / len(values)) for values in by_source.values()]
        yield f"{tier}: {distance:.3f}, a whole source {sum(levels) / len(levels):.2f}"


# The decisions


def decide_by_thresholds(item: JudgedRow) -> Tier:
    """Return the tier that the classifier's own thresholds give."""
    thresholds = _read_shipped_model().thresholds
    if item.score.fast >= thresholds.fast:
        return "fast"
    return "smart" if item.score.smart >= thresholds.smart else "reasoning"


def decide_by_dial(item: JudgedRow) -> Tier:
    """Return the tier that the dial gives."""
    worth = estimate_worth(item.score, item.row.signals)
    return choose_tier(worth, _COSTS, DIAL_SHARES[POSITION])


def describe_decisions(judged: Sequence[JudgedRow], decide: Callable[[JudgedRow], Tier]) -> str:
    """Return a line of the table: quality kept, cost, chance, and the gain over shuffled picks."""
    three_tiers = [item for item in judged if item.row.reasoning is not None]
    picks = [TIERS.index(decide(item)) for item in three_tiers]
    source_weights = balanced([item.row.source for item in three_tiers])

    def compute_figures(resample: Weights) -> dict[str, float | None]:
        weights = [weight * count for weight, count in zip(source_weights, resample, strict=True)]
        total = sum(weights)
        means = [
            sum(weight * item.qualities[tier] for weight, item in zip(weights, three_tiers, strict=True)) / total
            for tier in range(len(TIERS))
        ]  # fmt: skip
        mix = [0.0] * len(TIERS)
        quality = 0.0
        for weight, item, pick in zip(weights, three_tiers, picks, strict=True):
            mix[pick] += weight / total
            quality += weight * item.qualities[pick] / total
        shuffled = sum(map(float.__mul__, mix, means))
        return {
            "kept": quality / means[-1],
            "cost": sum(map(float.__mul__, mix, _COSTS)) / _COSTS[-1],
            "gain": (quality - shuffled) / means[-1],
            "chance": _find_chance_cost([mean / means[-1] for mean in means], quality / means[-1]),
        }

    found = compute_intervals(compute_figures, len(three_tiers), Random(0), 400)
    return f"{found['kept']} | {found['cost']} | {found['chance']} | {found['gain']}"


def _find_chance_cost(qualities: Sequence[float], kept: float) -> float:
    """Return the cost of the cheapest mix by chance that keeps as much; infinite if none does."""
    kept -= _ROUNDING
    costs = [cost / _COSTS[-1] for cost in _COSTS]
    points = list(zip(qualities, costs, strict=True))
    mixes = [
        low_cost + (high_cost - low_cost) * (kept - low) / (high - low)
        for low, low_cost in points
        for high, high_cost in points
        if low < kept <= high
    ]
    return min([*mixes, *(cost for quality, cost in points if quality >= kept)], default=math.inf)


def main(folder: Path, file: Path | None) -> None:
    """Build the set, write it, and print the figures."""
    rows = outcomes(labels.read_labels(folder / "outcomes.parquet"))
    sources = [row.source for row in rows]
    unseen_sources = judge_unseen(rows, leave_one_out(sources))
    opinions = (folder / "opinions.jsonl").read_bytes().splitlines()
    reference = build_reference(unseen_sources, [jsonio.loads(line)["prompt"] for line in opinions])
    changes = [
        max(abs(new - old) for new, old in zip(worth, before, strict=True))
        for worth, before in zip(reference, list_reference_worths(), strict=True)
    ]
    print(f"{len(reference)} worths; the largest change is {max(changes):.3f}")
    if file is not None:
        write_reference(reference, file)
        list_reference_worths.cache_clear()
    fails_line, adds_line = fit_lines(unseen_sources)
    print("smart fails:", *(f"{value:.3f}" for value in fails_line))
    print("smart adds:", *(f"{value:.3f}" for value in adds_line))
    for line in compute_distances(unseen_sources, predict_unseen(unseen_sources)):
        print("distance of worth from what came,", line)
    print("decided by | quality kept | cost | chance | gain over shuffled")
    print("thresholds, unseen sources |", describe_decisions(unseen_sources, decide_by_thresholds))
    print("the dial, unseen sources |", describe_decisions(unseen_sources, decide_by_dial))
    unseen_prompts = judge_unseen(rows, split_randomly(sources, Random(0)))
    print("the dial, unseen prompts |", describe_decisions(unseen_prompts, decide_by_dial))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
