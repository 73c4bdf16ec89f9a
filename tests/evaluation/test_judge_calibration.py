"""A judge's probabilities against outcomes: miscalibration is found, and chance is no calibration."""

from math import exp
from random import Random

import pytest

from gateway.core.decision_context import Score
from gateway.evaluation.judge_calibration import (
    MIN_OUTCOMES,
    CalibrationResult,
    JudgedOutcome,
    calibrate_judge,
    find_outcome,
)
from gateway.evaluation.labels import Label
from gateway.evaluation.metrics.logit_line import fit_line
from gateway.routing.judge_calibration import JudgeCalibration, ProbabilityLine


def draw(count: int, slope: float, level: float, seed: int = 1) -> list[JudgedOutcome]:
    """Draw prompts of a judge whose true probabilities have this line over its own ones."""
    rng = Random(seed)
    line = ProbabilityLine(slope, level)
    rows = []
    for _ in range(count):
        fast = rng.random()
        smart = fast + (1 - fast) * rng.random()
        fast_suffices = float(rng.random() < line.apply(fast))
        smart_suffices = float(rng.random() < line.apply(smart))
        rows.append(JudgedOutcome(Score(fast, smart), fast_suffices, smart_suffices))
    return rows


def test_a_judge_that_is_too_sure_is_calibrated() -> None:
    result = calibrate_judge(draw(1_000, 0.4, -0.5), Random(1))
    for line in (result.fast, result.smart):
        assert line.before is not None
        assert line.after is not None
        assert line.line is not None
        assert line.shuffled_brier is not None
        assert line.before.error > 0.1
        assert line.after.error < 0.04
        assert line.after.brier < min(line.before.brier, line.shuffled_brier)
        assert line.line.slope == pytest.approx(0.4, abs=0.12)
        assert line.line.level == pytest.approx(-0.5, abs=0.25)
    assert result.calibration == JudgeCalibration(fast=result.fast.line, smart=result.smart.line)  # type: ignore[arg-type]


def test_a_judge_that_is_calibrated_stays_as_it_is() -> None:
    result = calibrate_judge(draw(2_000, 1, 0), Random(1))
    assert result.fast.line is not None
    assert (result.fast.line.slope, result.fast.line.level) == pytest.approx((1, 0), abs=0.15)


@pytest.mark.parametrize("seed", range(4))
def test_a_judge_that_knows_nothing_gets_no_calibration(seed: int) -> None:
    """Its calibration error is near 0 after calibration, and so is that of its shuffled control."""
    rows = draw(400, 0, 0.3, seed)
    result = calibrate_judge(rows, Random(seed))
    assert result.fast.refused == "it tells no more than chance if fast suffices" or (
        result.smart.refused
    )
    assert result.calibration is None
    assert result.fast.after is not None
    assert result.fast.after.error < 0.12


def test_a_judge_that_is_mostly_wrong_gets_no_calibration() -> None:
    result = calibrate_judge(draw(1_000, -1, 0), Random(1))
    assert result.fast.line is not None
    assert (result.fast.line.slope, result.calibration) == (0, None)


def test_too_few_outcomes_give_no_calibration() -> None:
    rows = draw(MIN_OUTCOMES, 1, 0)
    without_smart = [row._replace(smart=None) for row in rows]
    result = calibrate_judge(without_smart, Random(1))
    assert result.smart.refused == f"0 outcomes tell if smart suffices; {MIN_OUTCOMES} are needed"
    assert (result.fast.rows, result.calibration) == (MIN_OUTCOMES, None)
    assert isinstance(calibrate_judge([], Random(1)), CalibrationResult)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (Label(prompt="x", tier="fast"), (1, 1)),
        (Label(prompt="x", tier="smart"), (0, 1)),
        (Label(prompt="x", tier="reasoning"), (0, 0)),
        (Label(prompt="x", scores={"fast": 1, "smart": 1}), (1, None)),
        (Label(prompt="x", scores={"fast": 0, "smart": 1}), (0, None)),
        (Label(prompt="x", scores={"fast": 1, "smart": 0.5, "reasoning": 1}), (1, 0.5)),
        (Label(prompt="x", scores={"smart": 1, "reasoning": 0}), (None, 1)),
        (Label(prompt="x", scores={"fast": 1}, tier="reasoning"), (None, None)),
        (Label(prompt="x"), (None, None)),
    ],
)
def test_a_label_tells_which_tiers_suffice(
    label: Label, expected: tuple[float | None, float | None]
) -> None:
    assert find_outcome(label) == expected


def test_a_fitted_line_gives_the_probabilities_of_its_outcomes() -> None:
    rng = Random(3)
    numbers = [rng.gauss(0, 2) for _ in range(5_000)]
    line = ProbabilityLine(0.7, -0.2)
    outcomes = [float(rng.random() < line.apply(1 / (1 + exp(-number)))) for number in numbers]
    for first_slope in (0.0, 1.0):
        fitted = fit_line(numbers, outcomes, [1.0] * len(numbers), first_slope=first_slope)
        assert (fitted.slope, fitted.level) == pytest.approx((0.7, -0.2), abs=0.08)


def test_from_a_slope_that_is_far_too_steep_no_line_is_found() -> None:
    """The outcomes have nothing to do with the numbers, so their line is nearly level."""
    numbers, outcomes = [-7.0, -6.0, -5.0, 5.0, 6.0, 7.0] * 10, [1.0, 0.0, 1.0, 0.0, 0.0, 1.0] * 10
    weights = [1.0] * len(numbers)
    assert abs(fit_line(numbers, outcomes, weights, first_slope=0.0).slope) < 0.2
    assert abs(fit_line(numbers, outcomes, weights, first_slope=5.0).slope) > 5
