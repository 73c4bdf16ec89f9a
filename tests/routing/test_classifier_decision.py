"""Which decisions of a user's turn are the classifier's."""

import pytest

from gateway.core.call import Call
from gateway.core.decision_context import DecisionContext
from gateway.dialects import OPENAI_CHAT
from gateway.routing.classifier_decision import find_classifier_decision
from tests.routing import world

CALL = Call(
    id="tg-1", dialect=OPENAI_CHAT.name, operation="generate", body=b"", received_at=0.0, started_at=0.0
)  # fmt: skip
CLASSIFIER = world.FixedScoreClassifier(fast=1.0, smart=1.0)


def test_a_turn_that_no_rule_decides_is_the_classifiers() -> None:
    router = world.router(classifier=CLASSIFIER)
    decision = find_classifier_decision(router, CALL, world.call("a song"), DecisionContext())
    assert decision is not None
    assert (decision.source, decision.tier) == ("classifier", "fast")


@pytest.mark.parametrize(
    ("guards", "choices", "model", "text"),
    [
        ([{"refuse": "no"}], [], "auto", "a song"),
        ([], [{"tier": "smart"}], "auto", "a song"),
        ([], [], "smart", "a song"),
        ([], [], "auto", ""),
    ],
    ids=["refused by a guard", "decided by a choice", "pinned", "without text"],
)
def test_other_turns_are_not(
    guards: list[world.Json], choices: list[world.Json], model: str, text: str
) -> None:
    router = world.router(guards, choices, CLASSIFIER)
    call = world.call(text, model)
    assert find_classifier_decision(router, CALL, call, DecisionContext()) is None
