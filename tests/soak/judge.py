"""Judge samples of a process: does it grow, and what does it have more of in the end."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MOST_GROWTH = 1.0
"""MB a minute."""
_MORE = 6
"""Descriptors and tasks by which a median may differ: calls that run at that moment."""


@dataclass(frozen=True)
class Sample:
    """One sample of a process."""

    at: float
    """Seconds since the beginning."""
    resident: int
    """Bytes."""
    files: int
    tasks: int


def slope(samples: Sequence[Sample]) -> float:
    """Return MB a minute: the median slope of all pairs (Theil, Sen).

    A few samples cannot move it.
    """
    slopes = [
        (two.resident - sample.resident) / (two.at - sample.at)
        for number, sample in enumerate(samples)
        for two in samples[number + 1 :]
        if two.at > sample.at
    ]
    return statistics.median(slopes) * 60 / 1e6 if slopes else 0.0


def judge(samples: Sequence[Sample], warm: float) -> tuple[list[str], list[str]]:
    """Return figures, and mistakes among them. The first `warm` seconds do not count."""
    counted = [sample for sample in samples if sample.at >= warm]
    quarter = max(1, len(counted) // 4)
    first, last = counted[:quarter], counted[-quarter:]
    grown = slope(counted)
    files, tasks = (
        statistics.median(getattr(sample, name) for sample in last)
        - statistics.median(getattr(sample, name) for sample in first)
        for name in ("files", "tasks")
    )
    megabytes = [sample.resident / 1e6 for sample in samples]
    figures = [
        f"memory: {megabytes[0]:.1f} MB at first, {megabytes[-1]:.1f} in the end, {max(megabytes):.1f} at most",
        f"memory, after {warm:.0f} s: {grown:+.3f} MB a minute in {len(counted)} samples (less than {MOST_GROWTH:g})",
        f"descriptors, last quarter against first: {files:+.0f}; tasks: {tasks:+.0f}",
    ]
    wrong = [] if grown < MOST_GROWTH else [f"it grows by {grown:.3f} MB a minute"]
    wrong += [f"{files:+.0f} descriptors"] if files > _MORE else []
    wrong += [f"{tasks:+.0f} tasks"] if tasks > _MORE else []
    return figures, wrong
