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


def calibration(
    said: Sequence[float], came: Sequence[bool | float], bins: int = 10
) -> CalibrationCurve | None:
    """Bins of equal numbers of rows, the least probable first; None of no rows.

    Rows of one probability are never parted: there may be fewer bins.
    """
    if not said:
        return None
    order = sorted(range(len(said)), key=said.__getitem__)
    found: list[CalibrationBin] = []
    start = 0
    for number in range(1, bins + 1):
        end = max(start, number * len(order) // bins)
        while 0 < end < len(order) and said[order[end]] == said[order[end - 1]]:
            end += 1
        rows = order[start:end]
        if rows:
            total = len(rows)
            found.append(
                CalibrationBin(
                    total,
                    sum(said[at] for at in rows) / total,
                    sum(came[at] for at in rows) / total,
                )
            )
        start = end
    error = sum(one.count * abs(one.said - one.came) for one in found) / len(order)
    brier = sum((p - c) ** 2 for p, c in zip(said, came, strict=True)) / len(order)
    return CalibrationCurve(tuple(found), error, brier)
