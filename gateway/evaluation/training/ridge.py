"""Ridge regression over terms and a dense form, by coordinate descent on its dual.

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
    """Of its terms, those in the table."""
    unit: float
    """What each counts: all terms of the text have length one."""
    form: tuple[float, ...]


class Fitted(NamedTuple):
    """The weights."""

    table: list[float]
    """Of each place, for a row whose terms have length one."""
    form: list[float]


def ridge(
    examples: Sequence[Example],
    targets: Sequence[float],
    weights: Sequence[float],
    penalty: float,
    *,
    size: int,
    chance: Random,
    passes: int = PASSES,
) -> Fitted:
    """Weights w that make sum(weight * (target - x.w)^2) + penalty * |w|^2 small.

    `size` is that of the table.
    """
    width = len(examples[0].form) if examples else 0
    table, form = [0.0] * size, [0.0] * width
    dual = [0.0] * len(examples)
    norms = [
        len(one.places) * one.unit * one.unit + sum(map(mul, one.form, one.form))
        for one in examples
    ]
    order = list(range(len(examples)))
    read = table.__getitem__
    for _ in range(passes):
        chance.shuffle(order)
        for at in order:
            (places, unit, own), weight = examples[at], weights[at]
            said = unit * sum(map(read, places)) + sum(map(mul, form, own))
            step = (targets[at] - said - dual[at] / weight) / (1 / weight + norms[at] / penalty)
            dual[at] += step
            step /= penalty
            form = [old + step * value for old, value in zip(form, own, strict=True)]
            step *= unit
            for place in places:
                table[place] += step
    return Fitted(table, form)


def said(fitted: Fitted, examples: Sequence[Example]) -> list[float]:
    """What it says of rows."""
    read = fitted.table.__getitem__
    return [
        one.unit * sum(map(read, one.places)) + sum(map(mul, fitted.form, one.form))
        for one in examples
    ]
