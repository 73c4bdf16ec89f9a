"""Own labels: from feedback with the texts of its calls, and from files with sampling weights."""

import pytest

from gateway.core.target import Tier
from gateway.evaluation.implicit_feedback import FeedbackOrigin, ImplicitFeedback
from gateway.evaluation.labels import Label
from gateway.evaluation.training.own_labels import OUTCOME, OwnLabels, read_feedback, read_outcomes

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
    own_labels = read_feedback([feedback], {feedback.id: "a text"})
    assert [(x.row.fast, x.row.smart, x.row.reasoning) for x in own_labels.labels] == (
        [scores] if scores else []
    )
    assert own_labels.left_out == 0


def lesson_of(origin: FeedbackOrigin, fast: float | None, smart: float | None) -> ImplicitFeedback:
    return ImplicitFeedback(
        id="1", tenant="acme", received_at=0.0, dialect="openai-chat", served_tier="fast", origin=origin, fast=fast,
        smart=smart,
    )  # fmt: skip


def test_feedback_without_a_stored_text_is_counted_and_left_out() -> None:
    own_labels = read_feedback([lesson_of("told", 0.0, None)], {"other": "a text"})
    assert own_labels == OwnLabels(labels=[], left_out=1)


def test_labels_of_files_count_by_the_prompts_that_they_stand_for() -> None:
    scores: dict[Tier, float] = {"fast": 0.0, "smart": 1.0}
    own_labels = read_outcomes(
        [
            Label(prompt="one", scores=scores, weight=1.0),
            Label(prompt="two", scores=scores, weight=3.0, source="own:acme"),
            Label(prompt="three", scores={"smart": 1.0, "reasoning": 1.0}),
            Label(prompt="four", tier="smart"),
        ]
    )
    assert [label.weight for label in own_labels.labels] == [0.5, 1.5]
    assert [label.row.source for label in own_labels.labels] == ["labels", "own:acme"]
    assert own_labels.left_out == 2
    assert own_labels.count_origins() == {OUTCOME: 2}
    assert read_outcomes([]) == OwnLabels(labels=[], left_out=0)
