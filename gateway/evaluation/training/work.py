"""An artefact at work on rows whose texts were read before."""

from collections.abc import Iterable

from gateway.core.decision_context import Score
from gateway.evaluation.training.dataset import TrainingRow
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.classifier.model_file import ClassifierModel


def weighed(
    artefact: ClassifierModel, rows: Iterable[TrainingRow], base: Classifier | None = None
) -> list[tuple[float, float]]:
    """Of each row its need, and the probability that smart fails where fast does."""
    learned = LearnedClassifier(artefact, base)
    return [learned.weigh(row.reading, row.signals) for row in rows]


def needs(
    artefact: ClassifierModel, rows: Iterable[TrainingRow], base: Classifier | None = None
) -> list[float]:
    """What each row needs."""
    return [need for need, _ in weighed(artefact, rows, base)]


def scores(artefact: ClassifierModel, rows: Iterable[TrainingRow]) -> list[Score]:
    """The score of each row."""
    learned = LearnedClassifier(artefact)
    return [learned.judge(row.reading, row.signals) for row in rows]
