"""The trees of a learned classifier, asked all at once by operations on a few long integers.

After QuickScorer (Lucchese et al., SIGIR 2015). Leaves stand in one row of bits, tree after tree.
A node whose number is above its cut puts the leaves of its low side out of reach. Of the leaves of
a tree that nobody puts out of reach, the first is the one where a walk would end.

What such an operation takes grows with the row, and half of all leaves are for exams, formulas and
code. A text of which all that is 0 is asked in a row without them.
"""

# ruff: noqa: SIM905 -- words, many to a line

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property, reduce
from itertools import accumulate, compress, islice
from operator import and_, getitem, itemgetter, or_
from struct import Struct

from gateway.routing.artefact import LEAF, NODES, Artefact
from gateway.routing.shape import NAMES

_MIDDLE = 128
_RARE = frozenset(
    NAMES.index(name)
    for name in (
        "options option_count option_length option_figures option_spread latex equals dollars"
        " braces boxed indent topic:physics topic:chemistry topic:thought"
        " opens:who opens:where opens:which opens:if opens:a asks:which asks:who asks:where"
    ).split()
)
"""Numbers that are 0 in most of what people ask, and have many nodes."""
_RARELY = itemgetter(*_RARE)


class Forest:
    """The trees of an artefact; laid out as texts ask for it."""

    def __init__(self, artefact: Artefact) -> None:
        self._artefact = artefact
        self._most = _Row(artefact, _RARE)

    @cached_property
    def _whole(self) -> "_Row":
        return _Row(self._artefact)

    def mean(self, numbers: Sequence[float]) -> float:
        """Of the leaves where walks end, by the numbers of a shape; none of these is negative."""
        row = self._whole if any(_RARELY(numbers)) else self._most
        return row.mean(numbers)


class _Row:
    """Trees in a row: four kilobytes for each cut of what ships, or half of that."""

    __slots__ = ("_cuts", "_lanes", "_size", "_steps", "_unit", "_within", "_zero")

    def __init__(self, artefact: Artefact, never: AbstractSet[int] = frozenset()) -> None:
        """`never` are numbers that are 0 in all that it will be asked."""
        every, gone = 0, dict[int, int]()
        """All leaves; by number and cut those out of reach for who is above it."""
        steps, sizes = list[bytes](), list[int]()
        nodes = NODES.iter_unpack(artefact.forest)
        for count in artefact.trees:
            start = 8 * sum(sizes)
            tree = [*_walked([*islice(nodes, count)], artefact.cuts, never)]
            left = len(tree) + 1 >> 1  # a tree has one leaf more than it has other nodes
            every |= (1 << left) - 1 << start
            sizes.append(-(-left // 8))
            row, waiting, own = bytearray(), list[tuple[int, int]](), dict[int, int]()
            for name, step in tree:
                if name != LEAF:
                    waiting.append((name << 8 | step, left))
                    continue
                left -= 1
                row.append(step)
                if waiting:  # with this leaf the low side of the last node ends
                    part, first = waiting.pop()
                    own[part] = own.get(part, 0) | (1 << first) - (1 << left)
            for part, leaves in own.items():
                gone[part] = gone.get(part, 0) | leaves << start
            steps.append(bytes((0, *reversed(row))))
        self._cuts: list[list[float]] = []
        """By number, as far as a node asks for it."""
        self._within: list[list[int]] = []
        """By number: the leaves within reach of who is above none of its cuts, one, two ..."""
        self._zero = every
        """The leaves within reach where each number is 0, as most are."""
        for name, cuts in enumerate(artefact.cuts):
            used = [at for at in range(len(cuts)) if name << 8 | at in gone]
            out = accumulate((gone[name << 8 | at] for at in used), or_, initial=0)
            above, within = [cuts[at] for at in used], [every ^ leaves for leaves in out]
            self._cuts.append(above)
            self._within.append(within)
            self._zero &= within[bisect_left(above, 0)]
        # The last tree comes first: it has the highest bits.
        self._size, self._steps = sum(sizes), steps[::-1]
        self._lanes = Struct("".join(f"{size}s" for size in reversed(sizes))).unpack
        self._unit = artefact.leaf / max(len(sizes), 1)

    def mean(self, numbers: Sequence[float]) -> float:
        """As of the forest."""
        # All of it goes on in C: a text has some twenty numbers, and there are sixty trees.
        places = map(bisect_left, compress(self._cuts, numbers), compress(numbers, numbers))
        parts = map(getitem, compress(self._within, numbers), places)
        within = reduce(and_, parts, self._zero)
        firsts = map(int.bit_length, map(int.from_bytes, self._lanes(within.to_bytes(self._size))))
        total = sum(map(getitem, self._steps, firsts))
        return (total - _MIDDLE * len(self._steps)) * self._unit


def _walked(
    nodes: Sequence[tuple[int, int, int]],
    cuts: Sequence[Sequence[float]],
    never: AbstractSet[int],
) -> Iterator[tuple[int, int]]:
    """The nodes of a tree in their order, without those at which only one side is ever taken."""
    waiting = [0]
    while waiting:
        at = waiting.pop()
        name, step, high = nodes[at]
        while name in never:
            at = at + 1 if cuts[name][step] >= 0 else high
            name, step, high = nodes[at]
        if name != LEAF:
            waiting += (high, at + 1)
        yield name, step
