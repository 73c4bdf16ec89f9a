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


def make_judged_texts(
    count: int, seed: int = 1, *, noise: float = 0.05, start: float = 0.0
) -> dict[str, ImplicitFeedback]:
    """Return labels by text, whose hard words no benchmark has."""
    chance = Random(seed)
    feedback = {}
    for at in range(count):
        hard = at % 2 == 1
        words = [chance.choice(lesson.PLAIN) for _ in range(8)]
        words += [chance.choice(HARD if hard else EASY) for _ in range(4)]
        chance.shuffle(words)
        right = (not hard) != (chance.random() < noise)
        feedback[" ".join(words)] = ImplicitFeedback(
            id=f"call-{seed}-{at}", tenant="acme", received_at=start + at, dialect="openai-chat", served_tier="fast",
            origin="told", fast=float(right), smart=1.0 if right else None,
        )  # fmt: skip
    return feedback


def taught(feedback: dict[str, ImplicitFeedback]) -> list[TrafficLesson]:
    lessons, _ = from_traffic.taught(
        feedback.values(), {item.id: text for text, item in feedback.items()}
    )
    return lessons


def base() -> ClassifierModel:
    return lesson.learnt().model


@cache
def first_outcome() -> TrafficOutcome:
    return from_traffic.consider(base(), taught(make_judged_texts(160)))


def consider_quickly(
    lessons: list[TrafficLesson],
    artefact: ClassifierModel | None = None,
    made_at: float | None = None,
) -> TrafficOutcome:
    """Consider a new classifier with few controls, for tests that are not about controls."""
    return from_traffic.consider(artefact or base(), lessons, made=made_at, controls=1)


def test_a_model_that_is_better_on_unseen_calls_is_accepted() -> None:
    outcome = first_outcome()
    assert outcome.refused == ""
    assert outcome.origins == {"told": 160}
    assert outcome.before is not None
    assert outcome.after is not None
    assert outcome.gain is not None
    assert outcome.gain.is_above(0.05)
    assert outcome.after.value > 0.65 > outcome.before.value
    assert outcome.control is not None
    assert outcome.control < outcome.gain.value
    assert outcome.found is not None
    assert outcome.found.own_labels == 160
    assert outcome.found.id != base().id


def test_the_same_lessons_and_seed_give_the_same_bytes() -> None:
    model, repeated = (consider_quickly(taught(make_judged_texts(60))).found for _ in range(2))
    assert model is not None
    assert repeated is not None
    assert write(repeated) == write(model)


def test_a_model_from_random_labels_is_refused() -> None:
    """Half of the labels are wrong, so any gain is chance."""
    outcome = from_traffic.consider(base(), taught(make_judged_texts(100, seed=4, noise=0.5)))
    assert outcome.refused.startswith(
        ("its gain may be chance", "shuffled labels may gain as much")
    )


def test_too_few_labels_are_refused_before_any_training() -> None:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    outcome = from_traffic.consider(
        base(), taught(make_judged_texts(MIN_LABELS - 1)), textless=7, tick=tick
    )
    assert outcome.refused == f"{MIN_LABELS - 1} labels with their texts; {MIN_LABELS} are needed"
    assert (outcome.textless, outcome.found, ticks) == (7, None, 0)


def test_each_training_run_is_reported() -> None:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    from_traffic.consider(base(), taught(make_judged_texts(60)), controls=1, tick=tick)
    assert ticks == from_traffic.ticks(1)


def test_labels_that_are_all_good_are_refused() -> None:
    good = [
        TrafficLesson(item.lesson, item.row._replace(fast=1.0))
        for item in taught(make_judged_texts(60))
    ]
    outcome = consider_quickly(good)
    assert outcome.refused.startswith("smart is never better than fast")
    assert outcome.gain is None
    assert outcome.control is None


@cache
def current_model(count: int = 160) -> ClassifierModel:
    model = consider_quickly(taught(make_judged_texts(count))).found
    assert model is not None
    return model


def test_the_current_model_stays_until_enough_new_labels_exist() -> None:
    lessons = taught(make_judged_texts(160))
    outcome = consider_quickly(lessons, current_model(), lessons[-5].lesson.received_at)
    assert (
        outcome.refused
        == f"4 labels since the one in force was made; {from_traffic.SINCE} are needed"
    )
    assert (outcome.since, outcome.old, outcome.new) == (4, None, None)


def test_a_new_model_is_compared_with_the_current_one_on_new_labels() -> None:
    """A classifier of few labels gives way to one of many."""
    lessons = taught(make_judged_texts(60) | make_judged_texts(160, seed=2, start=1_000.0))
    outcome = consider_quickly(lessons, current_model(60), 999.0)
    assert outcome.since == 160
    assert outcome.old is not None
    assert outcome.new is not None
    assert outcome.refused == ""


def test_a_model_that_is_worse_than_the_current_one_is_refused() -> None:
    """The early labels are noise, and only the later ones can show that."""
    early = taught(make_judged_texts(60, noise=1.0))
    lessons = early + taught(make_judged_texts(200, seed=2, start=1_000.0))
    outcome = consider_quickly(lessons, current_model(), 999.0)
    assert outcome.old is not None
    assert outcome.new is not None
    assert outcome.new < outcome.old
    assert outcome.refused.startswith("it is worse than the one in force")


def test_without_earlier_labels_the_base_is_compared_with_the_current_model() -> None:
    lessons = taught(make_judged_texts(160, start=1_000.0))
    outcome = consider_quickly(lessons, current_model(), 1.0)
    assert outcome.since == 160
    assert outcome.new is not None
    assert outcome.old is not None
    assert outcome.old > outcome.new
    assert outcome.refused.startswith("it is worse")


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
def test_feedback_becomes_a_training_row(
    fast: float | None, smart: float | None, scores: tuple[float, float, float | None] | None
) -> None:
    feedback = lesson_of("told", fast, smart)
    lessons, lost = from_traffic.taught([feedback], {feedback.id: "a text"})
    assert [(x.row.fast, x.row.smart, x.row.reasoning) for x in lessons] == (
        [scores] if scores else []
    )
    assert lost == 0


def lesson_of(origin: FeedbackOrigin, fast: float | None, smart: float | None) -> ImplicitFeedback:
    return ImplicitFeedback(
        id="1", tenant="acme", received_at=0.0, dialect="openai-chat", served_tier="fast", origin=origin, fast=fast,
        smart=smart,
    )  # fmt: skip


def test_feedback_without_a_stored_text_is_counted_and_left_out() -> None:
    assert from_traffic.taught([lesson_of("told", 0.0, None)], {"other": "a text"}) == ([], 1)


def test_implicit_feedback_weighs_less_than_explicit_feedback() -> None:
    """Equal labels move a classifier less from its base as signs than as explicit feedback."""
    lessons = make_judged_texts(100)
    weak = {text: lesson_of_weight(item, 0.1) for text, item in lessons.items()}
    explicit, signs = consider_quickly(taught(lessons)), consider_quickly(taught(weak))
    assert explicit.found is not None
    assert signs.found is not None
    assert explicit.found.base_share < signs.found.base_share < 1


def lesson_of_weight(feedback: ImplicitFeedback, weight: float) -> ImplicitFeedback:
    values = {name: getattr(feedback, name) for name in feedback.__struct_fields__}
    return ImplicitFeedback(**{**values, "origin": "went on", "weight": weight})


def test_a_gain_within_reach_of_shuffled_labels_is_refused() -> None:
    """An interval above zero is not enough: it must lie above the gain from shuffled labels."""
    gain = Interval(0.1, 0.02, 0.2)
    assert from_traffic._refused(TrafficOutcome(gain=gain, control=0.01), None) == ""
    refused = from_traffic._refused(TrafficOutcome(gain=gain, control=0.05), None)
    assert refused.startswith("shuffled labels may gain as much: 0.050")
