"""Ridge regression over hashed places and a dense form, by coordinate descent on its dual.

Shalev-Shwartz and Zhang, Stochastic Dual Coordinate Ascent (JMLR 14, 2013): each step solves one
row exactly, so there is no learning rate to choose, and a few passes do.
"""

from collections.abc import Sequence
from math import sqrt
from operator import mul
from random import Random
from typing import NamedTuple

PASSES = 12


class Example(NamedTuple):
    """A row as a vector: each place counts the same and all of them have length one."""

    places: tuple[int, ...]
    form: tuple[float, ...]


class Fitted(NamedTuple):
    """The weights."""

    table: list[float]
    """Of each place, for a row whose places have length one."""
    form: list[float]


def ridge(
    examples: Sequence[Example],
    targets: Sequence[float],
    weights: Sequence[float],
    penalty: float,
    *,
    bits: int,
    chance: Random,
    passes: int = PASSES,
) -> Fitted:
    """Weights w that make sum(weight * (target - x.w)^2) + penalty * |w|^2 small."""
    width = len(examples[0].form) if examples else 0
    table, form = [0.0] * (1 << bits), [0.0] * width
    dual = [0.0] * len(examples)
    units = [1 / sqrt(len(one.places)) if one.places else 0.0 for one in examples]
    norms = [(1.0 if one.places else 0.0) + sum(map(mul, one.form, one.form)) for one in examples]
    order = list(range(len(examples)))
    read = table.__getitem__
    for _ in range(passes):
        chance.shuffle(order)
        for at in order:
            (places, own), unit, weight = examples[at], units[at], weights[at]
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
        sum(map(read, one.places)) / sqrt(len(one.places) or 1)
        + sum(map(mul, fitted.form, one.form))
        for one in examples
    ]
