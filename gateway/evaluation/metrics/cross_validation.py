"""Cross-validation: a scorer judged on rows that it has not seen, by source or by random part."""

from collections.abc import Callable, Iterator, Sequence
from random import Random

import msgspec

from gateway.evaluation.metrics.bootstrap import REPEATS, Interval, Weights, compute_intervals
from gateway.evaluation.metrics.ranking import Sources, average_sources, group_by_source

type ScorerFitter[T] = Callable[[Sequence[T]], Callable[[T], float]]
"""A function that learns from rows, and returns a scorer: how much a row needs the stronger model.
"""


class Fold(msgspec.Struct, frozen=True):
    """The indexes of the rows to learn from, and of the rows to judge on."""

    name: str
    train_rows: list[int]
    held_out_rows: list[int]


def leave_one_out(sources: Sequence[str]) -> Iterator[Fold]:
    """Yield a fold for each source, held out once; nothing if there is only one source.

    It tells how a scorer does on prompts of an unseen kind.
    """
    rows_by_source = group_by_source(sources)
    for name, held_out_rows in rows_by_source.items() if len(rows_by_source) > 1 else ():
        yield Fold(
            name, [row for row in range(len(sources)) if sources[row] != name], held_out_rows
        )


def split_randomly(sources: Sequence[str], rng: Random, fold_count: int = 5) -> Iterator[Fold]:
    """Yield `fold_count` folds, each with another random part of every source held out."""
    rows_by_fold: list[list[int]] = [[] for _ in range(fold_count)]
    for rows in group_by_source(sources).values():
        order = list(rows)
        rng.shuffle(order)
        for index, row in enumerate(order):
            rows_by_fold[index % fold_count].append(row)
    for index, held_out_rows in enumerate(rows_by_fold):
        held_out_set = set(held_out_rows)
        yield Fold(
            str(index + 1),
            [row for row in range(len(sources)) if row not in held_out_set],
            held_out_rows,
        )


class HeldOutScores(msgspec.Struct, frozen=True):
    """The APGR on held-out rows: for each source, and as the mean over sources."""

    mean: Interval | None
    sources: dict[str, Interval | None]


def score_held_out[T](
    rows: Sequence[T], folds: Iterator[Fold] | Sequence[Fold], fit: ScorerFitter[T]
) -> list[float]:
    """Return the need of each row by a scorer that has not seen the row.

    The folds must hold out every row once.
    """
    need_by_row: dict[int, float] = {}
    for fold in folds:
        scorer = fit([rows[index] for index in fold.train_rows])
        for index in fold.held_out_rows:
            need_by_row[index] = scorer(rows[index])
    return [need_by_row[index] for index in range(len(rows))]


def compute_held_out_scores(
    needs: Sequence[float],
    weak: Sequence[float],
    strong: Sequence[float],
    sources: Sequence[str],
    rng: Random,
    repeats: int = REPEATS,
) -> HeldOutScores:
    """Return the APGR of needs with intervals, for each source and as the mean over sources."""
    rankings = Sources(needs, weak, strong, sources)

    def compute_figures(weights: Weights) -> dict[str | None, float | None]:
        apgr_by_source = rankings.compute_apgr(weights)
        values: dict[str | None, float | None] = {None: average_sources(apgr_by_source)}
        values.update(apgr_by_source)
        return values

    interval_by_name = compute_intervals(compute_figures, len(needs), rng, repeats)
    return HeldOutScores(
        interval_by_name[None], {name: interval_by_name[name] for name in rankings.rows_by_source}
    )
