"""Measure ways to learn from an owner's prompts, each beside its shuffled control.

    python -m bench.learning FOLDER

FOLDER holds outcomes.parquet. Each source is left out once: a base is trained on the other sources
and on the written prompts. Then the base alone, a simulated judge, exemplars and a refit rank the
prompts of that source. The control of each is taught, or told, by the same labels shuffled.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from random import Random

import msgspec

from bench import simulated_judge
from gateway.core.decision_context import Score
from gateway.core.target import Tier
from gateway.evaluation import labels
from gateway.evaluation.labels import Label
from gateway.evaluation.metrics.bootstrap import Interval
from gateway.evaluation.metrics.calibration import compute_calibration
from gateway.evaluation.metrics.cross_validation import Fold, leave_one_out
from gateway.evaluation.metrics.method_scores import (
    JudgedRows,
    MethodRun,
    MethodScores,
    score_method,
)
from gateway.evaluation.training import base_model, fit, train
from gateway.evaluation.training.dataset import (
    TrainingRow,
    compute_needs,
    list_placed,
    read_rows,
)
from gateway.evaluation.training.own_labels import OUTCOME, OwnLabel
from gateway.evaluation.training.refit import refit
from gateway.evaluation.training.refit_trial import shuffle_labels
from gateway.evaluation.training.validation import OWN_LABELS, split_own_labels
from gateway.routing.classifier.exemplars import Exemplar, ExemplarClassifier
from gateway.routing.classifier.learned import LearnedClassifier

WRITTEN_PROMPTS = Path(__file__).parent / "written_prompts"
SEED = 1
EXEMPLARS = 50
"""The number of labelled prompts of a source that become exemplars."""
_CALIBRATION_ANSWERS = 500
_UNSURE_SHARE = 0.5
"""The share of the prompts, those of the least sure local score, on which the judge is asked."""
METHODS = {
    "local": "local score",
    "judge": "judge, always asked",
    "judge calibrated": "the same, calibrated",
    "judge unsure": "judge, asked on the unsure half",
    "judge unsure calibrated": "the same, calibrated",
    "exemplars": f"{EXEMPLARS} exemplars by words",
    "refit": f"refit with {OWN_LABELS} labels",
}
"""The ways to rank prompts, in the order of the table, with their names there."""


class LearningPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a measurement."""

    training: fit.TrainingPlan = fit.SHIPPED
    draws: int = 5
    """The number of times that labels, exemplars and a judge's answers are drawn."""
    repeats: int = 300
    """The number of resamples for the intervals."""


class SourceRuns(msgspec.Struct, frozen=True, kw_only=True):
    """The results on one left-out source: the base's needs and the runs of each way."""

    rows: Sequence[int]
    base_needs: Sequence[float]
    runs: Sequence[tuple[str, MethodRun]]


class JudgeCalibration(msgspec.Struct, frozen=True, kw_only=True):
    """The accuracy of the simulated judge on all prompts, and its two calibration errors."""

    accuracy: float
    error: float
    calibrated_error: float


class LearningFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The scores of each way, and the judge's calibration."""

    scores: dict[str, MethodScores]
    judge: JudgeCalibration


def measure_source(
    scored_labels: Sequence[Label], placed: Sequence[TrainingRow], plan: LearningPlan, fold: Fold
) -> SourceRuns:
    """Judge all ways on the prompts of a left-out source."""
    scored = read_rows(scored_labels)
    train_rows = [scored[index] for index in fold.train_rows]
    rows = [scored[index] for index in fold.held_out_rows]
    formula = base_model.refit(train_rows)
    model = train.learn([*train_rows, *placed], plan.training, SEED).model
    base = LearnedClassifier(model, formula)
    scores = [base.score_features(row.features, row.signals) for row in rows]
    needs = compute_needs(model, rows, formula)
    prompts = [scored_labels[index].prompt for index in fold.held_out_rows]
    runs: list[tuple[str, MethodRun]] = []

    def add(
        method: str, judged: Sequence[int], own: Sequence[float], control: Sequence[float]
    ) -> None:
        run_rows = [fold.held_out_rows[index] for index in judged]
        run = MethodRun(source=fold.name, rows=run_rows, needs=own, control_needs=control)
        runs.append((method, run))

    everything = range(len(rows))
    for draw in range(plan.draws):
        random = Random(f"{SEED} {fold.name} {draw}")
        add("local", everything, needs, random.sample(needs, len(needs)))
        for method, own, control in _ask_judge(train_rows, rows, scores, random):
            add(method, everything, own, control)
        split = split_own_labels(len(rows), random)
        fitted = [
            refit(model, [label.row for label in own_labels], SEED, formula)
            for own_labels in _draw_own_labels([rows[index] for index in split.labelled], random)
        ]
        rest = [rows[index] for index in split.rest]
        add("refit", split.rest, *(compute_needs(item, rest, formula) for item in fitted))
        split = split_own_labels(len(rows), random, EXEMPLARS)
        tiers: list[Tier] = [
            "smart" if rows[index].gain > 0 else "fast" for index in split.labelled
        ]
        texts = [prompts[index] for index in split.labelled]
        exemplar_needs = []
        for drawn_tiers in (tiers, random.sample(tiers, len(tiers))):
            exemplars = [
                Exemplar(str(index), text, tier)
                for index, (text, tier) in enumerate(zip(texts, drawn_tiers, strict=True))
            ]
            classifier = ExemplarClassifier(exemplars, base)
            exemplar_needs.append(
                [-classifier.score(prompts[at], rows[at].signals).fast for at in split.rest]
            )
        add("exemplars", split.rest, *exemplar_needs)
    return SourceRuns(rows=fold.held_out_rows, base_needs=needs, runs=runs)


def _draw_own_labels(rows: Sequence[TrainingRow], random: Random) -> Iterator[list[OwnLabel]]:
    """Yield the labels, and the same prompts with shuffled labels."""
    own_labels = [OwnLabel(row=row, origin=OUTCOME) for row in rows]
    yield own_labels
    yield shuffle_labels(own_labels, random)


def _ask_judge(
    train_rows: Sequence[TrainingRow],
    rows: Sequence[TrainingRow],
    scores: Sequence[Score],
    random: Random,
) -> Iterator[tuple[str, list[float], list[float]]]:
    """Yield the needs by a judge, and by its answers shuffled among the prompts that it is asked.

    Its calibration is fitted on prompts of other sources.
    """
    asked_elsewhere = random.sample(train_rows, min(_CALIBRATION_ANSWERS, len(train_rows)))
    outcomes = [row.gain > 0 for row in asked_elsewhere]
    line = simulated_judge.fit_calibration(simulated_judge.draw_answers(outcomes, random), outcomes)
    local = [1 - score.fast for score in scores]
    by_doubt = sorted(range(len(rows)), key=lambda index: abs(local[index] - 0.5))
    unsure = by_doubt[: round(_UNSURE_SHARE * len(rows))]
    stated = simulated_judge.draw_answers([row.gain > 0 for row in rows], random)
    calibrated = simulated_judge.apply_calibration(stated, line)
    for method, asked in (("judge", by_doubt), ("judge unsure", unsure)):
        shuffled = random.sample(asked, len(asked))
        for name, answers in ((method, stated), (f"{method} calibrated", calibrated)):
            own, control = list(local), list(local)
            for index, other in zip(asked, shuffled, strict=True):
                own[index], control[index] = answers[index], answers[other]
            yield name, own, control


def measure(
    scored_labels: Sequence[Label], placed: Sequence[TrainingRow], plan: LearningPlan
) -> LearningFigures:
    """Measure all ways on all sources; each label must have scores of fast and smart."""
    rows = read_rows(scored_labels)
    folds = list(leave_one_out([row.source for row in rows]))
    with ProcessPoolExecutor() as pool:
        results = list(pool.map(partial(measure_source, scored_labels, placed, plan), folds))
    base_needs = [0.0] * len(rows)
    for result in results:
        for index, need in zip(result.rows, result.base_needs, strict=True):
            base_needs[index] = need
    judged = JudgedRows(
        fast=[row.fast for row in rows], smart=[row.smart for row in rows], base_needs=base_needs
    )
    runs = [item for result in results for item in result.runs]
    return LearningFigures(
        scores={
            method: score_method(
                [run for name, run in runs if name == method], judged, Random(SEED), plan.repeats
            )
            for method in METHODS
        },
        judge=_measure_judge(rows, runs),
    )


def _measure_judge(
    rows: Sequence[TrainingRow], runs: Sequence[tuple[str, MethodRun]]
) -> JudgeCalibration:
    errors = {}
    accuracy = 0.0
    for method in ("judge", "judge calibrated"):
        pairs = [
            (need, rows[row].gain > 0)
            for name, run in runs
            if name == method
            for row, need in zip(run.rows, run.needs, strict=True)
        ]
        curve = compute_calibration([need for need, _ in pairs], [fails for _, fails in pairs])
        errors[method] = 0.0 if curve is None else curve.error
        if method == "judge":
            accuracy = sum((need > 0.5) == fails for need, fails in pairs) / len(pairs)
    return JudgeCalibration(
        accuracy=accuracy, error=errors["judge"], calibrated_error=errors["judge calibrated"]
    )


def format_table(figures: LearningFigures) -> str:
    """Return the figures as a table of Markdown, with a line about the judge."""
    sources = list(figures.scores["local"].sources)
    head = ["", *(f"`{name}`" for name in sources), "mean", "shuffled control", "gain over local"]
    lines = [head, ["---"] * len(head)]
    for method, name in METHODS.items():
        scores = figures.scores[method]
        by_source = [_format_value(scores.sources[source]) for source in sources]
        lines.append(
            [
                name,
                *by_source,
                _format_interval(scores.mean),
                _format_interval(scores.control),
                "" if method == "local" else _format_gain(scores.gain),
            ]
        )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    judge = figures.judge
    return (
        f"{table}\n\nThe simulated judge is right on {judge.accuracy:.0%} of the prompts; its"
        f" calibration error is {judge.error:.2f}, and {judge.calibrated_error:.2f} calibrated."
    )


def _format_value(interval: Interval | None) -> str:
    return "unknown" if interval is None else f"{interval.value:.3f}"


def _format_interval(interval: Interval | None) -> str:
    return "unknown" if interval is None else str(interval)


def _format_gain(interval: Interval | None) -> str:
    if interval is None:
        return "unknown"
    return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of docs/classifier.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.learning", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of outcomes.parquet")
    parser.add_argument("--draws", type=int, default=LearningPlan().draws)
    parser.add_argument("--repeats", type=int, default=LearningPlan().repeats)
    given = parser.parse_args(arguments)
    outcomes = labels.read_labels(given.folder / "outcomes.parquet")
    written = read_rows(
        label
        for file in sorted(WRITTEN_PROMPTS.glob("*.jsonl"))
        for label in labels.read_labels(file)
    )
    plan = LearningPlan(draws=given.draws, repeats=given.repeats)
    sys.stdout.write(format_table(measure(outcomes, list_placed(written), plan)) + "\n")


if __name__ == "__main__":
    main()
