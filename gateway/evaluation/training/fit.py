"""From rows to the numbers of an artefact, but for its calibration."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import nsmallest
from math import sqrt
from random import Random

import msgspec

from gateway.evaluation.training import extra_trees, ridge
from gateway.evaluation.training.dataset import TrainingRow, balanced, centred
from gateway.routing.classifier import text_features
from gateway.routing.classifier.model_file import (
    KNOWN_BYTES,
    WORD_MASK,
    ClassifierModel,
    ScoreMix,
    TierThresholds,
    pack_terms,
)

_FORM = 0.065
"""How much the numbers of a shape weigh beside its terms."""
_HARD, _GAIN, _GATE, _BEATS = 2.0, 3.0, 0.3, 20.0
"""Penalties of the ridges."""
_SMART = 0.5
"""How much of the smart tier's score counts in `transfer`: half, less the fast one's."""
_FAR = 4.0
_DIGITS = 6
_STEPS = 127
MOST = 4096
"""Terms of a table. Twice as many are worth nothing, and what prompts have in common stays near."""
_OFTEN = 3
"""In how many prompts a term must stand to be one of them, and a word to be known."""


class TrainingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How it is trained. The defaults are what ships."""

    terms: int = MOST
    passes: int = ridge.PASSES
    growth: extra_trees.Growth = extra_trees.Growth()
    mix: ScoreMix = ScoreMix()


SHIPPED = TrainingPlan()
STEPS = 4
"""Ticks of a fit beside those of its trees."""


def fit(
    rows: Sequence[TrainingRow],
    plan: TrainingPlan,
    chance: Random,
    tick: Callable[[], None] = lambda: None,
) -> ClassifierModel:
    """Train on outcomes. Its probabilities mean nothing before it is calibrated."""
    sources = tuple(sorted({row.source for row in rows}))
    grown = extra_trees.grow(
        [row.numbers for row in rows],
        centred([row.gain for row in rows], [row.source for row in rows]),
        balanced([row.source for row in rows], 0.5),
        plan.growth,
        chance,
        tick,
    )
    terms = common(rows, plan.terms)
    means, spreads = _spread(rows)
    places = placed(terms)
    examples = [example(row, means, spreads, places) for row in rows]
    fitted = _fitted(rows, examples, sources, len(terms), plan.passes, chance, tick)
    reasoned = tuple(
        at
        for at, source in enumerate(sources)
        if any(row.reasoning is not None for row in rows if row.source == source)
    )
    columns = [_bytes(one.table) for one in fitted]
    return ClassifierModel(
        id="",
        size=len(terms),
        sources=sources,
        reasoned=reasoned,
        means=means,
        spreads=spreads,
        scales=tuple(scale for _, scale in columns),
        forms=tuple(_form(one) for one in fitted[: 1 + len(sources)]),
        beats=_beats(rows, examples),
        cuts=tuple(grown.cuts),
        trees=grown.trees,
        leaf=short(grown.leaf),
        mix=plan.mix,
        slope=1.0,
        level=0.0,
        parting=TierThresholds(fast=0.5, smart=0.5),
        known=known(rows),
        terms=pack_terms(terms),
        table=b"".join(column for column, _ in columns),
        forest=grown.nodes,
    )


def known(rows: Sequence[TrainingRow]) -> bytes:
    """The words that stand in at least three prompts, as bits."""
    counts = Counter(word for row in rows for word in {one & WORD_MASK for one in row.words})
    bits = bytearray(KNOWN_BYTES)
    for word, count in counts.items():
        if count >= _OFTEN:
            bits[word >> 3] |= 1 << (word & 7)
    return bytes(bits)


def common(
    rows: Sequence[TrainingRow], most: int, but: AbstractSet[int] = frozenset()
) -> tuple[int, ...]:
    """The terms that stand in most prompts, in at least three each, none of `but`; rising."""
    counts = Counter(term for row in rows for term in row.terms - but)
    some = [(-count, term) for term, count in counts.items() if count >= _OFTEN]
    return tuple(sorted(term for _, term in nsmallest(most, some)))


def placed(terms: Iterable[int]) -> Mapping[int, int]:
    """Where each term stands in a table."""
    return {term: at for at, term in enumerate(terms)}


def _fitted(
    rows: Sequence[TrainingRow],
    examples: list[ridge.Example],
    sources: tuple[str, ...],
    size: int,
    passes: int,
    chance: Random,
    tick: Callable[[], None],
) -> list[ridge.Fitted]:
    """`transfer`, then the gain of each source, then its gate."""

    def solve(
        some: Sequence[int], targets: Sequence[float], weights: Sequence[float], penalty: float
    ) -> ridge.Fitted:
        chosen = [examples[at] for at in some]
        return ridge.ridge(
            chosen, targets, weights, penalty, size=size, chance=chance, passes=passes
        )

    every = range(len(rows))
    hard = [_SMART * row.smart - row.fast for row in rows]
    middle = sum(hard) / len(hard)
    found = [solve(every, [value - middle for value in hard], [1.0] * len(rows), _HARD)]
    tick()
    for source in sources:
        some = [at for at in every if rows[at].source == source]
        gains = centred([rows[at].gain for at in some], [source] * len(some))
        found.append(solve(some, gains, [1.0] * len(some), _GAIN))
    tick()
    names = [row.source for row in rows]
    weights = balanced(names)
    plain = [one._replace(form=()) for one in examples]
    for source in sources:
        flags = [float(name == source) for name in names]
        found.append(
            ridge.ridge(
                plain, flags, weights, _GATE, size=size, chance=chance, passes=max(1, passes // 2)
            )
        )
    tick()
    return found


def _spread(rows: Sequence[TrainingRow]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    means, spreads = [], []
    for column in zip(*(row.numbers for row in rows), strict=True):
        middle = sum(column) / len(column)
        spread = sqrt(sum((value - middle) ** 2 for value in column) / len(column))
        means.append(short(middle))
        spreads.append(short(spread) or 1.0)
    return tuple(means), tuple(spreads)


def scaled(
    numbers: Sequence[float], artefact_means: Sequence[float], spreads: Sequence[float]
) -> tuple[float, ...]:
    """A form as the runtime has it, times its weight beside the places."""
    return tuple(
        _FORM * max(min((value - middle) / spread, _FAR), -_FAR)
        for value, middle, spread in zip(numbers, artefact_means, spreads, strict=True)
    )


def example(
    row: TrainingRow, means: Sequence[float], spreads: Sequence[float], places: Mapping[int, int]
) -> ridge.Example:
    """A row as a ridge reads it."""
    known = tuple(sorted(places[term] for term in row.terms if term in places))
    unit = 1 / sqrt(len(row.terms) or 1)
    return ridge.Example(known, unit, scaled(row.numbers, means, spreads))


def _beats(rows: Sequence[TrainingRow], examples: Sequence[ridge.Example]) -> tuple[float, ...]:
    """Of a form: how likely reasoning is to beat smart. By the form alone: such rows are few."""
    known = [at for at, row in enumerate(rows) if row.reasoning is not None]
    width = len(text_features.SHAPE_NAMES)
    if not known:
        return (0.0,) * (width + 1)
    better = [float((rows[at].reasoning or 0.0) > rows[at].smart) for at in known]
    middle = sum(better) / len(better)
    forms = [ridge.Example((), 0.0, examples[at].form) for at in known]
    fitted = ridge.ridge(
        forms,
        [value - middle for value in better],
        [1.0] * len(known),
        _BEATS * _FORM * _FORM,
        size=0,
        chance=Random(0),  # noqa: S311 - an order of rows
    )
    return (*_form(fitted), short(middle))


def _form(fitted: ridge.Fitted) -> tuple[float, ...]:
    return tuple(short(_FORM * weight) for weight in fitted.form)


def form(fitted: ridge.Fitted) -> tuple[float, ...]:
    """Weights for a form that is not scaled."""
    return _form(fitted)


def _bytes(table: Sequence[float]) -> tuple[bytes, float]:
    """A lane as signed bytes, and what a step of it is worth."""
    scale = short(max(map(abs, table), default=0.0) / _STEPS) or 1.0
    return bytes(max(-_STEPS, min(_STEPS, round(value / scale))) & 255 for value in table), scale


def lane(table: Sequence[float]) -> tuple[bytes, float]:
    """As `_bytes`."""
    return _bytes(table)


def short(value: float) -> float:
    """Six digits are what an artefact keeps."""
    return float(f"{value:.{_DIGITS}g}")
