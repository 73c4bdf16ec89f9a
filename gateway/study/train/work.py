"""An artefact at work on rows whose texts were read before."""

from collections.abc import Iterable

from gateway.core.evidence import Score
from gateway.routing.artefact import Artefact
from gateway.routing.learned import Learned
from gateway.routing.prior import Classifier
from gateway.study.train.rows import Row


def weighed(
    artefact: Artefact, rows: Iterable[Row], base: Classifier | None = None
) -> list[tuple[float, float]]:
    """Of each row its need, and the probability that smart fails where fast does."""
    learned = Learned(artefact, base)
    return [learned.weigh(row.reading, row.signals) for row in rows]


def needs(artefact: Artefact, rows: Iterable[Row], base: Classifier | None = None) -> list[float]:
    """What each row needs."""
    return [need for need, _ in weighed(artefact, rows, base)]


def scores(artefact: Artefact, rows: Iterable[Row]) -> list[Score]:
    """The score of each row."""
    learned = Learned(artefact)
    return [learned.judge(row.reading, row.signals) for row in rows]
