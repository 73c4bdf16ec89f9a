"""The effect of chance: intervals by resampling, and shuffled routers.

Callers pass the source of randomness: a seeded `random.Random` gives the same figures every time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import mul
from random import Random

import msgspec

type Weights = Sequence[int]
"""The number of times that each row stands in a resample; all ones is the sample itself."""

REPEATS = 1000
CONFIDENCE_LEVEL = 0.95
_MIN_RESAMPLE_SHARE = 0.9
"""The share of the resamples that must have a figure. With fewer there is no interval."""
_POISSON_TABLE = bytes.maketrans(
    bytes(range(256)),
    b"".join(bytes([draw]) * width for draw, width in enumerate((95, 93, 47, 16, 4, 1))),
)
"""The draw of a Poisson variable for each random byte: mean 1, variance 1.008, in 256ths."""


class Interval(msgspec.Struct, frozen=True):
    """A figure with the ends of its interval, at the confidence level that the caller chose."""

    value: float
    low: float
    high: float

    def is_above(self, control: float) -> bool:
        """Return True if the whole interval lies above a control, which may else be chance."""
        return self.low > control

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def make_unit_weights(count: int) -> Weights:
    """Return the weights of the sample itself: each row once."""
    return b"\x01" * count


def draw_resamples(count: int, rng: Random, repeats: int = REPEATS) -> Iterator[Weights]:
    """Yield resamples of `count` rows, in which a Poisson variable says how often each row stands.

    This is the bootstrap whose size varies (Hanley and MacGibbon 2006). For means and ratios of
    means it is as good as a bootstrap that draws `count` rows, and it draws all rows at once.
    Strata need no care, because rows are resampled independently of one another.
    """
    for _ in repeat(None, repeats):
        yield rng.randbytes(count).translate(_POISSON_TABLE)


def compute_intervals[K](
    compute_figures: Callable[[Weights], Mapping[K, float | None]],
    count: int,
    rng: Random,
    repeats: int = REPEATS,
    level: float = CONFIDENCE_LEVEL,
) -> dict[K, Interval | None]:
    """Return percentile intervals for figures that are computed together on each resample.

    An interval is None if the sample has no such figure, or if more than a tenth of the resamples
    have none.
    """
    sample_figures = compute_figures(make_unit_weights(count))
    resampled_values: dict[K, list[float]] = {name: [] for name in sample_figures}
    for weights in draw_resamples(count, rng, repeats):
        for name, value in compute_figures(weights).items():
            if value is not None:
                resampled_values[name].append(value)
    return {
        name: None
        if value is None or len(resampled_values[name]) < _MIN_RESAMPLE_SHARE * repeats
        else make_interval(value, resampled_values[name], level)
        for name, value in sample_figures.items()
    }


def compute_interval(
    compute_figure: Callable[[Weights], float | None],
    count: int,
    rng: Random,
    repeats: int = REPEATS,
    level: float = CONFIDENCE_LEVEL,
) -> Interval | None:
    """Return the interval of one figure, as `compute_intervals` does for several."""
    return compute_intervals(
        lambda weights: {"": compute_figure(weights)}, count, rng, repeats, level
    )[""]


def make_interval(
    value: float, resampled_values: Sequence[float], level: float = CONFIDENCE_LEVEL
) -> Interval:
    """Return a figure with the interval that holds the middle `level` of its resampled values."""
    ordered = sorted(resampled_values)
    tail_share = (1 - level) / 2
    return Interval(
        value, compute_quantile(ordered, tail_share), compute_quantile(ordered, 1 - tail_share)
    )


def compute_quantile(ordered: Sequence[float], share: float) -> float:
    """Return the quantile of ascending values at `share`, interpolated between neighbours."""
    position = share * (len(ordered) - 1)
    lower_index = int(position)
    upper_index = min(lower_index + 1, len(ordered) - 1)
    return ordered[lower_index] + (ordered[upper_index] - ordered[lower_index]) * (
        position - lower_index
    )


def draw_shuffles[T](items: Sequence[T], rng: Random, repeats: int = REPEATS) -> Iterator[list[T]]:
    """Yield the items in random orders: a router with the same mix of picks that knows nothing.

    Every order is the same list, so use it before you take the next.
    """
    order = list(items)
    for _ in repeat(None, repeats):
        rng.shuffle(order)
        yield order


def compute_mean(values: Sequence[float], weights: Weights) -> float | None:
    """Return the mean of a resample; None if the resample is empty."""
    count = sum(weights)
    return sum(map(mul, values, weights)) / count if count else None
