"""The trees of a learned classifier, asked all at once by operations on a few long integers.

After QuickScorer (Lucchese et al., SIGIR 2015). Leaves stand in one row of bits, tree after tree.
A node whose number is above its cut puts the leaves of its low side out of reach. Of the leaves of
a tree that nobody puts out of reach, the first is the one where a walk would end.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, compress, islice
from operator import getitem, or_
from struct import Struct

from gateway.routing.artefact import LEAF, NODES, Artefact

_MIDDLE = 128


class Forest:
    """The trees of an artefact, laid out: four kilobytes for each cut of what ships."""

    __slots__ = ("_lanes", "_parts", "_size", "_steps", "_unit", "_zero")

    def __init__(self, artefact: Artefact) -> None:
        every, gone = 0, dict[int, int]()
        """All leaves; by number and cut those out of reach for who is above it."""
        steps, sizes = list[bytes](), list[int]()
        nodes = NODES.iter_unpack(artefact.forest)
        for count in artefact.trees:
            start = 8 * sum(sizes)
            left = count + 1 >> 1  # a tree has one leaf more than it has other nodes
            every |= (1 << left) - 1 << start
            sizes.append(-(-left // 8))
            row, waiting, own = bytearray(), list[tuple[int, int]](), dict[int, int]()
            for name, step, _ in islice(nodes, count):
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
        self._parts: list[tuple[list[float], list[int]]] = []
        """By number: its cuts, and the leaves within reach of who is above none, one, two ..."""
        self._zero = every
        """The leaves within reach where each number is 0, as most are."""
        for name, cuts in enumerate(artefact.cuts):
            used = [at for at in range(len(cuts)) if name << 8 | at in gone]
            out = accumulate((gone[name << 8 | at] for at in used), or_, initial=0)
            above, within = [cuts[at] for at in used], [every ^ leaves for leaves in out]
            self._parts.append((above, within))
            self._zero &= within[bisect_left(above, 0)]
        # The last tree comes first: it has the highest bits.
        self._size, self._steps = sum(sizes), steps[::-1]
        self._lanes = Struct("".join(f"{size}s" for size in reversed(sizes))).unpack
        self._unit = artefact.leaf / max(len(sizes), 1)

    def mean(self, numbers: Sequence[float]) -> float:
        """Of the leaves where walks end, by the numbers of a shape; none of these is negative."""
        within = self._zero
        for (cuts, leaves), number in zip(
            compress(self._parts, numbers), compress(numbers, numbers), strict=True
        ):
            within &= leaves[bisect_left(cuts, number)]
        firsts = map(int.bit_length, map(int.from_bytes, self._lanes(within.to_bytes(self._size))))
        total = sum(map(getitem, self._steps, firsts))
        return (total - _MIDDLE * len(self._steps)) * self._unit
