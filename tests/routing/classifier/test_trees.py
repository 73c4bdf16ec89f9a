"""The forest: what it says is the mean of the leaves that walks over its bytes end at."""

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.classifier import text_features
from gateway.routing.classifier.model_file import LEAF_NUMBER, NODE_STRUCT, ClassifierModel, read
from gateway.routing.classifier.trees import TreeEnsemble
from gateway.runtime.build import SHIPPED_MODEL
from tests.evaluation.training import lesson

WIDTH = len(text_features.SHAPE_NAMES)
SHIPS = read(SHIPPED_MODEL.read_bytes())
TREES = TreeEnsemble(SHIPS)


def walked(artefact: ClassifierModel, numbers: list[float]) -> float:
    start, total = 0, 0.0
    for count in artefact.trees:
        at = 0
        while True:
            name, cut, high = NODE_STRUCT.unpack_from(
                artefact.forest, NODE_STRUCT.size * (start + at)
            )
            if name == LEAF_NUMBER:
                break
            at = at + 1 if numbers[name] <= artefact.cuts[name][cut] else high
        total += (cut - 128) * artefact.leaf
        start += count
    return total / len(artefact.trees)


def grown(
    chance: Random, deep: int, cuts: tuple[tuple[float, ...], ...], at: int = 0
) -> list[bytes]:
    """A tree of at most so many nodes on a way; leaves are often alike."""
    name = chance.choice([name for name, some in enumerate(cuts) if some])
    if not deep or chance.random() < 0.2:
        return [NODE_STRUCT.pack(LEAF_NUMBER, chance.choice((0, 127, 128, 128, 255)), 0)]
    low = grown(chance, deep - 1, cuts, at + 1)
    high = at + 1 + len(low)
    node = NODE_STRUCT.pack(name, chance.randrange(len(cuts[name])), high)
    return [node, *low, *grown(chance, deep - 1, cuts, high)]


numbers = st.lists(
    st.just(0) | st.integers(0, 12) | st.floats(0, 300), min_size=WIDTH, max_size=WIDTH
)


@given(numbers)
def test_the_forest_that_ships_says_what_walks_say(numbers: list[float]) -> None:
    assert TREES.compute_mean(numbers) == pytest.approx(walked(SHIPS, numbers), abs=1e-12)


@given(seed=st.integers(0, 2**32), numbers=numbers)
def test_any_forest_says_what_walks_say(seed: int, numbers: list[float]) -> None:
    """Trees of one leaf, sides that are equal, cuts below 0 and at a number itself."""
    chance = Random(seed)
    some = sorted({*chance.sample(numbers, 3), -1.0, 0.0, chance.random()})
    cuts = tuple(tuple(some) if at % 9 == 0 else () for at in range(WIDTH))
    trees = [grown(chance, chance.randrange(7), cuts) for _ in range(chance.randrange(1, 6))]
    artefact = msgspec.structs.replace(
        lesson.learnt()[0],
        cuts=cuts,
        trees=tuple(map(len, trees)),
        forest=b"".join(node for tree in trees for node in tree),
    )
    assert TreeEnsemble(artefact).compute_mean(numbers) == pytest.approx(
        walked(artefact, numbers), abs=1e-12
    )


def test_no_trees_say_nothing() -> None:
    artefact = msgspec.structs.replace(lesson.learnt()[0], trees=(), forest=b"")
    assert TreeEnsemble(artefact).compute_mean([1.0] * WIDTH) == 0
