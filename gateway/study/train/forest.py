"""Extremely randomised trees (Geurts, Ernst, Wehenkel 2006) over the numbers of a shape."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import compress, pairwise
from operator import itemgetter
from random import Random
from typing import NamedTuple

from gateway.routing.artefact import LEAF

_MOST_CUTS = 63
_MIDDLE = 128
_STEPS = 127
_NODES = 1 << 16


class Grown(NamedTuple):
    """A forest as an artefact has it."""

    cuts: list[tuple[float, ...]]
    trees: tuple[int, ...]
    leaf: float
    nodes: bytes


class Growth(NamedTuple):
    """How trees are grown."""

    trees: int = 60
    leaf: int = 20
    """Rows that a leaf has at the least."""
    tries: float = 0.4
    """Share of the numbers that are looked at for each parting."""


type _Plan = list[tuple[int, int, int] | float]
"""Nodes as (number, cut, place of the right one), leaves as their value."""


def cuts(values: Sequence[float]) -> tuple[float, ...]:
    """Where a number may be parted: between neighbours, or at about as many rows each."""
    ordered = sorted(values)
    unique = sorted(set(ordered))
    if len(unique) > _MOST_CUTS + 1:
        places = [len(ordered) * at // (_MOST_CUTS + 1) for at in range(1, _MOST_CUTS + 1)]
        unique = sorted({ordered[0], *(ordered[place] for place in places), ordered[-1]})
    found = [round((low + high) / 2, 6) for low, high in pairwise(unique)]
    return tuple(sorted(set(found)))


def grow(
    rows: Sequence[Sequence[float]],
    targets: Sequence[float],
    weights: Sequence[float],
    growth: Growth,
    chance: Random,
    tick: Callable[[], None] = lambda: None,
) -> Grown:
    """Trees whose mean leaf predicts the target."""
    parted = [cuts(column) for column in zip(*rows, strict=True)]
    columns = [
        bytes(bisect_left(own, value) for value in column)
        for own, column in zip(parted, zip(*rows, strict=True), strict=True)
    ]
    grower = _Grower(columns, targets, weights, growth, chance)
    plans = []
    for _ in range(growth.trees):
        plan: _Plan = []
        grower.grow(tuple(range(len(rows))), plan)
        plans.append(plan)
        tick()
    highest = max(
        (abs(node) for plan in plans for node in plan if isinstance(node, float)), default=0
    )
    leaf = highest / _STEPS or 1.0
    nodes = b"".join(_packed(node, leaf) for plan in plans for node in plan)
    return Grown(parted, tuple(map(len, plans)), leaf, nodes)


def _packed(node: tuple[int, int, int] | float, leaf: float) -> bytes:
    if isinstance(node, float):
        return bytes((LEAF, _MIDDLE + round(node / leaf), 0, 0))
    name, cut, right = node
    return bytes((name, cut, right & 255, right >> 8))


class _Grower:
    def __init__(
        self,
        columns: Sequence[bytes],
        targets: Sequence[float],
        weights: Sequence[float],
        growth: Growth,
        chance: Random,
    ) -> None:
        self._columns = columns
        self._weighted = [value * weight for value, weight in zip(targets, weights, strict=True)]
        self._weights = weights
        self._leaf = growth.leaf
        self._tries = max(1, round(growth.tries * len(columns)))
        self._chance = chance
        self._names = list(range(len(columns)))

    def grow(self, rows: tuple[int, ...], plan: _Plan) -> None:
        """Append the node of `rows` and, behind it, all that hangs on it."""
        place = len(plan)
        pick = itemgetter(*rows) if len(rows) > 1 else lambda column: (column[rows[0]],)
        weighted, weights = pick(self._weighted), pick(self._weights)
        plan.append(sum(weighted) / sum(weights))
        if len(rows) < 2 * self._leaf or place > _NODES - 2 * len(rows):
            return
        best = self._best(pick, weighted, weights)
        if best is None:
            return
        name, cut, left = best
        self.grow(tuple(compress(rows, left)), plan)
        plan[place] = (name, cut, len(plan))
        self.grow(tuple(compress(rows, [not one for one in left])), plan)

    def _best(
        self,
        pick: Callable[..., tuple[float, ...]],
        weighted: tuple[float, ...],
        weights: tuple[float, ...],
    ) -> tuple[int, int, list[bool]] | None:
        """The best of some random partings, and which rows go left; None where none is allowed."""
        chance, total, mass, size = self._chance, sum(weighted), sum(weights), len(weighted)
        chance.shuffle(self._names)
        best, found, tried = total * total / mass + 1e-12, None, 0
        for name in self._names:
            values = pick(self._columns[name])
            low, high = min(values), max(values)
            if low == high:
                continue
            cut = chance.randrange(int(low), int(high))
            left = [value <= cut for value in values]
            count = sum(left)
            if self._leaf <= count <= size - self._leaf:
                part, share = sum(compress(weighted, left)), sum(compress(weights, left))
                score = part * part / share + (total - part) ** 2 / (mass - share)
                if score > best:
                    best, found = score, (name, cut, left)
            tried += 1
            if tried == self._tries:
                break
        return found
