"""Calibration: predicted probabilities compared with outcomes."""

from collections.abc import Sequence

import msgspec


class CalibrationBin(msgspec.Struct, frozen=True):
    """Rows with about the same predicted probability."""

    count: int
    said: float
    """The mean of their predicted probabilities."""
    came: float
    """The mean of their outcomes: the share of the rows that came true."""


class CalibrationCurve(msgspec.Struct, frozen=True):
    """Predicted probabilities compared with outcomes."""

    bins: tuple[CalibrationBin, ...]
    error: float
    """The mean distance between `said` and `came` of the bins, weighted by their rows."""
    brier: float
    """The Brier score, the mean squared distance by row: 0 is best, always 1/2 gives 1/4."""


def compute_calibration(
    predicted: Sequence[float], observed: Sequence[bool | float], bin_count: int = 10
) -> CalibrationCurve | None:
    """Return the calibration curve, the least probable bin first; None if there are no rows.

    Bins have about equally many rows. Rows of one probability stay in one bin, so there may be
    fewer bins than `bin_count`.
    """
    if not predicted:
        return None
    order = sorted(range(len(predicted)), key=predicted.__getitem__)
    curve_bins: list[CalibrationBin] = []
    start = 0
    for bin_number in range(1, bin_count + 1):
        end = max(start, bin_number * len(order) // bin_count)
        while 0 < end < len(order) and predicted[order[end]] == predicted[order[end - 1]]:
            end += 1
        rows = order[start:end]
        if rows:
            total = len(rows)
            curve_bins.append(
                CalibrationBin(
                    total,
                    sum(predicted[row] for row in rows) / total,
                    sum(observed[row] for row in rows) / total,
                )
            )
        start = end
    error = sum(
        curve_bin.count * abs(curve_bin.said - curve_bin.came) for curve_bin in curve_bins
    ) / len(order)
    brier = sum(
        (probability - outcome) ** 2
        for probability, outcome in zip(predicted, observed, strict=True)
    ) / len(order)
    return CalibrationCurve(tuple(curve_bins), error, brier)
