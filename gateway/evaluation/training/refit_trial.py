"""Refit a classifier with an owner's own labels, and check that the new artefact is better.

Each label is judged by an artefact that has not seen it. The new artefact is refused

- if its gain over the base may be chance,
- if labels shuffled among the same prompts may teach as much,
- if it is worse than the artefact in force on labels that came after that one was made,
- or if there are too few labels to tell.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random

import msgspec

from gateway.evaluation.metrics.bootstrap import Interval
from gateway.evaluation.metrics.ranking import Sources, average_sources
from gateway.evaluation.training.dataset import TrainingRow, compute_needs
from gateway.evaluation.training.own_labels import OwnLabel, OwnLabels
from gateway.evaluation.training.refit import (
    MIN_LABELS,
    compare_needs,
    compute_unseen_needs,
    refit,
    remove_own_labels,
)
from gateway.routing.classifier.model_file import ClassifierModel

FOLDS = 5
CONTROLS = 9
"""The number of times that the labels are shuffled among the prompts to train a control.

The true labels judge the controls, as they judge the new artefact, so one base is compared with
all. Judged by shuffled labels, the base itself moves by chance, and hides gains.

The whole interval of the new artefact's gain must lie above the best of these. An interval judges
one training alone, so it lets through more than its level says.
"""
SINCE = 20
"""The number of labels since the artefact in force was made that a comparison needs."""
_COUNTS_A_LABEL = 10
"""The number of times that a label of weight 1 counts when a ranking is judged."""


class RefitOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a refit with own labels."""

    origins: Mapping[str, int] = {}
    """The number of labels by origin."""
    left_out: int = 0
    """The number of labels that the refit could not use."""
    before: Interval | None = None
    """The APGR of the base on these labels."""
    after: Interval | None = None
    """The APGR of the refitted base, which judges each label without having seen it."""
    gain: Interval | None = None
    control: float | None = None
    """The highest gain that shuffled labels gave."""
    control_mean: float | None = None
    """The mean gain that shuffled labels gave."""
    since: int = 0
    """The number of labels since the artefact in force was made."""
    old: float | None = None
    """The APGR of the artefact in force on these labels."""
    new: float | None = None
    """The APGR on these labels of an artefact that was made without them."""
    refused: str = ""
    """The reason why the artefact in force stays; empty if the new one takes its place."""
    found: ClassifierModel | None = None
    """The new artefact; None if there are too few labels for one."""


def consider(
    artefact: ClassifierModel,
    own_labels: OwnLabels,
    seed: int = 1,
    *,
    made: float | None = None,
    controls: int = CONTROLS,
    tick: Callable[[], None] = lambda: None,
) -> RefitOutcome:
    """Refit an artefact with the labels of one owner, and judge the new one.

    `made` is the time of the last refit of the artefact in force, in seconds since the epoch; None
    if there was none, or if the labels have no times. The function calls `tick` after each of
    `count_ticks()` fits. The same labels and seed give the same artefact.
    """
    labels = own_labels.labels
    outcome = RefitOutcome(origins=own_labels.count_origins(), left_out=own_labels.left_out)
    if len(labels) < MIN_LABELS:
        why = f"{len(labels)} labels can be used; {MIN_LABELS} are needed"
        return msgspec.structs.replace(outcome, refused=why)
    random, bare = Random(seed), remove_own_labels(artefact)  # noqa: S311 - seeded
    before = compute_needs(bare, _list_rows(labels))
    after = _judge_unseen(bare, labels, seed, tick)
    comparison = compare_needs(before, after, _list_rows(labels), random, _count_labels(labels))
    control_gains = []
    for _ in range(controls):
        taught_nothing = _judge_unseen(bare, shuffle_labels(labels, random), seed, tick)
        gain = _measure_gain(before, taught_nothing, labels)
        if gain is not None:
            control_gains.append(gain)
    outcome = msgspec.structs.replace(
        outcome,
        before=comparison.before,
        after=comparison.after,
        gain=comparison.gain,
        control=max(control_gains, default=None),
        control_mean=sum(control_gains) / len(control_gains) if control_gains else None,
    )
    outcome = _compare_with_current(outcome, artefact, labels, seed, made)
    classifier = _fit(bare, labels, seed)
    tick()
    return msgspec.structs.replace(outcome, found=classifier, refused=_refuse(outcome, made))


def count_ticks(controls: int = CONTROLS) -> int:
    """Return the number of fits after which `consider` calls `tick`."""
    return FOLDS * (1 + controls) + 1


def shuffle_labels(labels: Sequence[OwnLabel], random: Random) -> list[OwnLabel]:
    """Return the same prompts, with their labels shuffled among them."""
    order = list(labels)
    random.shuffle(order)
    return [
        msgspec.structs.replace(
            other,
            row=label.row._replace(
                fast=other.row.fast, smart=other.row.smart, reasoning=other.row.reasoning
            ),
        )
        for label, other in zip(labels, order, strict=True)
    ]


def _list_rows(labels: Sequence[OwnLabel]) -> list[TrainingRow]:
    return [label.row for label in labels]


def _fit(artefact: ClassifierModel, labels: Sequence[OwnLabel], seed: int) -> ClassifierModel:
    return refit(artefact, _list_rows(labels), seed, weights=[label.weight for label in labels])


def _judge_unseen(
    bare: ClassifierModel, labels: Sequence[OwnLabel], seed: int, tick: Callable[[], None]
) -> list[float]:
    """Return the need of each label by an artefact that has not seen it.

    The parts are always the same.
    """
    weights = [label.weight for label in labels]
    random = Random(seed)  # noqa: S311 - seeded
    return compute_unseen_needs(bare, _list_rows(labels), random, seed, FOLDS, weights, tick)


def _count_labels(labels: Sequence[OwnLabel]) -> list[int]:
    """Return how many times each label counts when a ranking is judged: at least once."""
    return [max(round(_COUNTS_A_LABEL * label.weight), 1) for label in labels]


def _compute_apgr(needs: Sequence[float], labels: Sequence[OwnLabel]) -> float | None:
    rows = _list_rows(labels)
    sources = Sources(
        needs,
        [row.fast for row in rows],
        [row.smart for row in rows],
        [row.source for row in rows],
    )
    return average_sources(sources.compute_apgr(_count_labels(labels)))


def _measure_gain(
    before: Sequence[float], after: Sequence[float], labels: Sequence[OwnLabel]
) -> float | None:
    old, new = _compute_apgr(before, labels), _compute_apgr(after, labels)
    return None if old is None or new is None else new - old


def _compare_with_current(
    outcome: RefitOutcome,
    artefact: ClassifierModel,
    labels: Sequence[OwnLabel],
    seed: int,
    made: float | None,
) -> RefitOutcome:
    """Compare the artefact in force with a refit of it, on labels that neither has seen.

    These are the labels that came after the artefact in force was made. The refit uses the earlier
    ones. Without `made`, or with fewer than `SINCE` labels, there is no comparison.
    """
    if made is None:
        return outcome
    late = [label for label in labels if (label.received_at or 0.0) > made]
    early = [label for label in labels if (label.received_at or 0.0) <= made]
    if len(late) < SINCE:
        return msgspec.structs.replace(outcome, since=len(late))
    other = _fit(artefact, early, seed) if early else remove_own_labels(artefact)
    return msgspec.structs.replace(
        outcome,
        since=len(late),
        old=_compute_apgr(compute_needs(artefact, _list_rows(late)), late),
        new=_compute_apgr(compute_needs(other, _list_rows(late)), late),
    )


def _refuse(outcome: RefitOutcome, made: float | None) -> str:
    """Return the reason why the new artefact is not to be used; empty if there is none."""
    if outcome.gain is None:
        return "smart is never better than fast in these labels: there is nothing to gain"
    if not outcome.gain.is_above(0.0):
        return f"its gain may be chance: {outcome.gain}"
    if outcome.control is not None and not outcome.gain.is_above(outcome.control):
        return f"shuffled labels may gain as much: {outcome.control:.3f}, and it {outcome.gain}"
    if made is None:
        return ""
    if outcome.since < SINCE:
        return f"{outcome.since} labels since the one in force was made; {SINCE} are needed"
    if outcome.old is not None and outcome.new is not None and outcome.new < outcome.old:
        worse = f"{outcome.new:.3f} to {outcome.old:.3f}"
        return f"it is worse than the one in force on what has come since: {worse}"
    return ""
