"""An artefact refitted with an owner's own labels."""

from collections.abc import Callable, Sequence
from operator import mul
from random import Random
from statistics import pstdev

import msgspec

from gateway.evaluation.metrics.bootstrap import Interval, Weights, compute_intervals
from gateway.evaluation.metrics.cross_validation import split_randomly
from gateway.evaluation.metrics.ranking import Ranking
from gateway.evaluation.training import ridge
from gateway.evaluation.training.dataset import TrainingRow, centred, needs
from gateway.evaluation.training.fit import MOST, common, example, form, lane, placed, short
from gateway.evaluation.training.train import named
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classifier.model_file import (
    ClassifierModel,
    ScoreMix,
    pack_terms,
    unpack_terms,
)

HALF = 150
"""So many own labels weigh as much as all that the artefact was trained on."""
FEWEST = 50
PENALTY = 3.0


def weight(count: float) -> float:
    """Of the base beside so many labels of the owner's: 150 / (150 + n)."""
    return HALF / (HALF + count)


def refit(
    artefact: ClassifierModel,
    rows: Sequence[TrainingRow],
    seed: int = 1,
    prior: Classifier | None = None,
    weights: Sequence[float] | None = None,
) -> ClassifierModel:
    """The artefact with a lane of its own for `rows`; one that it had is replaced.

    `weights` say how much each row counts beside a label that is sure; without them all are. Where
    the rows are of one owner, what comes of it must serve that owner alone.
    """
    bare = without(artefact)
    if not rows:
        return bare
    chance = Random(seed)  # noqa: S311 - an order of rows
    terms = unpack_terms(bare.terms)
    more = common(rows, MOST, {*terms})
    places = placed((*terms, *more))
    examples = [example(row, bare.means, bare.spreads, places) for row in rows]
    gains = centred([row.gain for row in rows], [row.source for row in rows])
    counts = [1.0] * len(rows) if weights is None else weights
    fitted = ridge.ridge(examples, gains, counts, PENALTY, size=len(places), chance=chance)
    column, scale = lane(fitted.table)
    # Few labels give a flat fit: its needs are spread as wide as those of the base on these rows.
    wide = pstdev(needs(bare, rows, prior)) / (pstdev(ridge.said(fitted, examples)) or 1.0) or 1.0
    base = weight(sum(counts))
    mix: ScoreMix = msgspec.structs.replace(bare.mix, base=short(base))
    return named(
        msgspec.structs.replace(
            bare,
            own=len(rows),
            mix=mix,
            scales=(*bare.scales, short(scale * wide)),
            forms=(*bare.forms, tuple(short(wide * one) for one in form(fitted))),
            more=len(more),
            more_terms=pack_terms(more),
            own_table=column,
        )
    )


def without(artefact: ClassifierModel) -> ClassifierModel:
    """The artefact as it was before any labels of an owner."""
    if not artefact.own:
        return artefact
    return named(
        msgspec.structs.replace(
            artefact,
            own=0,
            mix=msgspec.structs.replace(artefact.mix, base=1.0),
            scales=artefact.scales[:-1],
            forms=artefact.forms[:-1],
            more=0,
            more_terms=b"",
            own_table=b"",
        )
    )


class RefitGain(msgspec.Struct, frozen=True, kw_only=True):
    """What refitting is worth on labels that it has not seen."""

    before: Interval | None
    after: Interval | None
    gain: Interval | None


def unseen(
    bare: ClassifierModel,
    rows: Sequence[TrainingRow],
    chance: Random,
    seed: int,
    number: int,
    weights: Sequence[float] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[float]:
    """What each row needs, by an artefact refitted with the other parts of so many, and not it.

    `chance` makes the parts, `tick` is called for each of them; `weights` are those of `refit`.
    """
    found = [0.0] * len(rows)
    for fold in split_randomly([""] * len(rows), chance, number):
        some = None if weights is None else [weights[at] for at in fold.train_rows]
        fitted = refit(bare, [rows[at] for at in fold.train_rows], seed, weights=some)
        said = needs(fitted, [rows[at] for at in fold.held_out_rows])
        for at, need in zip(fold.held_out_rows, said, strict=True):
            found[at] = need
        tick()
    return found


def compare(
    before: Sequence[float],
    after: Sequence[float],
    rows: Sequence[TrainingRow],
    chance: Random,
    counts: Sequence[int] | None = None,
) -> RefitGain:
    """Two needs of the same rows; `counts` are how often each row counts, once where None."""
    weak, strong = [row.fast for row in rows], [row.smart for row in rows]
    first, second = Ranking(before, weak, strong), Ranking(after, weak, strong)

    def figures(weights: Weights) -> dict[str, float | None]:
        drawn = weights if counts is None else list(map(mul, weights, counts))
        old, new = first.compute_apgr(drawn), second.compute_apgr(drawn)
        return {
            "before": old,
            "after": new,
            "gain": None if old is None or new is None else new - old,
        }

    known = compute_intervals(figures, len(rows), chance)
    return RefitGain(before=known["before"], after=known["after"], gain=known["gain"])
