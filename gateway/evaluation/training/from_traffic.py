"""Refit a classifier on an owner's own traffic, and check that the new artefact is better.

Each label is judged by an artefact that has not seen it. The new artefact is refused

- if its gain over the base may be chance,
- if labels shuffled among the same prompts may teach as much,
- if it is worse than the artefact in force on labels that came after that one was made,
- or if there are too few labels to tell.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

import msgspec

from gateway.core.target import Tier
from gateway.evaluation.implicit_feedback import WEIGHT_BY_ORIGIN, ImplicitFeedback
from gateway.evaluation.labels import Label
from gateway.evaluation.metrics.bootstrap import Interval
from gateway.evaluation.metrics.ranking import Ranking
from gateway.evaluation.training.dataset import TrainingRow, compute_needs, read_rows
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
"""The number of times that the labels are shuffled among the prompts, to train and to judge.

The whole interval of the new artefact's gain must lie above the best of these. An interval judges
one training alone, so it lets through more than its level says.
"""
SINCE = 20
"""The number of labels since the artefact in force was made that a comparison needs."""
_UNIT = min(WEIGHT_BY_ORIGIN.values())


class TrafficLesson(msgspec.Struct, frozen=True):
    """A lesson, and its row for training."""

    lesson: ImplicitFeedback
    row: TrainingRow

    @property
    def weight(self) -> float:
        """The weight of the lesson; one from feedback has 1."""
        return self.lesson.weight


class TrafficOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a refit on traffic."""

    origins: Mapping[str, int] = {}
    """The number of lessons by origin."""
    textless: int = 0
    """The number of lessons left out because the text of their calls was not kept."""
    before: Interval | None = None
    """The APGR of the base on these labels."""
    after: Interval | None = None
    """The APGR of the refitted base, which judges each label without having seen it."""
    gain: Interval | None = None
    control: float | None = None
    """The highest gain that shuffled labels gave."""
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


def taught(
    lessons: Iterable[ImplicitFeedback], texts: Mapping[str, str]
) -> tuple[list[TrafficLesson], int]:
    """Return lessons as training reads them, and the number of lessons whose text is missing.

    `texts` has the texts by the id of the call. Lessons that do not tell if fast suffices are
    left out. A lesson becomes an outcome with scores of fast and smart. If neither suffices, smart
    still scores 0.5 and reasoning 1.
    """
    usable, lost = [], 0
    for lesson in lessons:
        if lesson.fast is None:
            continue
        text = texts.get(lesson.id)
        if text is None:
            lost += 1
            continue
        smart = 1.0 if lesson.smart is None else max(lesson.smart, 0.5)
        scores: dict[Tier, float] = {"fast": lesson.fast, "smart": max(smart, lesson.fast)}
        if lesson.smart is not None and lesson.smart < 1:
            scores["reasoning"] = 1.0
        rows = read_rows([Label(prompt=text, scores=scores, source=lesson.tenant)])
        usable += [TrafficLesson(lesson, row) for row in rows]
    return usable, lost


def consider(
    artefact: ClassifierModel,
    lessons: Sequence[TrafficLesson],
    seed: int = 1,
    *,
    textless: int = 0,
    made: float | None = None,
    controls: int = CONTROLS,
    tick: Callable[[], None] = lambda: None,
) -> TrafficOutcome:
    """Refit the artefact in force on the lessons of one owner, and judge the new one.

    `made` is the time of the last refit, in seconds since the epoch; None if there was none. The
    function calls `tick` after each of `ticks()` fits. The same lessons and seed give the same
    artefact.
    """
    origins: dict[str, int] = {}
    for lesson in lessons:
        origins[lesson.lesson.origin] = origins.get(lesson.lesson.origin, 0) + 1
    outcome = TrafficOutcome(origins=dict(sorted(origins.items())), textless=textless)
    if len(lessons) < MIN_LABELS:
        why = f"{len(lessons)} labels with their texts; {MIN_LABELS} are needed"
        return msgspec.structs.replace(outcome, refused=why)
    chance, bare = Random(seed), remove_own_labels(artefact)  # noqa: S311 - seeded
    first = compute_needs(bare, [lesson.row for lesson in lessons])
    after = _unseen(bare, lessons, seed, tick)
    comparison = compare_needs(
        first, after, [lesson.row for lesson in lessons], chance, _counts(lessons)
    )
    control = None
    for _ in range(controls):
        other = _shuffled(lessons, chance)
        value = _gain(first, _unseen(bare, other, seed, tick), other)
        if value is not None and (control is None or value > control):
            control = value
    outcome = msgspec.structs.replace(
        outcome,
        before=comparison.before,
        after=comparison.after,
        gain=comparison.gain,
        control=control,
    )
    outcome = _since(outcome, artefact, lessons, seed, made)
    classifier = _fit(bare, lessons, seed)
    tick()
    return msgspec.structs.replace(outcome, found=classifier, refused=_refused(outcome, made))


def ticks(controls: int = CONTROLS) -> int:
    """Return the number of fits after which `consider` calls `tick`."""
    return FOLDS * (1 + controls) + 1


def _fit(artefact: ClassifierModel, lessons: Sequence[TrafficLesson], seed: int) -> ClassifierModel:
    return refit(
        artefact,
        [lesson.row for lesson in lessons],
        seed,
        weights=[lesson.weight for lesson in lessons],
    )


def _unseen(
    bare: ClassifierModel, lessons: Sequence[TrafficLesson], seed: int, tick: Callable[[], None]
) -> list[float]:
    """Return the need of each lesson by an artefact that has not seen it.

    The parts are always the same.
    """
    rows, weights = [lesson.row for lesson in lessons], [lesson.weight for lesson in lessons]
    return compute_unseen_needs(bare, rows, Random(seed), seed, FOLDS, weights, tick)  # noqa: S311 - seeded


def _shuffled(lessons: Sequence[TrafficLesson], chance: Random) -> list[TrafficLesson]:
    """Return the same prompts, with their labels shuffled among them."""
    order = list(lessons)
    chance.shuffle(order)
    return [
        TrafficLesson(
            other.lesson,
            lesson.row._replace(
                fast=other.row.fast, smart=other.row.smart, reasoning=other.row.reasoning
            ),
        )
        for lesson, other in zip(lessons, order, strict=True)
    ]


def _counts(lessons: Iterable[TrafficLesson]) -> list[int]:
    """Return how many times each lesson counts, when the weakest kind counts once."""
    return [round(lesson.weight / _UNIT) for lesson in lessons]


def _rankings(need: Sequence[float], lessons: Sequence[TrafficLesson]) -> Ranking:
    rows = [lesson.row for lesson in lessons]
    return Ranking(need, [row.fast for row in rows], [row.smart for row in rows])


def _gain(
    before: Sequence[float], after: Sequence[float], lessons: Sequence[TrafficLesson]
) -> float | None:
    counts = _counts(lessons)
    old = _rankings(before, lessons).compute_apgr(counts)
    new = _rankings(after, lessons).compute_apgr(counts)
    return None if old is None or new is None else new - old


def _since(
    outcome: TrafficOutcome,
    artefact: ClassifierModel,
    lessons: Sequence[TrafficLesson],
    seed: int,
    made: float | None,
) -> TrafficOutcome:
    """Compare the artefact in force with a refit of it, on labels that neither has seen.

    These are the labels that came after the artefact in force was made. The refit uses the earlier
    ones. Without `made`, or with fewer than `SINCE` labels, there is no comparison.
    """
    if made is None:
        return outcome
    late = [lesson for lesson in lessons if lesson.lesson.received_at > made]
    early = [lesson for lesson in lessons if lesson.lesson.received_at <= made]
    if len(late) < SINCE:
        return msgspec.structs.replace(outcome, since=len(late))
    rows, counts = [lesson.row for lesson in late], _counts(late)
    other = _fit(artefact, early, seed) if early else remove_own_labels(artefact)
    return msgspec.structs.replace(
        outcome,
        since=len(late),
        old=_rankings(compute_needs(artefact, rows), late).compute_apgr(counts),
        new=_rankings(compute_needs(other, rows), late).compute_apgr(counts),
    )


def _refused(outcome: TrafficOutcome, made: float | None) -> str:
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
