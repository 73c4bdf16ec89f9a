"""The trees of a learned classifier, asked all at once by operations on a few long integers.

After QuickScorer (Lucchese et al., SIGIR 2015). Leaves stand in one row of bits, tree after tree.
A node whose number is above its cut puts the leaves of its low side out of reach. Of the leaves of
a tree that nobody puts out of reach, the first is the one where a walk would end.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import accumulate, compress, islice
from operator import and_, getitem, or_
from struct import Struct

from gateway.routing.classifier.model_file import LEAF, NODES, ClassifierModel

_MIDDLE = 128


class TreeEnsemble:
    """The trees of an artefact in a row, and a copy of that row for each of their cuts."""

    __slots__ = ("_lanes", "_size", "_steps", "_unit", "_zero", "cuts", "within")

    def __init__(self, artefact: ClassifierModel) -> None:
        every, gone = 0, dict[int, int]()
        """All leaves; by number and cut those out of reach for who is above it."""
        steps, sizes = list[bytes](), list[int]()
        nodes = NODES.iter_unpack(artefact.forest)
        for count in artefact.trees:
            start = 8 * sum(sizes)
            tree = [*islice(nodes, count)]
            left = count + 1 >> 1  # a tree has one leaf more than it has other nodes
            every |= (1 << left) - 1 << start
            sizes.append(-(-left // 8))
            row, waiting, own = bytearray(), list[tuple[int, int]](), dict[int, int]()
            for name, step, _ in tree:
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
        self.cuts: list[list[float]] = []
        """By number, as far as a node asks for it."""
        self.within: list[list[int]] = []
        """By number: the leaves within reach of who is above none of its cuts, one, two ..."""
        self._zero = every
        """The leaves within reach where each number is 0, as most are."""
        for name, cuts in enumerate(artefact.cuts):
            used = [at for at in range(len(cuts)) if name << 8 | at in gone]
            out = accumulate((gone[name << 8 | at] for at in used), or_, initial=0)
            above, within = [cuts[at] for at in used], [every ^ leaves for leaves in out]
            self.cuts.append(above)
            self.within.append(within)
            self._zero &= within[bisect_left(above, 0)]
        # The last tree comes first: it has the highest bits.
        self._size, self._steps = sum(sizes), steps[::-1]
        self._lanes = Struct("".join(f"{size}s" for size in reversed(sizes))).unpack
        self._unit = artefact.leaf / max(len(sizes), 1)

    def mean(self, numbers: Sequence[float]) -> float:
        """Of the leaves where walks end, by the numbers of a shape; none of these is negative."""
        cuts, within = compress(self.cuts, numbers), compress(self.within, numbers)
        return self.some(compress(numbers, numbers), cuts, within)

    def some(
        self,
        numbers: Iterable[float],
        cuts: Iterable[Sequence[float]],
        within: Iterable[Sequence[int]],
    ) -> float:
        """The same, by the numbers that are not 0, and what `cuts` and `within` have for each."""
        # All of it goes on in C: a text has some twenty numbers, and there are forty trees.
        parts = map(getitem, within, map(bisect_left, cuts, numbers))
        leaves = reduce(and_, parts, self._zero).to_bytes(self._size)
        firsts = map(int.bit_length, map(int.from_bytes, self._lanes(leaves)))
        total = sum(map(getitem, self._steps, firsts))
        return (total - _MIDDLE * len(self._steps)) * self._unit
