"""The calibration of a judge: lines over logits, with fast never above smart."""

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
