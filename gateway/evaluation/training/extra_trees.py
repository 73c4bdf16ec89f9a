"""Extremely randomised trees (Geurts, Ernst, Wehenkel 2006) over the numbers of a shape."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import compress, count, pairwise
from operator import itemgetter
from random import Random
from typing import NamedTuple

from gateway.routing.classifier.model_file import LEAF_NUMBER

_MOST_CUTS = 63
_MIDDLE = 128
_STEPS = 127


class GrownForest(NamedTuple):
    """A forest as an artefact has it."""

    cuts: list[tuple[float, ...]]
    trees: tuple[int, ...]
    leaf: float
    nodes: bytes


class Growth(NamedTuple):
    """How trees are grown."""

    trees: int = 40
    leaf: int = 20
    """Rows that a leaf has at the least."""
    tries: float = 0.4
    """Share of the numbers that are looked at for each parting."""
    leaves: int = 128
    """That a tree has at the most: those that tell most apart are parted first."""


type _Plan = list[tuple[int, int, int] | float]
"""Nodes as (number, cut, place of the right one), leaves as their value."""


class _Parting(NamedTuple):
    """How rows are best parted."""

    score: float
    """How much it tells apart."""
    name: int
    cut: int
    left: list[bool]


class _Node:
    """A node: a leaf until it is parted."""

    __slots__ = ("sides", "value")

    def __init__(self, value: float) -> None:
        self.value = value
        self.sides: tuple[int, int, _Node, _Node] | None = None
        """Its number, its cut, the low side and the high one."""

    def planned(self, plan: _Plan) -> _Plan:
        """Append it and, behind it, all that hangs on it."""
        place = len(plan)
        plan.append(self.value)
        if self.sides is not None:
            name, cut, low, high = self.sides
            low.planned(plan)
            plan[place] = (name, cut, len(plan))
            high.planned(plan)
        return plan


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
) -> GrownForest:
    """Trees whose mean leaf predicts the target."""
    parted = [cuts(column) for column in zip(*rows, strict=True)]
    columns = [
        bytes(bisect_left(own, value) for value in column)
        for own, column in zip(parted, zip(*rows, strict=True), strict=True)
    ]
    grower = _Grower(columns, targets, weights, growth, chance)
    plans: list[_Plan] = []
    for _ in range(growth.trees):
        plans.append(grower.grow(tuple(range(len(rows)))).planned([]))
        tick()
    highest = max(
        (abs(node) for plan in plans for node in plan if isinstance(node, float)), default=0
    )
    leaf = highest / _STEPS or 1.0
    nodes = b"".join(_packed(node, leaf) for plan in plans for node in plan)
    return GrownForest(parted, tuple(map(len, plans)), leaf, nodes)


def _packed(node: tuple[int, int, int] | float, leaf: float) -> bytes:
    if isinstance(node, float):
        return bytes((LEAF_NUMBER, _MIDDLE + round(node / leaf), 0, 0))
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
        self._leaf, self._leaves = growth.leaf, growth.leaves
        self._tries = max(1, round(growth.tries * len(columns)))
        self._chance = chance
        self._names = list(range(len(columns)))

    def grow(self, rows: tuple[int, ...]) -> _Node:
        """A tree of all of them: of its leaves the one whose parting tells most is parted next."""
        waiting: list[tuple[float, int, _Node, tuple[int, ...], _Parting]] = []
        numbers = count()

        def leaf(some: tuple[int, ...]) -> _Node:
            pick = itemgetter(*some) if len(some) > 1 else lambda column: (column[some[0]],)
            weighted, weights = pick(self._weighted), pick(self._weights)
            node = _Node(sum(weighted) / sum(weights))
            best = self._best(pick, weighted, weights) if len(some) >= 2 * self._leaf else None
            if best is not None:
                heappush(waiting, (-best.score, next(numbers), node, some, best))
            return node

        root, leaves = leaf(rows), 1
        while waiting and leaves < self._leaves:
            _, _, node, some, (_, name, cut, left) = heappop(waiting)
            low = leaf(tuple(compress(some, left)))
            high = leaf(tuple(compress(some, [not one for one in left])))
            node.sides = name, cut, low, high
            leaves += 1
        return root

    def _best(
        self,
        pick: Callable[..., tuple[float, ...]],
        weighted: tuple[float, ...],
        weights: tuple[float, ...],
    ) -> _Parting | None:
        """The best of some random partings; None where none is allowed."""
        chance, total, mass, size = self._chance, sum(weighted), sum(weights), len(weighted)
        chance.shuffle(self._names)
        before, found, tried = total * total / mass, None, 0
        best = before + 1e-12
        for name in self._names:
            values = pick(self._columns[name])
            low, high = min(values), max(values)
            if low == high:
                continue
            cut = chance.randrange(int(low), int(high))
            left = [value <= cut for value in values]
            some = sum(left)
            if self._leaf <= some <= size - self._leaf:
                part, share = sum(compress(weighted, left)), sum(compress(weights, left))
                score = part * part / share + (total - part) ** 2 / (mass - share)
                if score > best:
                    best, found = score, _Parting(score - before, name, cut, left)
            tried += 1
            if tried == self._tries:
                break
        return found
