"""Calibrate the probabilities of a judge on outcomes, and check that they say more than chance.

The module is pure: a judge's scores and outcomes in, lines and figures out. The figures after
calibration are of prompts that the line has not seen. An expected calibration error alone says
little: a judge that always gives the base rate has none. So the Brier score must also be lower than
with the judge's answers dealt to other prompts (the shuffled control).
"""

from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

import msgspec

from gateway.core.decision_context import Score
from gateway.evaluation.labels import Label
from gateway.evaluation.metrics.calibration import CalibrationCurve, compute_calibration
from gateway.evaluation.metrics.logit_line import fit_line
from gateway.routing.judge_calibration import JudgeCalibration, ProbabilityLine, compute_logit

MIN_OUTCOMES = 50
"""The number of outcomes that a probability needs to be calibrated."""
FOLDS = 5
SHUFFLES = 19
"""The number of shuffled controls: by chance, the judge is better than all of them once in 20."""
_DIGITS = 4


class JudgedOutcome(NamedTuple):
    """A prompt that a judge has scored, and what came of it."""

    score: Score
    """The score as the judge gave it."""
    fast: float | None
    """The extent to which the fast tier sufficed, 0 to 1; None if unknown."""
    smart: float | None
    """The extent to which the smart tier sufficed, 0 to 1; None if unknown."""


class LineResult(msgspec.Struct, frozen=True, kw_only=True):
    """The calibration of one probability."""

    name: str
    rows: int
    line: ProbabilityLine | None = None
    before: CalibrationCurve | None = None
    after: CalibrationCurve | None = None
    """The curve of prompts that the line has not seen."""
    shuffled_brier: float | None = None
    """The lowest Brier score of the shuffled controls."""
    refused: str = ""
    """The reason why the judge tells nothing here; empty if it does."""


class CalibrationResult(msgspec.Struct, frozen=True, kw_only=True):
    """The calibration of a judge."""

    fast: LineResult
    smart: LineResult

    @property
    def calibration(self) -> JudgeCalibration | None:
        """The calibration; None if the judge tells nothing for one of both probabilities."""
        fast, smart = self.fast, self.smart
        if fast.refused or smart.refused or fast.line is None or smart.line is None:
            return None
        return JudgeCalibration(fast=fast.line, smart=smart.line)


def find_outcome(label: Label) -> tuple[float | None, float | None]:
    """Return the extent to which fast and smart suffice for a label's prompt; None if unknown.

    A tier that somebody gave counts as if it sufficed and lower ones failed. A score of fast and
    smart shows if fast suffices; how much reasoning does better shows if smart does.
    """
    scores, tier = label.scores, label.tier
    if not label.has_outcome and tier is not None:
        return float(tier == "fast"), float(tier != "reasoning")
    fast, smart, reasoning = (scores.get(name) for name in ("fast", "smart", "reasoning"))
    fast_suffices = None if fast is None or smart is None else float(fast >= smart)
    if smart is None or reasoning is None:
        return fast_suffices, None
    return fast_suffices, 1 - min(max(reasoning - smart, 0.0), 1.0)


def calibrate_judge(outcomes: Iterable[JudgedOutcome], rng: Random) -> CalibrationResult:
    """Calibrate both probabilities of a judge."""
    rows = [*outcomes]
    fast = [(row.score.fast, row.fast) for row in rows if row.fast is not None]
    smart = [(row.score.smart, row.smart) for row in rows if row.smart is not None]
    return CalibrationResult(
        fast=_calibrate("fast", fast, rng), smart=_calibrate("smart", smart, rng)
    )


def _calibrate(name: str, pairs: Sequence[tuple[float, float]], rng: Random) -> LineResult:
    """Calibrate one probability, given with its outcomes."""
    result = LineResult(name=name, rows=len(pairs))
    if len(pairs) < MIN_OUTCOMES:
        refused = f"{len(pairs)} outcomes tell if {name} suffices; {MIN_OUTCOMES} are needed"
        return msgspec.structs.replace(result, refused=refused)
    probabilities = [probability for probability, _ in pairs]
    observed = [outcome for _, outcome in pairs]
    after = compute_calibration(_calibrate_unseen(probabilities, observed, rng), observed)
    briers = [_measure_shuffled(probabilities, observed, rng) for _ in range(SHUFFLES)]
    result = msgspec.structs.replace(
        result,
        line=_fit(probabilities, observed),
        before=compute_calibration(probabilities, observed),
        after=after,
        shuffled_brier=min(briers),
    )
    if after is None or after.brier < min(briers):
        return result
    refused = f"it tells no more than chance if {name} suffices"
    return msgspec.structs.replace(result, refused=refused)


def _fit(probabilities: Sequence[float], observed: Sequence[float]) -> ProbabilityLine:
    """Return the line of a probability. A judge that is wrong more often than right gets none."""
    logits = [compute_logit(probability) for probability in probabilities]
    line = fit_line(logits, observed, [1.0] * len(observed), first_slope=0.0)
    return ProbabilityLine(round(max(line.slope, 0.0), _DIGITS), round(line.level, _DIGITS))


def _calibrate_unseen(
    probabilities: Sequence[float], observed: Sequence[float], rng: Random
) -> list[float]:
    """Return each probability calibrated by a line that has not seen its outcome."""
    order = list(range(len(observed)))
    rng.shuffle(order)
    calibrated = [0.0] * len(observed)
    for fold in range(FOLDS):
        held_out = order[fold::FOLDS]
        others = [row for part in range(FOLDS) if part != fold for row in order[part::FOLDS]]
        line = _fit([probabilities[row] for row in others], [observed[row] for row in others])
        for row in held_out:
            calibrated[row] = line.apply(probabilities[row])
    return calibrated


def _measure_shuffled(
    probabilities: Sequence[float], observed: Sequence[float], rng: Random
) -> float:
    """Return the Brier score with the judge's answers dealt to other prompts."""
    dealt = list(probabilities)
    rng.shuffle(dealt)
    curve = compute_calibration(_calibrate_unseen(dealt, observed, rng), observed)
    return 1.0 if curve is None else curve.brier
