"""A classifier refitted with own labels: accepted if it is better, refused if not."""

from functools import cache
from random import Random

import msgspec

from gateway.evaluation.implicit_feedback import ImplicitFeedback
from gateway.evaluation.metrics.bootstrap import Interval
from gateway.evaluation.training import refit_trial
from gateway.evaluation.training.own_labels import OwnLabel, OwnLabels, read_feedback
from gateway.evaluation.training.refit import MIN_LABELS
from gateway.evaluation.training.refit_trial import RefitOutcome
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


def taught(feedback: dict[str, ImplicitFeedback]) -> OwnLabels:
    return read_feedback(feedback.values(), {item.id: text for text, item in feedback.items()})


def with_left_out(own_labels: OwnLabels, left_out: int) -> OwnLabels:
    return OwnLabels(labels=own_labels.labels, left_out=left_out)


def base() -> ClassifierModel:
    return lesson.learnt().model


@cache
def first_outcome() -> RefitOutcome:
    return refit_trial.consider(base(), taught(make_judged_texts(160)))


def consider_quickly(
    lessons: OwnLabels,
    artefact: ClassifierModel | None = None,
    made_at: float | None = None,
) -> RefitOutcome:
    """Consider a new classifier with few controls, for tests that are not about controls."""
    return refit_trial.consider(artefact or base(), lessons, made=made_at, controls=1)


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
    assert outcome.control_mean is not None
    assert outcome.control_mean <= outcome.control < outcome.gain.value
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
    outcome = refit_trial.consider(base(), taught(make_judged_texts(100, seed=4, noise=0.5)))
    assert outcome.refused.startswith(
        ("its gain may be chance", "shuffled labels may gain as much")
    )


def test_too_few_labels_are_refused_before_any_training() -> None:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    outcome = refit_trial.consider(
        base(), with_left_out(taught(make_judged_texts(MIN_LABELS - 1)), 7), tick=tick
    )
    assert outcome.refused == f"{MIN_LABELS - 1} labels can be used; {MIN_LABELS} are needed"
    assert (outcome.left_out, outcome.found, ticks) == (7, None, 0)


def test_each_training_run_is_reported() -> None:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    refit_trial.consider(base(), taught(make_judged_texts(60)), controls=1, tick=tick)
    assert ticks == refit_trial.count_ticks(1)


def test_labels_that_are_all_good_are_refused() -> None:
    good = [
        OwnLabel(row=label.row._replace(fast=1.0), origin=label.origin)
        for label in taught(make_judged_texts(60)).labels
    ]
    outcome = consider_quickly(OwnLabels(labels=good, left_out=0))
    assert outcome.refused.startswith("smart is never better than fast")
    assert outcome.gain is None
    assert (outcome.control, outcome.control_mean) == (None, None)


@cache
def current_model(count: int = 160) -> ClassifierModel:
    model = consider_quickly(taught(make_judged_texts(count))).found
    assert model is not None
    return model


def test_the_current_model_stays_until_enough_new_labels_exist() -> None:
    lessons = taught(make_judged_texts(160))
    outcome = consider_quickly(lessons, current_model(), lessons.labels[-5].received_at)
    assert (
        outcome.refused
        == f"4 labels since the one in force was made; {refit_trial.SINCE} are needed"
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
    early = make_judged_texts(60, noise=1.0)
    lessons = taught(early | make_judged_texts(200, seed=2, start=1_000.0))
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


def test_the_true_labels_judge_what_shuffled_labels_taught() -> None:
    """Shuffled labels pull a good order towards chance, so their mean gain is far below 0."""
    good_base = first_outcome().found
    assert good_base is not None
    as_a_base = msgspec.structs.replace(
        good_base, own_fails=None, own_labels=0, own_table=b"", base_share=1.0,
        fast_fails=good_base.own_fails, table=good_base.own_table + bytes(len(good_base.own_table)),
    )  # fmt: skip
    outcome = refit_trial.consider(as_a_base, taught(make_judged_texts(160)), controls=3)
    assert outcome.before is not None
    assert outcome.before.value > 0.7
    assert outcome.control is not None
    assert outcome.control < -0.01


def test_a_gain_within_reach_of_shuffled_labels_is_refused() -> None:
    """An interval above zero is not enough: it must lie above the gain from shuffled labels."""
    gain = Interval(0.1, 0.02, 0.2)
    assert refit_trial._refuse(RefitOutcome(gain=gain, control=0.01), None) == ""
    refused = refit_trial._refuse(RefitOutcome(gain=gain, control=0.05), None)
    assert refused.startswith("shuffled labels may gain as much: 0.050")


def test_labels_of_several_sources_are_judged_by_the_mean_over_sources() -> None:
    """Each source counts the same, so which source is harder does not matter."""
    labels = taught(make_judged_texts(80)).labels
    small = [
        OwnLabel(row=label.row._replace(source="small"), origin=label.origin, weight=0.01)
        for label in labels[:20]
    ]
    both = OwnLabels(labels=[*labels, *small], left_out=0)
    outcome, alone = consider_quickly(both), consider_quickly(OwnLabels(labels=labels, left_out=0))
    assert outcome.before is not None
    assert alone.before is not None
    assert outcome.before.value != alone.before.value
    assert 0.3 < outcome.before.value < 0.7
