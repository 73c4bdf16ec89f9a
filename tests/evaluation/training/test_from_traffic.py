"""A classifier trained on an owner's traffic: accepted if it is better, refused if not."""

from functools import cache
from random import Random

import pytest

from gateway.evaluation.implicit_feedback import FeedbackOrigin, ImplicitFeedback
from gateway.evaluation.metrics.bootstrap import Interval
from gateway.evaluation.training import from_traffic
from gateway.evaluation.training.from_traffic import TrafficLesson, TrafficOutcome
from gateway.evaluation.training.refit import MIN_LABELS
from gateway.routing.classifier.model_file import ClassifierModel, write
from tests.evaluation.training import lesson

HARD = ("invoice", "ledger", "accrual", "escrow", "tariff", "levy")
EASY = ("greeting", "reminder", "address", "holiday", "parking", "lunch")


def said(
    count: int, seed: int = 1, *, noise: float = 0.05, start: float = 0.0
) -> dict[str, ImplicitFeedback]:
    """Return labels by text, whose hard words no benchmark has."""
    chance = Random(seed)
    found = {}
    for at in range(count):
        hard = at % 2 == 1
        words = [chance.choice(lesson.PLAIN) for _ in range(8)]
        words += [chance.choice(HARD if hard else EASY) for _ in range(4)]
        chance.shuffle(words)
        right = (not hard) != (chance.random() < noise)
        found[" ".join(words)] = ImplicitFeedback(
            id=f"call-{seed}-{at}", tenant="acme", received_at=start + at, dialect="openai-chat", served_tier="fast",
            origin="told", fast=float(right), smart=1.0 if right else None,
        )  # fmt: skip
    return found


def taught(known: dict[str, ImplicitFeedback]) -> list[TrafficLesson]:
    found, _ = from_traffic.taught(known.values(), {one.id: text for text, one in known.items()})
    return found


def base() -> ClassifierModel:
    return lesson.learnt().model


@cache
def first() -> TrafficOutcome:
    return from_traffic.consider(base(), taught(said(160)))


def considered(
    known: list[TrafficLesson], artefact: ClassifierModel | None = None, made: float | None = None
) -> TrafficOutcome:
    """Consider a new classifier with few controls, for tests that are not about controls."""
    return from_traffic.consider(artefact or base(), known, made=made, controls=1)


def test_what_the_calls_teach_is_taken_where_it_is_better_on_calls_it_has_not_seen() -> None:
    found = first()
    assert found.refused == ""
    assert found.origins == {"told": 160}
    assert found.before is not None
    assert found.after is not None
    assert found.gain is not None
    assert found.gain.is_above(0.05)
    assert found.after.value > 0.65 > found.before.value
    assert found.control is not None
    assert found.control < found.gain.value
    assert found.found is not None
    assert found.found.own_labels == 160
    assert found.found.id != base().id


def test_the_same_lessons_and_seed_give_the_same_bytes() -> None:
    one, again = (considered(taught(said(60))).found for _ in range(2))
    assert one is not None
    assert again is not None
    assert write(again) == write(one)


def test_labels_that_say_nothing_are_refused() -> None:
    """Half of the labels are wrong, so any gain is chance."""
    found = from_traffic.consider(base(), taught(said(100, seed=4, noise=0.5)))
    assert found.refused.startswith(("its gain may be chance", "shuffled labels may gain as much"))


def test_too_few_are_refused_before_anything_is_fitted() -> None:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    found = from_traffic.consider(base(), taught(said(MIN_LABELS - 1)), textless=7, tick=tick)
    assert found.refused == f"{MIN_LABELS - 1} labels with their texts; {MIN_LABELS} are needed"
    assert (found.textless, found.found, ticks) == (7, None, 0)


def test_each_fit_is_told() -> None:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    from_traffic.consider(base(), taught(said(60)), controls=1, tick=tick)
    assert ticks == from_traffic.ticks(1)


def test_answers_that_were_all_good_teach_nothing() -> None:
    good = [TrafficLesson(one.lesson, one.row._replace(fast=1.0)) for one in taught(said(60))]
    found = considered(good)
    assert found.refused.startswith("smart is never better than fast")
    assert found.gain is None
    assert found.control is None


@cache
def in_force(count: int = 160) -> ClassifierModel:
    found = considered(taught(said(count))).found
    assert found is not None
    return found


def test_the_one_in_force_stays_until_enough_has_come_since() -> None:
    known = taught(said(160))
    found = considered(known, in_force(), known[-5].lesson.received_at)
    assert (
        found.refused
        == f"4 labels since the one in force was made; {from_traffic.SINCE} are needed"
    )
    assert (found.since, found.old, found.new) == (4, None, None)


def test_a_new_one_is_held_against_the_one_in_force_on_what_has_come_since() -> None:
    """A classifier of few labels gives way to one of many."""
    known = taught(said(60) | said(160, seed=2, start=1_000.0))
    found = considered(known, in_force(60), 999.0)
    assert found.since == 160
    assert found.old is not None
    assert found.new is not None
    assert found.refused == ""


def test_one_that_is_worse_than_the_one_in_force_is_refused() -> None:
    """The early labels are noise, and only the later ones can show that."""
    early = taught(said(60, noise=1.0))
    known = early + taught(said(200, seed=2, start=1_000.0))
    found = considered(known, in_force(), 999.0)
    assert found.old is not None
    assert found.new is not None
    assert found.new < found.old
    assert found.refused.startswith("it is worse than the one in force")


def test_without_earlier_labels_the_base_is_held_against_the_one_in_force() -> None:
    known = taught(said(160, start=1_000.0))
    found = considered(known, in_force(), 1.0)
    assert found.since == 160
    assert found.new is not None
    assert found.old is not None
    assert found.old > found.new
    assert found.refused.startswith("it is worse")


WORTH: list[tuple[float | None, float | None, tuple[float, float, float | None] | None]] = [
    # how far fast and smart suffice -> scores of the three tiers
    (1.0, 1.0, (1.0, 1.0, None)),
    (0.0, None, (0.0, 1.0, None)),
    (0.25, None, (0.25, 1.0, None)),
    (0.0, 1.0, (0.0, 1.0, None)),
    (0.0, 0.0, (0.0, 0.5, 1.0)),
    (None, 1.0, None),
]


@pytest.mark.parametrize(("fast", "smart", "scores"), WORTH)
def test_a_lesson_is_read_as_an_outcome(
    fast: float | None, smart: float | None, scores: tuple[float, float, float | None] | None
) -> None:
    one = lesson_of("told", fast, smart)
    found, lost = from_traffic.taught([one], {one.id: "a text"})
    assert [(x.row.fast, x.row.smart, x.row.reasoning) for x in found] == (
        [scores] if scores else []
    )
    assert lost == 0


def lesson_of(origin: FeedbackOrigin, fast: float | None, smart: float | None) -> ImplicitFeedback:
    return ImplicitFeedback(
        id="1", tenant="acme", received_at=0.0, dialect="openai-chat", served_tier="fast", origin=origin, fast=fast,
        smart=smart,
    )  # fmt: skip


def test_lessons_whose_text_was_not_kept_are_counted_and_not_guessed() -> None:
    assert from_traffic.taught([lesson_of("told", 0.0, None)], {"other": "a text"}) == ([], 1)


def test_signs_weigh_less_than_words() -> None:
    """Equal labels move a classifier less from its base as signs than as explicit feedback."""
    known = said(100)
    weak = {text: lesson_of_weight(one, 0.1) for text, one in known.items()}
    told, signs = considered(taught(known)), considered(taught(weak))
    assert told.found is not None
    assert signs.found is not None
    assert told.found.base_share < signs.found.base_share < 1


def lesson_of_weight(one: ImplicitFeedback, weight: float) -> ImplicitFeedback:
    values = {name: getattr(one, name) for name in one.__struct_fields__}
    return ImplicitFeedback(**{**values, "origin": "went on", "weight": weight})


def test_a_gain_that_shuffled_labels_reach_is_refused() -> None:
    """An interval above zero is not enough: it must lie above the gain from shuffled labels."""
    gain = Interval(0.1, 0.02, 0.2)
    assert from_traffic._refused(TrafficOutcome(gain=gain, control=0.01), None) == ""
    refused = from_traffic._refused(TrafficOutcome(gain=gain, control=0.05), None)
    assert refused.startswith("shuffled labels may gain as much: 0.050")
