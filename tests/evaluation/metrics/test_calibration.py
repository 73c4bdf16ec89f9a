"""Calibration: bins, error and Brier score of cases worked out by hand."""

import pytest

from gateway.evaluation.metrics.calibration import (
    CalibrationBin,
    CalibrationCurve,
    compute_calibration,
)


def test_bins_have_about_the_same_number_of_rows() -> None:
    found = compute_calibration([0.1, 0.9, 0.2, 0.8], [0, 1, 1, 1], 2)
    assert found is not None
    assert [(one.count, round(one.said, 9), one.came) for one in found.bins] == [
        (2, 0.15, 0.5), (2, 0.85, 1.0),
    ]  # fmt: skip
    assert found.error == pytest.approx((0.35 + 0.15) / 2)
    assert found.brier == pytest.approx((0.01 + 0.01 + 0.64 + 0.04) / 4)


def test_rows_of_one_probability_are_not_parted() -> None:
    found = compute_calibration([0.5] * 9 + [0.7], [True] * 5 + [False] * 4 + [True], 5)
    assert found is not None
    assert [one.count for one in found.bins] == [9, 1]


def test_of_nothing_there_is_none() -> None:
    assert compute_calibration([], []) is None


def test_a_scorer_that_is_right_on_average_has_no_error() -> None:
    found = compute_calibration([0.25] * 4 + [1.0] * 2, [1, 0, 0, 0, 1, 1], 10)
    assert found == CalibrationCurve(
        (CalibrationBin(4, 0.25, 0.25), CalibrationBin(2, 1, 1)), 0, 4 * 0.1875 / 6
    )
