"""A classifier that was trained: the prior, blended with the wording and the form of the prompt.

How much a prompt needs the stronger model, in units of the gap between the two:

    familiar * gain of the sources it is like + (1 - familiar) * transfer + forest + prior

Gains and `transfer` are linear in words and pairs of words, of those that are common, and in the
numbers of a shape. Where nothing is familiar `transfer` speaks, which was trained on how hard
prompts are and not on the gap, because that carries over to prompts of other kinds, and the prior
weighs more.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import compress
from math import exp, log, sqrt, sumprod
from struct import Struct
from typing import Any
from zlib import crc32

from gateway.core.decision_context import Score, Thresholds
from gateway.routing.classifier import heuristic, text_features
from gateway.routing.classifier.model_file import WORDS, ClassifierModel, unpacked
from gateway.routing.classifier.native.model import NativeModel, model
from gateway.routing.classifier.native.text import NativeText
from gateway.routing.classifier.scan import look
from gateway.routing.classifier.text_signals import TextScan, TextSignals
from gateway.routing.classifier.tokenizer import KEPT, MOST_KEPT
from gateway.routing.classifier.trees import TreeEnsemble

_LANE = 32
"""Bits of a lane in a sum: a text has some thousand terms, of at most 128 each."""
_SHORT = 2
"""Digits of a number that is likely to be seen again: of others no two prompts have the same."""
_FAR = 4.0
_FAMILIAR = (0.60, 0.95)
"""Shares of known words with which nothing, and all, of a text may be familiar."""
_TRUSTED = (0.75, 0.90)
"""The same of being judged by more than the prior: other languages are not in the data."""
_LEAST = 0.02
"""No probability is nearer to 0 or 1 than this where the data say it; the prior may be surer."""
_SAID = 0.02
"""A part that moves the need by less is not told."""


class _Tokens(dict[bytes, int]):
    """What tokens add to the lanes, for those of late; prompts have most of them in common."""

    def __init__(self, of: Callable[[int, int], int], known: bytes, words: tuple[int, int]) -> None:
        """`of` has what a term adds; `words` is for a word that is not `known`, and one that is."""
        super().__init__()
        self._of, self._seen, self._words = of, known, words

    def __missing__(self, token: bytes) -> int:
        term = crc32(token)
        found, most = self._of(term, 0), _SHORT
        if token[0] in text_features.BEGIN:
            found, most = found + self._words[self._seen[term & WORDS]], KEPT
        if len(token) <= most:
            if len(self) >= MOST_KEPT:
                self.clear()
            self[token] = found
        return found


class _Lanes:
    """What terms add to each lane, in one integer a term: one sum over terms sums them all.

    Behind the artefact's lanes are two that count: the words of a text, and those that are known.
    """

    def __init__(self, artefact: ClassifierModel) -> None:
        lanes = artefact.lanes
        self._known = bytes(byte >> at & 1 for byte in artefact.known for at in range(8))
        """1 for each word that was seen, else 0."""
        self._word = 1 << _LANE * lanes, 1 << _LANE * lanes | 1 << _LANE * (lanes + 1)
        """What a word adds to both counts: one that is not known, and one that is."""
        self._of = _joined(artefact).get
        self._tokens = _Tokens(self._of, self._known, self._word)
        # A lane may be negative. With half of all steps added each has its bits for itself; without
        # the highest of these it then is as C has it.
        self._half = sum(1 << _LANE * at + _LANE - 1 for at in range(lanes + 2))
        self._size = _LANE // 8 * (lanes + 2)
        self._unpack = Struct(f"<{lanes + 2}i").unpack

    def text(self, found: Sequence[bytes], each: set[bytes]) -> tuple[Sequence[int], int]:
        """The sums of the lanes over a text, and how many terms it has.

        `found` are its tokens in order, `each` has them once.
        """
        pairs = text_features.pairs(found)
        tokens = sum(map(self._tokens.__getitem__, each))
        return self._apart(tokens + sum(filter(None, map(self._of, pairs)))), len(each) + len(pairs)

    def read(self, reading: text_features.TextFeatures) -> tuple[Sequence[int], int]:
        """The same of a text that was read before."""
        terms, words, _ = reading
        known = sum(self._known[word & WORDS] for word in words)
        plain, both = self._word
        counts = plain * (len(words) - known) + both * known
        return self._apart(counts + sum(filter(None, map(self._of, terms)))), len(terms)

    def _apart(self, total: int) -> Sequence[int]:
        half = self._half
        return self._unpack((total + half ^ half).to_bytes(self._size, "little"))


type _Number = tuple[Any, ...]
"""Between which two ends a number counts, its cuts, the leaves within reach, its weights."""


class LearnedClassifier:
    """An artefact at work. It never looks at the text but through `signals` and `shape`.

    Until the first text is scored it is the artefact's bytes; then its numbers are laid out, which
    takes some milliseconds.
    """

    name = "learned"
    reads = "text"

    def __init__(self, artefact: ClassifierModel, base: heuristic.Classifier | None = None) -> None:
        """`base` is what judges where the data say nothing: the prior."""
        self.artefact = artefact
        self.version = artefact.id
        self.thresholds: Thresholds = artefact.thresholds
        self._base = base or heuristic.HeuristicClassifier()
        # Most numbers of most texts are 0: only what the others add to that is worked out. What is
        # added grows with the number between two ends, and none is negative.
        ends = [
            (mean - _FAR * wide, mean + _FAR * wide)
            for mean, wide in zip(artefact.means, artefact.spreads, strict=True)
        ]
        self._ends = [(max(low, 0.0), max(high, 0.0)) for low, high in ends]
        nothing = [
            (min(max(0.0, low), high) - mean) / wide
            for (low, high), mean, wide in zip(ends, artefact.means, artefact.spreads, strict=True)
        ]
        *beats, always = artefact.beats
        every = (*artefact.forms, tuple(beats))
        self._weights = [
            tuple(weight / wide for weight in column)
            for column, wide in zip(zip(*every, strict=True), artefact.spreads, strict=True)
        ]
        """By number: what a unit of it adds in each form, and in what reasoning beats smart by."""
        self._bases = [sumprod(weights, nothing) for weights in every]
        """What each of these comes to where all numbers are 0."""
        self._bases[-1] += always
        self._reasoned = frozenset(artefact.reasoned)

    @cached_property
    def _lanes(self) -> _Lanes:
        return _Lanes(self.artefact)

    @cached_property
    def _forest(self) -> TreeEnsemble:
        return TreeEnsemble(self.artefact)

    @cached_property
    def _model(self) -> NativeModel | None:
        return model(self.artefact, self._ends, self._weights, self._bases)

    @cached_property
    def _each(self) -> list[_Number]:
        """By number: all that is asked of it."""
        forest = self._forest
        rows = zip(self._ends, forest.cuts, forest.within, self._weights, strict=True)
        return [(*ends, cuts, within, *weights) for ends, cuts, within, weights in rows]

    def score(self, text: str, signals: TextSignals) -> Score:
        """Probabilities of what it has learnt; `because` has the parts for `why`."""
        seen = look(text)
        if isinstance(seen, NativeText):
            if self._model is not None:
                return self._model.score(seen, signals, self._base)
            seen = TextScan(text)
        found = seen.tokens
        each = {*found}
        sums, count = self._lanes.text(found, each)
        numbers = text_features.shape(seen, signals, found, each)
        return self._score(self._parts(sums, count, numbers, self._base.score("", signals)))

    def judge(self, reading: text_features.TextFeatures, signals: TextSignals) -> Score:
        """As `score`, of a text that was read before."""
        return self._score(self._read(reading, signals))

    def weigh(
        self, reading: text_features.TextFeatures, signals: TextSignals
    ) -> tuple[float, float]:
        """How much such a text needs the stronger model, in units of the gap between the two.

        And the probability that smart fails where fast does.
        """
        need, fails, _ = self._read(reading, signals)
        return need, fails

    def why(self, signals: TextSignals, score: Score) -> str:
        """The scores, the prior's words for what it saw, and what the rest did to them."""
        said = heuristic.why(signals, score)
        if not score.because:
            return said
        wording, form, familiar, nearest, own = score.because
        parts = [
            f"its {name} says {'harder' if value > 0 else 'easier'} ({value:+.2f})"
            for name, value in (("wording", wording), ("form", form), ("own labels", own))
            if abs(value) >= _SAID
        ]
        source = self.artefact.sources[int(nearest)]
        parts.append(f"like {source} {familiar:.0%}")
        return f"{said}; {', '.join(parts)}"

    def _read(
        self, reading: text_features.TextFeatures, signals: TextSignals
    ) -> tuple[float, float, tuple[float, ...]]:
        sums, count = self._lanes.read(reading)
        return self._parts(sums, count, reading.numbers, self._base.score("", signals))

    def _score(self, parts: tuple[float, float, tuple[float, ...]]) -> Score:
        need, fails, because = parts
        artefact = self.artefact
        fast = logistic(artefact.level - artefact.slope * need)
        return Score(fast=fast, smart=1 - (1 - fast) * fails, because=because)

    def _parts(
        self, sums: Sequence[int], count: int, numbers: Sequence[float], base: Score
    ) -> tuple[float, float, tuple[float, ...]]:
        """The need, how likely smart fails where fast does, and what made the need.

        `sums` are of the lanes, over as many terms as `count`, of which the vector has length one.
        """
        artefact, mix = self.artefact, self.artefact.mix
        sources = len(artefact.sources)
        *steps, words, seen = sums
        unit = 1 / sqrt(count or 1)
        lanes = [step * scale * unit for step, scale in zip(steps, artefact.scales, strict=True)]
        some = [*compress(numbers, numbers)]  # never none: a text has a sentence
        lows, highs, cuts, within, *weights = zip(*compress(self._each, numbers), strict=True)
        form = [
            ((number if number < high else high) - low) if number > low else 0.0  # noqa: FURB136
            for number, low, high in zip(some, lows, highs, strict=True)
        ]
        bases = self._bases
        gates = [
            (gate if gate < 1 else 1.0) if gate > 0 else 0.0
            for gate in lanes[1 + sources : 1 + 2 * sources]
        ]
        nearest, all_ = max(gates), sum(gates)
        known_words = seen / words if words else 0.0
        familiar = nearest * _ramp(known_words, _FAMILIAR)
        wording, shaped, known = 0.0, 0.0, 0.0
        if familiar > 0:
            for at, gate in enumerate(gates):
                if gate > 0:
                    share = familiar * gate / all_
                    wording += share * lanes[1 + at]
                    shaped += share * (bases[1 + at] + sumprod(weights[1 + at], form))
                    known += share if at in self._reasoned else 0.0
        strange = 1 - familiar
        if strange > 0:
            wording += strange * lanes[0]
            shaped += strange * (bases[0] + sumprod(weights[0], form))
        shaped += self._forest.some(some, cuts, within) * (1 - mix.strange * strange)
        trust = _ramp(known_words, _TRUSTED)
        wording, shaped = wording * trust, shaped * trust
        logit = log(base.fast / (1 - base.fast))
        need = wording + shaped - mix.prior * (1 - mix.settled * familiar) * logit
        fails = (1 - base.smart) / (1 - base.fast)
        if known:
            beats = bases[-1] + sumprod(weights[-1], form)
            fails = (1 - known) * fails + known * min(max(beats, _LEAST), 1 - _LEAST)
        own = 0.0
        if artefact.own:
            own = (1 - mix.base) * (lanes[-1] + (bases[-2] + sumprod(weights[-2], form)))
            wording, shaped, need = wording * mix.base, shaped * mix.base, need * mix.base + own
        return need, fails, (wording, shaped, familiar, float(gates.index(nearest)), own)


def _joined(artefact: ClassifierModel) -> dict[int, int]:
    """All lanes of each term in one integer, so that one sum over terms sums them all."""
    terms = (*unpacked(artefact.terms), *unpacked(artefact.more_terms))
    size, own = artefact.size, artefact.own > 0
    lanes = [artefact.table[at * size :][:size] for at in range(artefact.lanes - own)]
    found = [0] * len(terms)
    for at, lane in enumerate([*lanes, artefact.own_table] if own else lanes):
        shift = _LANE * at
        for place, step in enumerate(memoryview(lane).cast("b")):
            found[place] += step << shift
    return dict(zip(terms, found, strict=True))


def _ramp(share: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return min(max((share - low) / (high - low), 0.0), 1.0)


def logistic(logit: float) -> float:
    """The probability of a logit."""
    # A sum of bounded parts: no logit is large enough to overflow.
    return 1 / (1 + exp(-max(min(logit, 30.0), -30.0)))
