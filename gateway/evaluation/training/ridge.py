"""Ridge regression over places and plain numbers, by coordinate descent on its dual.

Shalev-Shwartz and Zhang, Stochastic Dual Coordinate Ascent (JMLR 14, 2013): each step solves one
row exactly, so there is no learning rate to choose, and a few passes do.
"""

from collections.abc import Sequence
from operator import mul
from random import Random
from typing import NamedTuple

PASSES = 12


class Example(NamedTuple):
    """A row as a vector: each place counts the same."""

    places: tuple[int, ...]
    unit: float
    """The value of each place: all places of the text together have length one."""
    numbers: tuple[float, ...]


class RidgeWeights(NamedTuple):
    """The weights that a fit gives."""

    table: list[float]
    """A weight for each place, for a row whose places have length one."""
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

    `size` is that of the table, `weights` are of the rows.
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
    """Return what the weights say of rows."""
    read = weights.table.__getitem__
    return [
        example.unit * sum(map(read, example.places))
        + sum(map(mul, weights.numbers, example.numbers))
        for example in examples
    ]
