"""The calibration of a judge: lines over logits, with fast never above smart."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.decision_context import Score
from gateway.routing.judge_calibration import JudgeCalibration, ProbabilityLine

LINES = st.builds(ProbabilityLine, st.floats(0, 10), st.floats(-20, 20))


@given(LINES, LINES, st.floats(0, 1), st.floats(0, 1))
def test_a_calibrated_score_is_a_score(
    fast: ProbabilityLine, smart: ProbabilityLine, one: float, other: float
) -> None:
    score = JudgeCalibration(fast=fast, smart=smart).apply(Score(min(one, other), max(one, other)))
    assert 0 <= score.fast <= score.smart <= 1


def test_the_line_without_effect_changes_nothing_between_its_ends() -> None:
    score = JudgeCalibration().apply(Score(0.2, 0.9))
    assert (score.fast, score.smart) == pytest.approx((0.2, 0.9))
    assert ProbabilityLine().apply(0) == pytest.approx(0.001)
    assert ProbabilityLine().apply(1) == pytest.approx(0.999)


def test_a_small_slope_makes_a_judge_less_sure() -> None:
    assert ProbabilityLine(0.5, 0).apply(0.9) == pytest.approx(0.75)
    assert ProbabilityLine(0, 0).apply(0.9) == pytest.approx(0.5)


def test_a_level_moves_the_logit() -> None:
    assert ProbabilityLine(1, 2).apply(0.5) == pytest.approx(0.880797, abs=1e-6)
    assert ProbabilityLine(2, -1).apply(0.9) == pytest.approx(0.967531, abs=1e-6)


def test_a_logit_beyond_30_counts_as_30() -> None:
    """An exponential of more would overflow."""
    most = 1 / (1 + math.exp(-30))
    assert ProbabilityLine(1, 2_000).apply(0.5) == most
    assert ProbabilityLine(1, -2_000).apply(0.5) == 1 / (1 + math.exp(30))
    assert ProbabilityLine(1, 30).apply(0.5) == most
    assert ProbabilityLine(1, 29.5).apply(0.5) < most


def test_each_probability_has_a_line_of_its_own_and_fast_is_never_above_smart() -> None:
    calibration = JudgeCalibration(fast=ProbabilityLine(0.5), smart=ProbabilityLine(0, 1))
    score = calibration.apply(Score(0.9, 0.95))
    assert (score.fast, score.smart) == pytest.approx((0.731059, 0.731059), abs=1e-6)
    score = calibration.apply(Score(0.1, 0.95))
    assert (score.fast, score.smart) == pytest.approx((0.25, 0.731059), abs=1e-6)
