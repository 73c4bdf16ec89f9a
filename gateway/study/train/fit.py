"""From rows to the numbers of an artefact, but for its calibration."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import sqrt
from random import Random

import msgspec

from gateway.routing import shape
from gateway.routing.artefact import KNOWN, Artefact, Mix, Parting
from gateway.study.train import forest, ridge
from gateway.study.train.rows import Row, balanced, centred

_FORM = 0.065
"""How much the numbers of a shape weigh beside its places."""
_HARD, _GAIN, _GATE, _BEATS = 2.0, 3.0, 0.3, 20.0
"""Penalties of the ridges."""
_SMART = 0.5
"""How much of the smart tier's score counts in `transfer`: half, less the fast one's."""
_FAR = 4.0
_DIGITS = 6
_STEPS = 127
_ROOM = 973_000
"""Bytes behind the head, so that the file stays under 1 MB."""
BITS = 16
_FEWEST = 11
_OFTEN = 3


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How it is trained. The defaults are what ships."""

    bits: int = BITS
    passes: int = ridge.PASSES
    growth: forest.Growth = forest.Growth()
    mix: Mix = Mix()


SHIPPED = Plan()
STEPS = 4
"""Ticks of a fit beside those of its trees."""


def fit(
    rows: Sequence[Row], plan: Plan, chance: Random, tick: Callable[[], None] = lambda: None
) -> Artefact:
    """Train on outcomes. Its probabilities mean nothing before it is calibrated."""
    sources = tuple(sorted({row.source for row in rows}))
    grown = forest.grow(
        [row.numbers for row in rows],
        centred([row.gain for row in rows], [row.source for row in rows]),
        balanced([row.source for row in rows], 0.5),
        plan.growth,
        chance,
        tick,
    )
    lanes = 1 + 2 * len(sources)
    bits = plan.bits
    while bits > _FEWEST and (lanes << bits) + len(grown.nodes) + KNOWN > _ROOM:
        bits -= 1
    means, spreads = _spread(rows)
    examples = _examples(rows, means, spreads, bits)
    fitted = _fitted(rows, examples, sources, bits, plan.passes, chance, tick)
    reasoned = tuple(
        at
        for at, source in enumerate(sources)
        if any(row.reasoning is not None for row in rows if row.source == source)
    )
    packed = [_bytes(one.table) for one in fitted]
    return Artefact(
        id="",
        bits=bits,
        sources=sources,
        reasoned=reasoned,
        means=means,
        spreads=spreads,
        scales=tuple(scale for _, scale in packed),
        forms=tuple(_form(one) for one in fitted[: 1 + len(sources)]),
        beats=_beats(rows, examples),
        cuts=tuple(grown.cuts),
        trees=grown.trees,
        leaf=short(grown.leaf),
        mix=plan.mix,
        slope=1.0,
        level=0.0,
        parting=Parting(fast=0.5, smart=0.5),
        known=known(rows),
        table=b"".join(column for column, _ in packed),
        forest=grown.nodes,
    )


def known(rows: Sequence[Row]) -> bytes:
    """The words that stand in at least three prompts, as bits."""
    counts = Counter(word for row in rows for word in row.words)
    bits = bytearray(KNOWN)
    for word, count in counts.items():
        if count >= _OFTEN:
            bits[word >> 3] |= 1 << (word & 7)
    return bytes(bits)


def _fitted(
    rows: Sequence[Row],
    examples: list[ridge.Example],
    sources: tuple[str, ...],
    bits: int,
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
            chosen, targets, weights, penalty, bits=bits, chance=chance, passes=passes
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
    plain = [ridge.Example(one.places, ()) for one in examples]
    for source in sources:
        flags = [float(name == source) for name in names]
        found.append(
            ridge.ridge(
                plain, flags, weights, _GATE, bits=bits, chance=chance, passes=max(1, passes // 2)
            )
        )
    tick()
    return found


def _spread(rows: Sequence[Row]) -> tuple[tuple[float, ...], tuple[float, ...]]:
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


def _examples(
    rows: Sequence[Row], means: Sequence[float], spreads: Sequence[float], bits: int
) -> list[ridge.Example]:
    return [example(row, means, spreads, bits) for row in rows]


def example(row: Row, means: Sequence[float], spreads: Sequence[float], bits: int) -> ridge.Example:
    """A row as a ridge reads it."""
    places = tuple(sorted(row.reading(bits).places))
    return ridge.Example(places, scaled(row.numbers, means, spreads))


def _beats(rows: Sequence[Row], examples: Sequence[ridge.Example]) -> tuple[float, ...]:
    """Of a form: how likely reasoning is to beat smart. By the form alone: such rows are few."""
    known = [at for at, row in enumerate(rows) if row.reasoning is not None]
    width = len(shape.NAMES)
    if not known:
        return (0.0,) * (width + 1)
    better = [float((rows[at].reasoning or 0.0) > rows[at].smart) for at in known]
    middle = sum(better) / len(better)
    forms = [ridge.Example((), examples[at].form) for at in known]
    fitted = ridge.ridge(
        forms,
        [value - middle for value in better],
        [1.0] * len(known),
        _BEATS * _FORM * _FORM,
        bits=0,
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
    scale = short(max(map(abs, table)) / _STEPS) or 1.0
    return bytes(max(-_STEPS, min(_STEPS, round(value / scale))) & 255 for value in table), scale


def lane(table: Sequence[float]) -> tuple[bytes, float]:
    """As `_bytes`."""
    return _bytes(table)


def short(value: float) -> float:
    """Six digits are what an artefact keeps."""
    return float(f"{value:.{_DIGITS}g}")
