"""Judging a scorer on rows that it has not seen: by source, or by parts of one source."""

from collections.abc import Callable, Iterator, Sequence
from random import Random

import msgspec

from gateway.evaluation.metrics.bootstrap import REPEATS, Interval, Weights, intervals
from gateway.evaluation.metrics.ranking import Sources, average, by_source

type Fit[T] = Callable[[Sequence[T]], Callable[[T], float]]
"""From rows to learn from to what says how much a row needs the stronger model."""


class Fold(msgspec.Struct, frozen=True):
    """Places of rows to learn from, and of those to be judged on."""

    name: str
    train: list[int]
    held: list[int]


def leave_one_out(sources: Sequence[str]) -> Iterator[Fold]:
    """Each source held out once: what a prompt of an unseen kind gets. None of a single source."""
    rows = by_source(sources)
    for name, held in rows.items() if len(rows) > 1 else ():
        yield Fold(name, [at for at in range(len(sources)) if sources[at] != name], held)


def parts(sources: Sequence[str], chance: Random, number: int = 5) -> Iterator[Fold]:
    """Each of `number` random parts held out once, every source in each by its share."""
    held: list[list[int]] = [[] for _ in range(number)]
    for rows in by_source(sources).values():
        order = list(rows)
        chance.shuffle(order)
        for at, row in enumerate(order):
            held[at % number].append(row)
    for at, some in enumerate(held):
        kept = set(some)
        yield Fold(str(at + 1), [row for row in range(len(sources)) if row not in kept], some)


class HeldOutScores(msgspec.Struct, frozen=True):
    """APGR on held-out rows: of each source, and the mean over sources."""

    mean: Interval | None
    sources: dict[str, Interval | None]


def held_out[T](
    rows: Sequence[T], folds: Iterator[Fold] | Sequence[Fold], fit: Fit[T]
) -> list[float]:
    """What each row needs, said by a scorer that has not seen it. Every row must be held once."""
    need: dict[int, float] = {}
    for fold in folds:
        scorer = fit([rows[at] for at in fold.train])
        for at in fold.held:
            need[at] = scorer(rows[at])
    return [need[at] for at in range(len(rows))]


def judge(
    need: Sequence[float],
    weak: Sequence[float],
    strong: Sequence[float],
    sources: Sequence[str],
    chance: Random,
    repeats: int = REPEATS,
) -> HeldOutScores:
    """The APGR of needs, source by source and their mean, with intervals."""
    ranked = Sources(need, weak, strong, sources)

    def figures(weights: Weights) -> dict[str | None, float | None]:
        by_name = ranked.apgr(weights)
        found: dict[str | None, float | None] = {None: average(by_name)}
        found.update(by_name)
        return found

    known = intervals(figures, len(need), chance, repeats)
    return HeldOutScores(known[None], {name: known[name] for name in ranked.rows})
