"""Ridge regression over places and plain numbers, by coordinate ascent on its dual.

The method is Shalev-Shwartz and Zhang, Stochastic Dual Coordinate Ascent (JMLR 14, 2013). Each step
solves one row exactly, so there is no learning rate to choose. A few passes are enough.
"""

from collections.abc import Sequence
from operator import mul
from random import Random
from typing import NamedTuple

PASSES = 12


class Example(NamedTuple):
    """A row as a vector, in which all places of the text have the same value."""

    places: tuple[int, ...]
    unit: float
    """The value of each place, so that all places of the text together have length 1."""
    numbers: tuple[float, ...]


class RidgeWeights(NamedTuple):
    """The weights that a fit finds."""

    table: list[float]
    """A weight for each place, for rows whose places have length 1."""
    numbers: list[float]


def fit_ridge(
    examples: Sequence[Example],
    targets: Sequence[float],
    weights: Sequence[float],
    penalty: float,
    *,
    size: int,
    random: Random,
    passes: int = PASSES,
) -> RidgeWeights:
    """Return weights w that make sum(weight * (target - x.w)^2) + penalty * |w|^2 small.

    `size` is the size of the table. `weights` has one weight for each row.
    """
    width = len(examples[0].numbers) if examples else 0
    table, number_weights = [0.0] * size, [0.0] * width
    dual = [0.0] * len(examples)
    norms = [
        len(example.places) * example.unit**2 + sum(map(mul, example.numbers, example.numbers))
        for example in examples
    ]
    order = list(range(len(examples)))
    read = table.__getitem__
    for _ in range(passes):
        random.shuffle(order)
        for index in order:
            (places, unit, numbers), weight = examples[index], weights[index]
            estimate = unit * sum(map(read, places)) + sum(map(mul, number_weights, numbers))
            miss = targets[index] - estimate - dual[index] / weight
            step = miss / (1 / weight + norms[index] / penalty)
            dual[index] += step
            step /= penalty
            number_weights = [
                old + step * number for old, number in zip(number_weights, numbers, strict=True)
            ]
            step *= unit
            for place in places:
                table[place] += step
    return RidgeWeights(table, number_weights)


def predict(weights: RidgeWeights, examples: Sequence[Example]) -> list[float]:
    """Return the value that the weights predict for each row."""
    read = weights.table.__getitem__
    return [
        example.unit * sum(map(read, example.places))
        + sum(map(mul, weights.numbers, example.numbers))
        for example in examples
    ]
