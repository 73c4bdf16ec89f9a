"""An owner's own labels, as a refit reads them: from feedback on calls, or from files of labels."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.core.target import Tier
from gateway.evaluation.implicit_feedback import ImplicitFeedback
from gateway.evaluation.labels import Label
from gateway.evaluation.training.dataset import TrainingRow, read_rows, read_scored

OUTCOME = "outcome"
"""The origin of a label whose answers somebody scored."""


class OwnLabel(msgspec.Struct, frozen=True, kw_only=True):
    """A label of the owner whom the refitted classifier serves."""

    row: TrainingRow
    origin: str
    """An origin of feedback, or `outcome`."""
    weight: float = 1.0
    """The weight beside a certain label, or beside the mean of a file, which have 1."""
    received_at: float | None = None
    """The time of its call, in seconds since the epoch; None if it is of no call."""


class OwnLabels(msgspec.Struct, frozen=True, kw_only=True):
    """The labels that a refit can use, and the number of the others."""

    labels: Sequence[OwnLabel]
    left_out: int
    """The number of labels without a text, or without scores of both fast and smart."""

    def count_origins(self) -> Mapping[str, int]:
        """Return the number of labels by origin."""
        return dict(sorted(Counter(label.origin for label in self.labels).items()))


def read_feedback(feedback: Iterable[ImplicitFeedback], texts: Mapping[str, str]) -> OwnLabels:
    """Return the labels in feedback; `texts` has the texts by the id of the call.

    Feedback that does not tell if fast suffices is no label. Other feedback becomes an outcome with
    scores of fast and smart. If neither suffices, smart still scores 0.5 and reasoning 1.
    """
    labels: list[OwnLabel] = []
    left_out = 0
    for item in feedback:
        if item.fast is None:
            continue
        text = texts.get(item.id)
        if text is None:
            left_out += 1
            continue
        smart = 1.0 if item.smart is None else max(item.smart, 0.5)
        scores: dict[Tier, float] = {"fast": item.fast, "smart": max(smart, item.fast)}
        if item.smart is not None and item.smart < 1:
            scores["reasoning"] = 1.0
        labels += [
            OwnLabel(row=row, origin=item.origin, weight=item.weight, received_at=item.received_at)
            for row in read_rows([Label(prompt=text, scores=scores, source=item.tenant)])
        ]
    return OwnLabels(labels=labels, left_out=left_out)


def read_outcomes(labels: Iterable[Label]) -> OwnLabels:
    """Return the labels of files. Their weights are scaled to a mean of 1."""
    pairs = [(read_scored(label), label.weight) for label in labels]
    scored = [(row, weight) for row, weight in pairs if row is not None]
    mean = sum(weight for _, weight in scored) / max(len(scored), 1)
    return OwnLabels(
        labels=[OwnLabel(row=row, origin=OUTCOME, weight=weight / mean) for row, weight in scored],
        left_out=len(pairs) - len(scored),
    )
