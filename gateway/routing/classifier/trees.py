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

from gateway.routing.classifier.model_file import LEAF_NUMBER, NODE_STRUCT, ClassifierModel

_LEAF_ZERO = 128


class TreeEnsemble:
    """The trees of an artefact in a row, and a copy of that row for each of their cuts."""

    __slots__ = (
        "_byte_count",
        "_leaf_steps",
        "_split_lanes",
        "_unit",
        "_zero_leaves",
        "cuts",
        "reachable",
    )

    def __init__(self, model: ClassifierModel) -> None:
        all_leaves, unreachable = 0, dict[int, int]()
        """All leaves; by number and cut those out of reach for who is above it."""
        steps, sizes = list[bytes](), list[int]()
        nodes = NODE_STRUCT.iter_unpack(model.forest)
        for count in model.trees:
            start = 8 * sum(sizes)
            tree = [*islice(nodes, count)]
            leaves_left = count + 1 >> 1  # a tree has one leaf more than it has other nodes
            all_leaves |= (1 << leaves_left) - 1 << start
            sizes.append(-(-leaves_left // 8))
            leaf_row = bytearray()
            open_nodes = list[tuple[int, int]]()
            tree_unreachable = dict[int, int]()
            for number, step, _ in tree:
                if number != LEAF_NUMBER:
                    open_nodes.append((number << 8 | step, leaves_left))
                    continue
                leaves_left -= 1
                leaf_row.append(step)
                if open_nodes:  # with this leaf the low side of the last node ends
                    cut_key, first_leaf = open_nodes.pop()
                    tree_unreachable[cut_key] = tree_unreachable.get(cut_key, 0) | (
                        1 << first_leaf
                    ) - (1 << leaves_left)
            for cut_key, leaves in tree_unreachable.items():
                unreachable[cut_key] = unreachable.get(cut_key, 0) | leaves << start
            steps.append(bytes((0, *reversed(leaf_row))))
        self.cuts: list[list[float]] = []
        """By number, as far as a node asks for it."""
        self.reachable: list[list[int]] = []
        """By number: the leaves within reach of who is above none of its cuts, one, two ..."""
        self._zero_leaves = all_leaves
        """The leaves within reach where each number is 0, as most are."""
        for number, cuts in enumerate(model.cuts):
            used_cuts = [index for index in range(len(cuts)) if number << 8 | index in unreachable]
            unreachable_masks = accumulate(
                (unreachable[number << 8 | index] for index in used_cuts), or_, initial=0
            )
            thresholds = [cuts[index] for index in used_cuts]
            reachable = [all_leaves ^ leaves for leaves in unreachable_masks]
            self.cuts.append(thresholds)
            self.reachable.append(reachable)
            self._zero_leaves &= reachable[bisect_left(thresholds, 0)]
        # The last tree comes first: it has the highest bits.
        self._byte_count, self._leaf_steps = sum(sizes), steps[::-1]
        self._split_lanes = Struct("".join(f"{size}s" for size in reversed(sizes))).unpack
        self._unit = model.leaf / max(len(sizes), 1)

    def compute_mean(self, numbers: Sequence[float]) -> float:
        """Of the leaves where walks end, by the numbers of a shape; none of these is negative."""
        cuts, reachable = compress(self.cuts, numbers), compress(self.reachable, numbers)
        return self.compute_nonzero_mean(compress(numbers, numbers), cuts, reachable)

    def compute_nonzero_mean(
        self,
        numbers: Iterable[float],
        cuts: Iterable[Sequence[float]],
        reachable: Iterable[Sequence[int]],
    ) -> float:
        """The same by the numbers that are not 0, and what `cuts` and `reachable` have for each."""
        # All of it goes on in C: a text has some twenty numbers, and there are forty trees.
        masks = map(getitem, reachable, map(bisect_left, cuts, numbers))
        leaves = reduce(and_, masks, self._zero_leaves).to_bytes(self._byte_count)
        first_bits = map(int.bit_length, map(int.from_bytes, self._split_lanes(leaves)))
        total = sum(map(getitem, self._leaf_steps, first_bits))
        return (total - _LEAF_ZERO * len(self._leaf_steps)) * self._unit
