"""Conditions on the classifier's score: computed once, only if a rule needs it."""

from typing import Any

import pytest

from gateway.core.decision import Decision
from gateway.core.decision_context import EMPTY_CONTEXT, DecisionContext, Score, Thresholds
from gateway.core.errors import ProblemError
from gateway.core.target import Tier
from gateway.dialects import OPENAI_CHAT
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.errors import MissingFeatureError
from gateway.routing.features import Features
from gateway.routing.replay_decision import decide_again
from gateway.routing.router import decide
from tests.ledger.rows import entry
from tests.routing import world
from tests.routing.world import Json

TEXT = "Why does this deadlock?"


class CountingClassifier:
    """A classifier that reads the text itself and counts its runs."""

    name = version = "counting-1"
    thresholds = Thresholds(fast=0.5, smart=0.6, id="counting-1")

    def __init__(self, fast: float = 0.32, smart: float = 0.9) -> None:
        self.result = Score(fast=fast, smart=smart)
        self.calls = 0

    def score(self, text: str, signals: TextSignals) -> Score:
        self.calls += 1
        if text == "fail":
            raise KeyError(text)
        return self.result

    def explain(self, signals: TextSignals, score: Score) -> str:
        return f"fast {score.fast}"


def decision_of(
    when: Json,
    classifier: CountingClassifier | None,
    call: Features | None = None,
    context: DecisionContext = EMPTY_CONTEXT,
) -> Decision:
    router = world.router(choices=[{"when": when, "tier": "reasoning"}], classifier=classifier)
    return decide(router, call or world.call(TEXT), OPENAI_CHAT, context)[0]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"need": {"min": 0.68}}, True),
        ({"need": {"min": 0.69}}, False),
        ({"need": {"max": 0.68}}, True),
        ({"need": {"min": 0.2, "max": 0.5}}, False),
        ({"confidence": {"min": 0.9}}, True),
        ({"confidence": {"max": 0.89}}, False),
        ({"need": {"min": 0.5}, "confidence": {"min": 0.5}, "user_tokens": {"min": 1}}, True),
        ({"not": {"need": {"min": 0.69}}}, True),
        ({"cel": "call.need > 0.6 && call.confidence > 0.8"}, True),
        ({"cel": "call.need > 0.7"}, False),
    ],
)
def test_a_condition_can_read_the_score_which_is_computed_once(when: Json, expected: bool) -> None:
    classifier = CountingClassifier()
    decision = decision_of(when, classifier)
    assert (decision.source == "rule") is expected
    assert classifier.calls == 1
    assert world.lines(decision)[1] == "score: need 0.68, confidence 0.90 (a rule asked for it)"


@pytest.mark.parametrize(
    ("fast", "smart", "tier", "confidence"),
    [(0.8, 0.9, "fast", 0.8), (0.3, 0.9, "smart", 0.9), (0.1, 0.3, "reasoning", 0.7)],
)
def test_the_confidence_condition_reads_that_of_the_decision(
    fast: float, smart: float, tier: Tier, confidence: float
) -> None:
    exact = {"confidence": {"min": confidence, "max": confidence}}
    classifier = CountingClassifier(fast, smart)
    assert decision_of(exact, classifier).source == "rule"
    decision = decision_of({"not": exact}, classifier)
    assert (decision.tier, decision.confidence) == (tier, confidence)


def test_the_confidence_condition_uses_the_thresholds_of_the_context() -> None:
    context = DecisionContext(thresholds=Thresholds(fast=0.2, smart=0.6, id="bounded"))
    classifier = CountingClassifier()
    assert decision_of({"confidence": {"max": 0.32}}, classifier, context=context).source == "rule"
    decision = decision_of({"confidence": {"min": 0.4}}, classifier, context=context)
    assert (decision.tier, decision.confidence) == ("fast", 0.32)


@pytest.mark.parametrize(
    ("when", "model"),
    [
        ({"need": {"min": 0.1}}, "smart"),  # a named tier: no choice runs
        ({"turns": {"min": 2}, "need": {"min": 0.1}}, "smart"),
        ({"user_tokens": {"min": 100}, "need": {"min": 0.1}}, "luna"),
    ],
)
def test_no_score_is_computed_that_no_rule_needs(when: Json, model: str) -> None:
    classifier = CountingClassifier()
    decision_of(when, classifier, world.call(TEXT, model=model))
    assert classifier.calls == 0


def test_a_guard_scores_a_call_that_names_its_model() -> None:
    classifier = CountingClassifier()
    router = world.router(
        [{"when": {"need": {"min": 0.5}}, "refuse": "No."}], classifier=classifier
    )
    with pytest.raises(ProblemError):
        decide(router, world.call(TEXT, model="luna"), OPENAI_CHAT)
    assert classifier.calls == 1


@pytest.mark.parametrize(
    "when", [{"need": {"min": 0}}, {"confidence": {"max": 1}}, {"cel": "call.need >= 0.0"}]
)
@pytest.mark.parametrize(
    ("classifier", "text", "why"),
    [
        (None, TEXT, "there is no classifier"),
        (CountingClassifier(), "", "the turn has no text"),
        (CountingClassifier(), "fail", "it failed: KeyError"),
        (CountingClassifier(0.9, 0.1), TEXT, "its score is not between 0 and 1"),
    ],
)  # fmt: skip
def test_without_a_score_the_rule_does_not_match_and_the_trace_says_so(
    when: Json, classifier: CountingClassifier | None, text: str, why: str
) -> None:
    decision = decision_of(when, classifier, world.call(text))
    assert decision.source != "rule"
    assert f"-rule:  (choice 0: the classifier has no score, {why})" in world.lines(decision)


def test_rules_see_the_score_of_the_classifier_and_not_of_the_judge() -> None:
    context = DecisionContext(judged=Score(fast=1, smart=1))
    classifier = CountingClassifier()
    assert decision_of({"need": {"min": 0.5}}, classifier, context=context).source == "rule"
    judged = decision_of({"need": {"max": 0.5}}, classifier, context=context)
    assert (judged.source, judged.tier, judged.confidence) == ("classifier", "fast", None)


@pytest.mark.parametrize("model", ["auto", "luna"])
def test_a_replay_uses_the_score_in_the_row(model: str) -> None:
    rules: dict[str, Any] = {
        "guards": [{"when": {"need": {"min": 0.5}}, "tag": "hard"}],
        "choices": [{"when": {"confidence": {"min": 0.5}}, "tier": "reasoning"}],
    }
    classifier = CountingClassifier()
    router = world.router(**rules, classifier=classifier)
    recorder = DecisionRecorder(router, world.call(TEXT, model=model), OPENAI_CHAT, EMPTY_CONTEXT)
    decision, _ = recorder.decide()
    row = entry(asked=model, basis=recorder())
    assert recorder() is row.basis  # the row and a shadow share one record
    replayed, _ = decide_again(router, row)
    assert world.timeless(replayed) == world.timeless(decision)
    assert (replayed.tags, classifier.calls) == (("hard",), 1)
    other_classifier = CountingClassifier()
    other_classifier.version = "counting-2"
    with pytest.raises(MissingFeatureError):
        decide_again(world.router(**rules, classifier=other_classifier), row)
