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
from gateway.routing.classifier.model_file import WORD_MASK, ClassifierModel, unpack_terms
from gateway.routing.classifier.scan import scan_text
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.classifier.tokenizer import MAX_CACHED_TOKEN_BYTES, MAX_CACHED_TOKENS
from gateway.routing.classifier.trees import TreeEnsemble

_LANE_BITS = 32
"""Bits of a lane in a sum: a text has some thousand terms, of at most 128 each."""
_MAX_NUMBER_DIGITS = 2
"""Digits of a number that is likely to be seen again: of others no two prompts have the same."""
_MAX_SPREADS = 4.0
_FAMILIAR_SHARES = (0.60, 0.95)
"""Shares of known words with which nothing, and all, of a text may be familiar."""
_TRUSTED_SHARES = (0.75, 0.90)
"""The same of being judged by more than the prior: other languages are not in the data."""
_MIN_PROBABILITY = 0.02
"""No probability is nearer to 0 or 1 than this where the data say it; the prior may be surer."""
_MIN_REPORTED_EFFECT = 0.02
"""A part that moves the need by less is not told."""


class _TokenSums(dict[bytes, int]):
    """What tokens add to the lanes, for those of late; prompts have most of them in common."""

    def __init__(
        self, find_term: Callable[[int, int], int], known_words: bytes, word_counts: tuple[int, int]
    ) -> None:
        """`find_term` tells what a term adds; `word_counts` is of an unknown word, and a known one.

        `known_words` says of each term whether it is one.
        """
        super().__init__()
        self._find_term, self._known_words, self._word_counts = find_term, known_words, word_counts

    def __missing__(self, token: bytes) -> int:
        term = crc32(token)
        total, max_bytes = self._find_term(term, 0), _MAX_NUMBER_DIGITS
        if token[0] in text_features.WORD_FIRST_BYTES:
            total = total + self._word_counts[self._known_words[term & WORD_MASK]]
            max_bytes = MAX_CACHED_TOKEN_BYTES
        if len(token) <= max_bytes:
            if len(self) >= MAX_CACHED_TOKENS:
                self.clear()
            self[token] = total
        return total


class _Lanes:
    """What terms add to each lane, in one integer a term: one sum over terms sums them all.

    Behind the artefact's lanes are two that count: the words of a text, and those that are known.
    """

    def __init__(self, model: ClassifierModel) -> None:
        lanes = model.lanes
        self._known_words = bytes(byte >> index & 1 for byte in model.known for index in range(8))
        """1 for each word that was seen, else 0."""
        self._word_counts = (
            1 << _LANE_BITS * lanes,
            1 << _LANE_BITS * lanes | 1 << _LANE_BITS * (lanes + 1),
        )
        """What a word adds to both counts: one that is not known, and one that is."""
        self._find_term = _join_lanes(model).get
        self._token_sums = _TokenSums(self._find_term, self._known_words, self._word_counts)
        # A lane may be negative. With half of all steps added each has its bits for itself; without
        # the highest of these it then is as C has it.
        self._half = sum(1 << _LANE_BITS * index + _LANE_BITS - 1 for index in range(lanes + 2))
        self._byte_count = _LANE_BITS // 8 * (lanes + 2)
        self._unpack = Struct(f"<{lanes + 2}i").unpack

    def sum_tokens(
        self, ordered_tokens: Sequence[bytes], distinct_tokens: set[bytes]
    ) -> tuple[Sequence[int], int]:
        """The sums of the lanes over a text, and how many terms it has.

        `ordered_tokens` are its tokens in order, `distinct_tokens` has them once.
        """
        pairs = text_features.hash_pairs(ordered_tokens)
        token_total = sum(map(self._token_sums.__getitem__, distinct_tokens))
        return self._unpack_lanes(
            token_total + sum(filter(None, map(self._find_term, pairs)))
        ), len(distinct_tokens) + len(pairs)

    def sum_features(self, features: text_features.TextFeatures) -> tuple[Sequence[int], int]:
        """The same of a text that was read before."""
        terms, words, _ = features
        known_count = sum(self._known_words[word & WORD_MASK] for word in words)
        unknown_word, known_word = self._word_counts
        counts = unknown_word * (len(words) - known_count) + known_word * known_count
        return self._unpack_lanes(counts + sum(filter(None, map(self._find_term, terms)))), len(
            terms
        )

    def _unpack_lanes(self, total: int) -> Sequence[int]:
        half = self._half
        return self._unpack((total + half ^ half).to_bytes(self._byte_count, "little"))


type _NumberWeights = tuple[Any, ...]
"""Between which two ends a number counts, its cuts, the leaves within reach, its weights."""


class LearnedClassifier:
    """An artefact at work. It never looks at the text but through `signals` and `shape`.

    Until the first text is scored it is the artefact's bytes; then its numbers are laid out, which
    takes some milliseconds.
    """

    name = "learned"
    reads = "text"

    def __init__(self, model: ClassifierModel, base: heuristic.Classifier | None = None) -> None:
        """`base` is what judges where the data say nothing: the prior."""
        self.model = model
        self.version = model.id
        self.thresholds: Thresholds = model.thresholds
        self._base = base or heuristic.HeuristicClassifier()
        # Most numbers of most texts are 0: only what the others add to that is worked out. What is
        # added grows with the number between two ends, and none is negative.
        ranges = [
            (mean - _MAX_SPREADS * spread, mean + _MAX_SPREADS * spread)
            for mean, spread in zip(model.means, model.spreads, strict=True)
        ]
        self._ranges = [(max(low, 0.0), max(high, 0.0)) for low, high in ranges]
        zero_inputs = [
            (min(max(0.0, low), high) - mean) / spread
            for (low, high), mean, spread in zip(ranges, model.means, model.spreads, strict=True)
        ]
        *beat_weights, constant = model.beats
        weight_rows = (*model.forms, tuple(beat_weights))
        self._weights = [
            tuple(weight / spread for weight in column)
            for column, spread in zip(zip(*weight_rows, strict=True), model.spreads, strict=True)
        ]
        """By number: what a unit of it adds in each form, and in what reasoning beats smart by."""
        self._bases = [sumprod(weights, zero_inputs) for weights in weight_rows]
        """What each of these comes to where all numbers are 0."""
        self._bases[-1] += constant
        self._reasoned_sources = frozenset(model.reasoned)

    @cached_property
    def _lanes(self) -> _Lanes:
        return _Lanes(self.model)

    @cached_property
    def _forest(self) -> TreeEnsemble:
        return TreeEnsemble(self.model)

    @cached_property
    def _number_weights(self) -> list[_NumberWeights]:
        """By number: all that is asked of it."""
        forest = self._forest
        rows = zip(self._ranges, forest.cuts, forest.reachable, self._weights, strict=True)
        return [
            (*number_range, cuts, reachable, *weights)
            for number_range, cuts, reachable, weights in rows
        ]

    def score(self, text: str, signals: TextSignals) -> Score:
        """Probabilities of what it has learnt; `because` has the parts for `explain`."""
        scan = scan_text(text)
        tokens = scan.tokens
        distinct_tokens = {*tokens}
        sums, count = self._lanes.sum_tokens(tokens, distinct_tokens)
        numbers = text_features.compute_shape(scan, signals, tokens, distinct_tokens)
        return self._make_score(self._combine(sums, count, numbers, self._base.score("", signals)))

    def score_features(self, features: text_features.TextFeatures, signals: TextSignals) -> Score:
        """As `score`, of a text that was read before."""
        return self._make_score(self._combine_features(features, signals))

    def estimate_need(
        self, features: text_features.TextFeatures, signals: TextSignals
    ) -> tuple[float, float]:
        """How much such a text needs the stronger model, in units of the gap between the two.

        And the probability that smart fails where fast does.
        """
        need, fails, _ = self._combine_features(features, signals)
        return need, fails

    def explain(self, signals: TextSignals, score: Score) -> str:
        """The scores, the prior's words for what it saw, and what the rest did to them.

        It names no source: those are files of training, of which readers of a trace know nothing.
        """
        explanation = heuristic.explain(signals, score)
        if not score.because:
            return explanation
        wording, form, familiar, _, own_effect = score.because
        parts = [
            f"its {name} says {'harder' if value > 0 else 'easier'} ({value:+.2f})"
            for name, value in (("wording", wording), ("form", form), ("own labels", own_effect))
            if abs(value) >= _MIN_REPORTED_EFFECT
        ]
        parts.append(f"{familiar:.0%} like prompts that it has learnt from")
        return f"{explanation}; {', '.join(parts)}"

    def _combine_features(
        self, features: text_features.TextFeatures, signals: TextSignals
    ) -> tuple[float, float, tuple[float, ...]]:
        sums, count = self._lanes.sum_features(features)
        return self._combine(sums, count, features.numbers, self._base.score("", signals))

    def _make_score(self, parts: tuple[float, float, tuple[float, ...]]) -> Score:
        need, fails, because = parts
        model = self.model
        fast = logistic(model.level - model.slope * need)
        return Score(fast=fast, smart=1 - (1 - fast) * fails, because=because)

    def _combine(
        self, sums: Sequence[int], count: int, numbers: Sequence[float], base: Score
    ) -> tuple[float, float, tuple[float, ...]]:
        """The need, how likely smart fails where fast does, and what made the need.

        `sums` are of the lanes, over as many terms as `count`, of which the vector has length one.
        """
        model, mix = self.model, self.model.mix
        sources = len(model.sources)
        *steps, word_count, known_count = sums
        unit = 1 / sqrt(count or 1)
        lanes = [step * scale * unit for step, scale in zip(steps, model.scales, strict=True)]
        nonzero = [*compress(numbers, numbers)]  # never none: a text has a sentence
        lows, highs, cuts, reachable, *weights = zip(
            *compress(self._number_weights, numbers), strict=True
        )
        clipped = [
            ((number if number < high else high) - low) if number > low else 0.0  # noqa: FURB136
            for number, low, high in zip(nonzero, lows, highs, strict=True)
        ]
        bases = self._bases
        source_gates = [
            (gate if gate < 1 else 1.0) if gate > 0 else 0.0
            for gate in lanes[1 + sources : 1 + 2 * sources]
        ]
        nearest, gate_total = max(source_gates), sum(source_gates)
        known_word_share = known_count / word_count if word_count else 0.0
        familiar = nearest * _interpolate(known_word_share, _FAMILIAR_SHARES)
        wording_effect, form_effect, reasoned_share = 0.0, 0.0, 0.0
        if familiar > 0:
            for index, gate in enumerate(source_gates):
                if gate > 0:
                    share = familiar * gate / gate_total
                    wording_effect += share * lanes[1 + index]
                    form_effect += share * (bases[1 + index] + sumprod(weights[1 + index], clipped))
                    reasoned_share += share if index in self._reasoned_sources else 0.0
        unfamiliar = 1 - familiar
        if unfamiliar > 0:
            wording_effect += unfamiliar * lanes[0]
            form_effect += unfamiliar * (bases[0] + sumprod(weights[0], clipped))
        form_effect += self._forest.compute_nonzero_mean(nonzero, cuts, reachable) * (
            1 - mix.strange * unfamiliar
        )
        trust = _interpolate(known_word_share, _TRUSTED_SHARES)
        wording_effect, form_effect = wording_effect * trust, form_effect * trust
        logit = log(base.fast / (1 - base.fast))
        need = wording_effect + form_effect - mix.prior * (1 - mix.settled * familiar) * logit
        fails = (1 - base.smart) / (1 - base.fast)
        if reasoned_share:
            beat_probability = bases[-1] + sumprod(weights[-1], clipped)
            fails = (1 - reasoned_share) * fails + reasoned_share * min(
                max(beat_probability, _MIN_PROBABILITY), 1 - _MIN_PROBABILITY
            )
        own_effect = 0.0
        if model.own:
            own_effect = (1 - mix.base) * (lanes[-1] + (bases[-2] + sumprod(weights[-2], clipped)))
            wording_effect = wording_effect * mix.base
            form_effect = form_effect * mix.base
            need = need * mix.base + own_effect
        return (
            need,
            fails,
            (wording_effect, form_effect, familiar, float(source_gates.index(nearest)), own_effect),
        )


def _join_lanes(model: ClassifierModel) -> dict[int, int]:
    """All lanes of each term in one integer, so that one sum over terms sums them all."""
    terms = (*unpack_terms(model.terms), *unpack_terms(model.more_terms))
    size, has_own = model.size, model.own > 0
    lanes = [model.table[index * size :][:size] for index in range(model.lanes - has_own)]
    sums = [0] * len(terms)
    for index, lane in enumerate([*lanes, model.own_table] if has_own else lanes):
        shift = _LANE_BITS * index
        for term_index, step in enumerate(memoryview(lane).cast("b")):
            sums[term_index] += step << shift
    return dict(zip(terms, sums, strict=True))


def _interpolate(share: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return min(max((share - low) / (high - low), 0.0), 1.0)


def logistic(logit: float) -> float:
    """The probability of a logit."""
    # A sum of bounded parts: no logit is large enough to overflow.
    return 1 / (1 + exp(-max(min(logit, 30.0), -30.0)))
