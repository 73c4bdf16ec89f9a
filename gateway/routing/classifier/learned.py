"""The learned classifier: two sums over a text's words and numbers, one per tier that may fail.

Each sum is a logit with three parts. The words add their values from a table of hashed words and
pairs. The plain numbers add theirs, and so does the formula that the classifier builds on. Words
that were not in the training data add next to nothing, so the numbers and the formula judge an
unfamiliar text.
"""

from functools import cached_property
from math import exp, log, sqrt, sumprod
from operator import itemgetter

import msgspec

from gateway.core.decision_context import Score, Thresholds
from gateway.routing.classifier import heuristic, text_features
from gateway.routing.classifier.model_file import ClassifierModel, FailureHead
from gateway.routing.classifier.scan import scan_text
from gateway.routing.classifier.text_features import PLACES, TextFeatures
from gateway.routing.classifier.text_signals import TextSignals

_MIN_PROBABILITY = 1e-6
_MIN_REPORTED_EFFECT = 0.1
"""The smallest effect on the logit that the explanation mentions."""


class FailureLogits(msgspec.Struct, frozen=True):
    """The logits of two tiers failing a text, and the parts of the first one."""

    fast: float
    smart: float
    word_effect: float
    number_effect: float
    own_effect: float
    """The effect of the owner's own labels."""


class LearnedClassifier:
    """A classifier that scores with a trained model."""

    name = "learned"
    reads = "text"

    def __init__(self, model: ClassifierModel, base: heuristic.Classifier | None = None) -> None:
        """`base` is the formula that the sums build on."""
        self.model = model
        self.version = model.id
        self.thresholds: Thresholds = model.thresholds
        self._base = base or heuristic.HeuristicClassifier()

    @cached_property
    def _tables(self) -> tuple[bytes, bytes, bytes]:
        """The steps that each place adds to the fast head, the smart head and the owner's head."""
        table = self.model.table
        return (
            _raise_steps(table[:PLACES]),
            _raise_steps(table[PLACES:]),
            _raise_steps(self.model.own_table),
        )

    def score(self, text: str, signals: TextSignals) -> Score:
        """Return the learned score of a text; `because` has the parts for `explain`."""
        return self.score_features(text_features.read_features(scan_text(text), signals), signals)

    def score_features(self, features: TextFeatures, signals: TextSignals) -> Score:
        """Return what `score` does, for a text whose features the caller has read."""
        logits = self.compute_logits(features, signals)
        fast = logistic(-logits.fast)
        return Score(
            fast=fast,
            smart=max(fast, logistic(-logits.smart)),
            because=(logits.word_effect, logits.number_effect, logits.own_effect),
        )

    def compute_logits(self, features: TextFeatures, signals: TextSignals) -> FailureLogits:
        """Return the logits of the two lower tiers failing a text."""
        model, (fast_table, smart_table, own_table) = self.model, self._tables
        places, numbers = features.places, features.numbers
        unit = 1 / sqrt(len(places) or 1)
        pick = itemgetter(PLACES, PLACES, *places)  # with fewer than two, it returns no sequence
        surplus = _ZERO_STEP * (len(places) + 2)
        base = self._base.score("", signals)
        fast, smart, own = model.fast_fails, model.smart_fails, model.own_fails
        word_effect = fast.step * unit * (sum(pick(fast_table)) - surplus)
        number_effect = sumprod(fast.weights, numbers) - fast.usual
        fast_logit = word_effect + number_effect - fast.formula * compute_logit(base.fast)
        smart_logit = (
            smart.level
            + smart.step * unit * (sum(pick(smart_table)) - surplus)
            + sumprod(smart.weights, numbers)
            - smart.usual
            + smart.formula * compute_logit((1 - base.smart) / (1 - base.fast))
        )
        own_effect = 0.0
        if own is not None:
            own_words = own.step * unit * (sum(pick(own_table)) - surplus)
            own_numbers = sumprod(own.weights, numbers) - own.usual
            own_effect = (1 - model.base_share) * (own_words + own_numbers)
            fast_logit = model.base_share * fast_logit + own_effect
        return FailureLogits(
            fast.level + fast_logit, smart_logit, word_effect, number_effect, own_effect
        )

    def explain(self, signals: TextSignals, score: Score) -> str:
        """Return the scores, what the formula saw, and how the other parts changed the scores."""
        explanation = heuristic.explain(signals, score)
        parts = [
            f"its {name} say {'harder' if effect > 0 else 'easier'} ({effect:+.1f})"
            for name, effect in zip(_EFFECT_NAMES, score.because, strict=False)
            if abs(effect) >= _MIN_REPORTED_EFFECT
        ]
        return ", ".join([explanation, *parts])


_ZERO_STEP = 128
"""The byte of a table that stands for a step of 0."""
_RAISED_BYTES = bytes((byte + _ZERO_STEP) % 256 for byte in range(256))


def _raise_steps(table: bytes) -> bytes:
    """Return signed steps as bytes without a sign, `_ZERO_STEP` higher, with a step of 0 behind.

    They are no list of integers, because a call's places lie anywhere in it: it would wait for
    memory twice as long.
    """
    return table.translate(_RAISED_BYTES) + bytes((_ZERO_STEP,))


_EFFECT_NAMES = ("words", "length and form", "own labels")
"""The names of the effects, in the order of `FailureLogits`."""


def scale_head(head: FailureHead, factor: float, level: float) -> FailureHead:
    """Return a head whose logit is `factor` times that of `head`, plus `level`."""
    return FailureHead(
        level=level,
        step=head.step * factor,
        weights=tuple(weight * factor for weight in head.weights),
        usual=head.usual * factor,
        formula=head.formula * factor,
    )


def compute_logit(probability: float) -> float:
    """Return the logit of a probability."""
    bounded = min(max(probability, _MIN_PROBABILITY), 1 - _MIN_PROBABILITY)
    return log(bounded / (1 - bounded))


def logistic(logit: float) -> float:
    """Return the probability of a logit."""
    return 1 / (1 + exp(-max(min(logit, 30.0), -30.0)))
