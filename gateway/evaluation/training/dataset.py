"""What training reads of a label: terms, form and signals of the prompt, and what tiers scored.

An artefact at work on rows whose texts were read before.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gateway.core.decision_context import Score
from gateway.core.target import Tier
from gateway.evaluation.labels import Label
from gateway.routing.classifier import text_features
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.classifier.model_file import ClassifierModel
from gateway.routing.classifier.text_signals import TextScan, TextSignals

_OPINIONS: dict[Tier, tuple[float, float, float | None]] = {
    "fast": (1.0, 1.0, None),
    "smart": (0.0, 1.0, None),
    "reasoning": (0.0, 0.5, 1.0),
}


class TrainingRow(NamedTuple):
    """One prompt as numbers; its text is not kept."""

    source: str
    fast: float
    smart: float
    reasoning: float | None
    terms: frozenset[int]
    words: frozenset[int]
    numbers: tuple[float, ...]
    signals: TextSignals

    @property
    def reading(self) -> text_features.TextFeatures:
        """As a classifier takes it."""
        return text_features.TextFeatures(self.terms, self.words, self.numbers)

    @property
    def gain(self) -> float:
        """What the smart tier adds."""
        return self.smart - self.fast


def outcome(label: Label) -> TrainingRow | None:
    """A label with scores of fast and smart; None where it has them not."""
    fast, smart = label.scores.get("fast"), label.scores.get("smart")
    if fast is None or smart is None:
        return None
    return _row(label, fast, smart, label.scores.get("reasoning"))


def opinion(label: Label) -> TrainingRow | None:
    """A label whose tier somebody gave, as if that tier had been right and those below wrong."""
    return None if label.tier is None else _row(label, *_OPINIONS[label.tier])


def outcomes(labels: Iterable[Label]) -> list[TrainingRow]:
    """Those with outcomes; opinions are none."""
    return [row for row in map(outcome, labels) if row is not None]


def own(labels: Iterable[Label]) -> list[TrainingRow]:
    """Labels of an owner's traffic: outcomes where there are, else what somebody said."""
    found = []
    for label in labels:
        row = outcome(label) or opinion(label)
        if row is not None:
            found.append(row)
    return found


def _row(label: Label, fast: float, smart: float, reasoning: float | None) -> TrainingRow:
    scan = TextScan(label.prompt)
    signals = scan.signals()
    terms, words, numbers = text_features.read_features(scan, signals)
    return TrainingRow(
        source=label.source or "labels",
        fast=fast,
        smart=smart,
        reasoning=reasoning,
        terms=frozenset(terms),
        words=frozenset(words),
        numbers=tuple(numbers),
        signals=signals,
    )


def balanced(sources: Sequence[str], power: float = 1.0) -> list[float]:
    """A weight for each row, of mean one: with power 1 every source counts the same."""
    sizes: dict[str, int] = {}
    for source in sources:
        sizes[source] = sizes.get(source, 0) + 1
    plain = [sizes[source] ** -power for source in sources]
    scale = len(plain) / sum(plain)
    return [weight * scale for weight in plain]


def centred(values: Sequence[float], sources: Sequence[str]) -> list[float]:
    """Each value less the mean of its source: which source is harder is not to be learnt."""
    sums: dict[str, tuple[float, int]] = {}
    for value, source in zip(values, sources, strict=True):
        total, count = sums.get(source, (0.0, 0))
        sums[source] = total + value, count + 1
    means = {source: total / count for source, (total, count) in sums.items()}
    return [value - means[source] for value, source in zip(values, sources, strict=True)]


def weighed(
    artefact: ClassifierModel, rows: Iterable[TrainingRow], base: Classifier | None = None
) -> list[tuple[float, float]]:
    """Of each row its need, and the probability that smart fails where fast does."""
    learned = LearnedClassifier(artefact, base)
    return [learned.estimate_need(row.reading, row.signals) for row in rows]


def needs(
    artefact: ClassifierModel, rows: Iterable[TrainingRow], base: Classifier | None = None
) -> list[float]:
    """What each row needs."""
    return [need for need, _ in weighed(artefact, rows, base)]


def scores(artefact: ClassifierModel, rows: Iterable[TrainingRow]) -> list[Score]:
    """The score of each row."""
    learned = LearnedClassifier(artefact)
    return [learned.score_features(row.reading, row.signals) for row in rows]
