"""Calibration: bins, error and Brier score of cases worked out by hand."""

import pytest

from gateway.evaluation.metrics.calibration import (
    CalibrationBin,
    CalibrationCurve,
    compute_calibration,
)


def test_bins_have_about_the_same_number_of_rows() -> None:
    curve = compute_calibration([0.1, 0.9, 0.2, 0.8], [0, 1, 1, 1], 2)
    assert curve is not None
    assert [(bucket.count, round(bucket.said, 9), bucket.came) for bucket in curve.bins] == [
        (2, 0.15, 0.5), (2, 0.85, 1.0),
    ]  # fmt: skip
    assert curve.error == pytest.approx((0.35 + 0.15) / 2)
    assert curve.brier == pytest.approx((0.01 + 0.01 + 0.64 + 0.04) / 4)


def test_rows_of_one_probability_share_a_bin() -> None:
    curve = compute_calibration([0.5] * 9 + [0.7], [True] * 5 + [False] * 4 + [True], 5)
    assert curve is not None
    assert [bucket.count for bucket in curve.bins] == [9, 1]


def test_no_rows_have_no_calibration() -> None:
    assert compute_calibration([], []) is None


def test_a_scorer_that_is_right_on_average_has_no_error() -> None:
    curve = compute_calibration([0.25] * 4 + [1.0] * 2, [1, 0, 0, 0, 1, 1], 10)
    assert curve == CalibrationCurve(
        (CalibrationBin(4, 0.25, 0.25), CalibrationBin(2, 1, 1)), 0, 4 * 0.1875 / 6
    )
