"""What chance alone does: intervals by resampling, and routers that are shuffled.

Randomness is an argument: a seeded `random.Random` gives the same figures every time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import mul
from random import Random

import msgspec

type Weights = Sequence[int]
"""How often each row stands in a resample; all ones is the sample itself."""

REPEATS = 1000
CONFIDENCE_LEVEL = 0.95
_MIN_RESAMPLE_SHARE = 0.9
"""Share of the resamples that must have a figure; where fewer have, no interval can be told."""
_POISSON_TABLE = bytes.maketrans(
    bytes(range(256)),
    b"".join(bytes([draw]) * width for draw, width in enumerate((95, 93, 47, 16, 4, 1))),
)
"""From a random byte to a draw of a Poisson variable of mean 1 (variance 1.008), in 256ths."""


class Interval(msgspec.Struct, frozen=True):
    """A figure, and where it lies with the probability that was asked for."""

    value: float
    low: float
    high: float

    def is_above(self, control: float) -> bool:
        """Whether all of it lies above a control: what it contains may be chance."""
        return self.low > control

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def make_unit_weights(count: int) -> Weights:
    """The sample itself."""
    return b"\x01" * count


def draw_resamples(count: int, rng: Random, repeats: int = REPEATS) -> Iterator[Weights]:
    """Resamples of `count` rows, each row drawn so often as a Poisson variable says.

    That is the bootstrap whose size varies (Hanley and MacGibbon 2006), which for means and ratios
    of means is as good as the one that draws `count` rows, and needs no draw one by one. Strata
    need no care: each is resampled by itself, whatever the others are.
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
    """Percentile intervals of figures that one resample gives together.

    None where the sample has no such figure, or more than a tenth of its resamples have none.
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
    """As `compute_intervals`, of one figure."""
    return compute_intervals(
        lambda weights: {"": compute_figure(weights)}, count, rng, repeats, level
    )[""]


def make_interval(
    value: float, resampled_values: Sequence[float], level: float = CONFIDENCE_LEVEL
) -> Interval:
    """A figure with the middle `level` of what was drawn."""
    ordered = sorted(resampled_values)
    tail_share = (1 - level) / 2
    return Interval(
        value, compute_quantile(ordered, tail_share), compute_quantile(ordered, 1 - tail_share)
    )


def compute_quantile(ordered: Sequence[float], share: float) -> float:
    """Of ascending values, between neighbours in proportion."""
    position = share * (len(ordered) - 1)
    lower_index = int(position)
    upper_index = min(lower_index + 1, len(ordered) - 1)
    return ordered[lower_index] + (ordered[upper_index] - ordered[lower_index]) * (
        position - lower_index
    )


def draw_shuffles[T](items: Sequence[T], rng: Random, repeats: int = REPEATS) -> Iterator[list[T]]:
    """The items in random orders: a router that picks as often, and knows nothing."""
    order = list(items)
    for _ in repeat(None, repeats):
        rng.shuffle(order)
        yield order


def compute_mean(values: Sequence[float], weights: Weights) -> float | None:
    """The mean of a resample; None where nothing is in it."""
    count = sum(weights)
    return sum(map(mul, values, weights)) / count if count else None
