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
LEVEL = 0.95
_LEAST = 0.9
"""Share of the resamples that must have a figure; where fewer have, no interval can be told."""
_POISSON = bytes.maketrans(
    bytes(range(256)), b"".join(bytes([at]) * n for at, n in enumerate((95, 93, 47, 16, 4, 1)))
)
"""From a random byte to a draw of a Poisson variable of mean 1 (variance 1.008), in 256ths."""


class Interval(msgspec.Struct, frozen=True):
    """A figure, and where it lies with the probability that was asked for."""

    value: float
    low: float
    high: float

    def above(self, control: float) -> bool:
        """Whether all of it lies above a control: what it contains may be chance."""
        return self.low > control

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def ones(count: int) -> Weights:
    """The sample itself."""
    return b"\x01" * count


def resamples(count: int, chance: Random, repeats: int = REPEATS) -> Iterator[Weights]:
    """Resamples of `count` rows, each row drawn so often as a Poisson variable says.

    That is the bootstrap whose size varies (Hanley and MacGibbon 2006), which for means and ratios
    of means is as good as the one that draws `count` rows, and needs no draw one by one. Strata
    need no care: each is resampled by itself, whatever the others are.
    """
    for _ in repeat(None, repeats):
        yield chance.randbytes(count).translate(_POISSON)


def intervals[K](
    figures: Callable[[Weights], Mapping[K, float | None]],
    count: int,
    chance: Random,
    repeats: int = REPEATS,
    level: float = LEVEL,
) -> dict[K, Interval | None]:
    """Percentile intervals of figures that one resample gives together.

    None where the sample has no such figure, or more than a tenth of its resamples have none.
    """
    found = figures(ones(count))
    drawn: dict[K, list[float]] = {name: [] for name in found}
    for weights in resamples(count, chance, repeats):
        for name, value in figures(weights).items():
            if value is not None:
                drawn[name].append(value)
    return {
        name: None
        if value is None or len(drawn[name]) < _LEAST * repeats
        else between(value, drawn[name], level)
        for name, value in found.items()
    }


def interval(
    figure: Callable[[Weights], float | None],
    count: int,
    chance: Random,
    repeats: int = REPEATS,
    level: float = LEVEL,
) -> Interval | None:
    """As `intervals`, of one figure."""
    return intervals(lambda weights: {"": figure(weights)}, count, chance, repeats, level)[""]


def between(value: float, drawn: Sequence[float], level: float = LEVEL) -> Interval:
    """A figure with the middle `level` of what was drawn."""
    ordered = sorted(drawn)
    outside = (1 - level) / 2
    return Interval(value, quantile(ordered, outside), quantile(ordered, 1 - outside))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of ascending values, between neighbours in proportion."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def shuffles[T](items: Sequence[T], chance: Random, repeats: int = REPEATS) -> Iterator[list[T]]:
    """The items in random orders: a router that picks as often, and knows nothing."""
    order = list(items)
    for _ in repeat(None, repeats):
        chance.shuffle(order)
        yield order


def mean(values: Sequence[float], weights: Weights) -> float | None:
    """The mean of a resample; None where nothing is in it."""
    count = sum(weights)
    return sum(map(mul, values, weights)) / count if count else None
