"""Labels as training reads them: the prompt as numbers, and the scores of tiers on it.

There are two kinds of labels. A scored label has the scores of the tiers' answers. A placed label
has the tier that somebody gave the prompt.
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

_SCORES_BY_TIER: dict[Tier, tuple[float, float, float | None]] = {
    "fast": (1.0, 1.0, None),
    "smart": (0.0, 1.0, None),
    "reasoning": (0.0, 0.5, 1.0),
}
"""The scores of fast, smart and reasoning that stand for a placed prompt, by its tier."""


class TrainingRow(NamedTuple):
    """One prompt as numbers; its text is not kept."""

    source: str
    fast: float
    smart: float
    reasoning: float | None
    tier: Tier | None
    """The tier that somebody gave the prompt; None if its answers were scored."""
    places: frozenset[int]
    numbers: tuple[float, ...]
    signals: TextSignals

    @property
    def features(self) -> text_features.TextFeatures:
        """The features of the text, in the form that a classifier takes."""
        return text_features.TextFeatures(self.places, self.numbers)

    @property
    def gain(self) -> float:
        """The score of the smart tier minus that of the fast tier."""
        return self.smart - self.fast


def read_scored(label: Label) -> TrainingRow | None:
    """Return a label with scores of fast and smart as a row; None if it lacks one of them."""
    fast, smart = label.scores.get("fast"), label.scores.get("smart")
    if fast is None or smart is None:
        return None
    return _make_row(label, fast, smart, label.scores.get("reasoning"), None)


def read_placed(label: Label) -> TrainingRow | None:
    """Return a label with a tier as a row, as if that tier sufficed and lower ones failed.

    None if the label has no tier.
    """
    if label.tier is None:
        return None
    return _make_row(label, *_SCORES_BY_TIER[label.tier], label.tier)


def read_rows(labels: Iterable[Label]) -> list[TrainingRow]:
    """Return labels as rows: scored rows if they have scores, else placed ones; skip others."""
    rows = (read_scored(label) or read_placed(label) for label in labels)
    return [row for row in rows if row is not None]


def list_scored(rows: Iterable[TrainingRow]) -> list[TrainingRow]:
    """Return the rows whose answers were scored."""
    return [row for row in rows if row.tier is None]


def list_placed(rows: Iterable[TrainingRow]) -> list[TrainingRow]:
    """Return the rows whose prompt somebody gave a tier."""
    return [row for row in rows if row.tier is not None]


def _make_row(
    label: Label, fast: float, smart: float, reasoning: float | None, tier: Tier | None
) -> TrainingRow:
    scan = TextScan(label.prompt)
    signals = scan.signals()
    features = text_features.read_features(scan, signals)
    return TrainingRow(
        source=label.source or "labels",
        fast=fast,
        smart=smart,
        reasoning=reasoning,
        tier=tier,
        places=frozenset(features.places),
        numbers=tuple(features.numbers),
        signals=signals,
    )


def balance_sources(sources: Sequence[str]) -> list[float]:
    """Return a weight for each row, so that every source counts the same; the mean weight is 1."""
    sizes: dict[str, int] = {}
    for source in sources:
        sizes[source] = sizes.get(source, 0) + 1
    return [len(sources) / (len(sizes) * sizes[source]) for source in sources]


def centre_sources(values: Sequence[float], sources: Sequence[str]) -> list[float]:
    """Return each value minus the mean of its source.

    So training does not learn which source is harder.
    """
    sums: dict[str, tuple[float, int]] = {}
    for value, source in zip(values, sources, strict=True):
        total, count = sums.get(source, (0.0, 0))
        sums[source] = total + value, count + 1
    means = {source: total / count for source, (total, count) in sums.items()}
    return [value - means[source] for value, source in zip(values, sources, strict=True)]


def compute_needs(
    model: ClassifierModel, rows: Iterable[TrainingRow], base: Classifier | None = None
) -> list[float]:
    """Return how much each row needs more than fast: the logit that fast fails."""
    learned = LearnedClassifier(model, base)
    return [learned.compute_logits(row.features, row.signals).fast for row in rows]


def compute_scores(
    model: ClassifierModel, rows: Iterable[TrainingRow], base: Classifier | None = None
) -> list[Score]:
    """Return the classifier's score of each row."""
    learned = LearnedClassifier(model, base)
    return [learned.score_features(row.features, row.signals) for row in rows]
