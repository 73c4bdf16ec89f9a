"""Conditions on the system prompt, parameters, metadata and the end user of a request."""

import pytest

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY
from gateway.core.decision_context import EMPTY_CONTEXT
from gateway.dialects import OPENAI_CHAT
from gateway.dialects.translation import TranslatableRequest
from gateway.routing import features
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.errors import MissingFeatureError
from gateway.routing.features import Features
from gateway.routing.replay_decision import decide_again
from gateway.routing.router import decide
from gateway.routing.rules.compile import compile_rules
from gateway.routing.rules.context import RuleContext
from gateway.settings.schema.rules import ChoicePart, WhenPart
from tests.ledger.rows import entry
from tests.routing import world
from tests.routing.world import Json

BODY: Json = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "You review contracts.\nAnswer in one line."},
        {"role": "user", "content": "Is this a poem?"},
    ],
    "max_completion_tokens": 500,
    "temperature": 0.7,
    "reasoning_effort": "high",
    "metadata": {"team": "legal-eu", "run": "7"},
    "user": "ann@example.com",
}
BARE: Json = {"model": "auto", "messages": [{"role": "user", "content": "Review contracts"}]}


def call_of(body: Json) -> Features:
    parsed = OPENAI_CHAT.read(jsonio.dumps(body))
    request = TranslatableRequest(OPENAI_CHAT, parsed)
    return features.read(parsed.prompt, OPENAI_CHAT.name, OPEN_KEY, NO_OPTIONS, request)


def matches(when: Json, body: Json) -> bool:
    router = world.router(choices=[{"when": when, "tier": "fast"}])
    return decide(router, call_of(body), OPENAI_CHAT)[0].rule == "choice 0"


CONDITIONS: list[tuple[Json, bool]] = [
    ({"system_keywords": ["contracts", "poem"]}, True),
    ({"system_keywords": "contract"}, False),
    ({"system_keywords": "poem"}, False),  # in the user's turn alone
    ({"keywords": "contracts"}, False),  # in the system prompt alone
    ({"keywords": "poem", "system_keywords": "review"}, True),
    ({"system_matches": r"one\s+line\.$"}, True),
    ({"system_matches": "two lines"}, False),
    ({"system_keywords": "contracts", "system_matches": "^You"}, True),
    ({"max_tokens": {"min": 500, "max": 500}}, True),
    ({"max_tokens": {"max": 499}}, False),
    ({"temperature": {"min": 0.7}}, True),
    ({"temperature": {"max": 0.6}}, False),
    ({"effort": ["high", "xhigh"]}, True),
    ({"effort": "low"}, False),
    ({"metadata": {"team": "legal-*"}}, True),
    ({"metadata": {"team": ["sales", "legal-eu"], "run": "7"}}, True),
    ({"metadata": {"team": "legal-eu", "run": "8"}}, False),
    ({"metadata": {"other": "*"}}, False),
    ({"user": ["bob", "*@example.com"]}, True),
    ({"user": "ann"}, False),
    ({"cel": 'call.system.contains("review") && call.user.endsWith("example.com")'}, True),
    ({"cel": 'call.metadata["team"] == "legal-eu" && !("other" in call.metadata)'}, True),
    ({"cel": 'call.metadata["other"] == "legal-eu"'}, False),
    ({"cel": 'call.max_tokens == 500 && call.temperature > 0.6 && call.effort == "high"'}, True),
]


@pytest.mark.parametrize(("when", "expected"), CONDITIONS)
def test_a_condition_reads_the_request(when: Json, expected: bool) -> None:
    assert matches(when, BODY) is expected
    assert matches({"not": when}, BODY) is not expected


@pytest.mark.parametrize(
    "when",
    [
        {"system_keywords": "contracts"},
        {"max_tokens": {"min": 0}},
        {"max_tokens": {"max": 10_000}},
        {"temperature": {"max": 2}},
        {"effort": "none"},
        {"metadata": {"team": "*"}},
        {"user": "*"},
        {"cel": 'call.user != "" || call.system != "" || size(call.metadata) > 0'},
        {"cel": 'call.max_tokens > 0 || call.temperature >= 0.0 || call.effort != ""'},
    ],
)
def test_a_condition_on_a_missing_value_does_not_match(when: Json) -> None:
    assert not matches(when, BARE)
    assert (
        not world.rules(choices=[{"when": when, "tier": "fast"}])
        .choices[0]
        .test(RuleContext(world.call("a")))
    )


@pytest.mark.parametrize(
    ("when", "expected"), [item for item in CONDITIONS if "keywords" not in item[0]]
)
def test_a_row_keeps_if_such_a_rule_matched_but_not_the_values(when: Json, expected: bool) -> None:
    router = world.router(choices=[{"when": when, "tier": "fast"}])
    recorder = DecisionRecorder(router, call_of(BODY), OPENAI_CHAT, EMPTY_CONTEXT)
    decision, _ = recorder.decide()
    record = recorder()
    replayed, _ = decide_again(router, entry(asked="auto", basis=record))
    assert (replayed.rule, replayed.tier) == (decision.rule, decision.tier)
    assert (replayed.rule == "choice 0") is expected
    stored = jsonio.dumps(record)
    assert not any(word in stored for word in (b"ann", b"legal", b"contracts", b"0.7"))


@pytest.mark.parametrize(
    "when", [{"user": "bob"}, {"system_keywords": "poem"}, {"temperature": {"min": 1}}]
)
def test_a_rule_that_the_row_does_not_know_cannot_be_replayed(when: Json) -> None:
    router = world.router(choices=[{"when": {"user": "ann*"}, "tier": "fast"}])
    recorder = DecisionRecorder(router, call_of(BODY), OPENAI_CHAT, EMPTY_CONTEXT)
    recorder.decide()
    row = entry(asked="auto", basis=recorder())
    with pytest.raises(
        MissingFeatureError, match="the system prompt, temperature, metadata and user"
    ):
        decide_again(world.router(choices=[{"when": when, "tier": "smart"}]), row)


def test_an_invalid_pattern_of_the_request_is_reported() -> None:
    for name in ("matches", "system_matches"):
        when = WhenPart.model_validate({"any": [{name: "("}]})
        with pytest.raises(ValueError, match="is not a regular expression"):
            compile_rules([], [ChoicePart(name="a", when=when, tier="fast")])
