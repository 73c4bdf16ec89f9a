"""Whether probabilities mean what they say."""

from collections.abc import Sequence

import msgspec


class CalibrationBin(msgspec.Struct, frozen=True):
    """Rows of about the same probability."""

    count: int
    said: float
    """The mean of their probabilities."""
    came: float
    """The mean of what came: the share of them that were so."""


class CalibrationCurve(msgspec.Struct, frozen=True):
    """Probabilities held against what came."""

    bins: tuple[CalibrationBin, ...]
    error: float
    """The mean distance between what was said and what came, over the bins by their rows."""
    brier: float
    """The mean squared distance, row by row: 0 is best, a coin that says 1/2 has 1/4."""


def compute_calibration(
    predicted: Sequence[float], observed: Sequence[bool | float], bin_count: int = 10
) -> CalibrationCurve | None:
    """Bins of equal numbers of rows, the least probable first; None of no rows.

    Rows of one probability are never parted: there may be fewer bins.
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
