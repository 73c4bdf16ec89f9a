"""Rules that nearly matched: one condition of each did not hold, and which it was."""

from datetime import UTC, datetime

import pytest

from gateway.core.call import Key, RequestOptions
from gateway.core.decision_context import DecisionContext
from gateway.dialects import OPENAI_CHAT
from gateway.routing.classifier.heuristic import HeuristicClassifier
from gateway.routing.features import Features
from gateway.routing.near_misses import NearMiss, describe_near_misses, find_near_misses
from gateway.routing.router import decide
from gateway.settings.schema.rules import ChoicePart, GuardPart
from tests.routing import world
from tests.routing.world import Json

CONTEXT = DecisionContext(at=datetime(2026, 11, 28, 12, 30, tzinfo=UTC).timestamp())
CALL = world.call("Prove that x = 2.", key=Key(name="ann"), steer=RequestOptions(tags=("t", "s")))


def find(*conditions: Json, call: Features = CALL, guards: tuple[Json, ...] = ()) -> list[NearMiss]:
    """Return the near misses of choices with these conditions, and of guards."""
    choices = [{"name": f"c{at}", "when": when, "tier": "smart"} for at, when in enumerate(conditions)]  # fmt: skip
    bounds = [{"name": f"g{at}", "when": when, "max_tier": "smart"} for at, when in enumerate(guards)]  # fmt: skip
    router = world.router(bounds, choices, HeuristicClassifier())
    decision, _ = decide(router, call, OPENAI_CHAT, CONTEXT)
    return find_near_misses(
        [GuardPart.model_validate(bound) for bound in bounds],
        [ChoicePart.model_validate(choice) for choice in choices],
        call,
        decision,
        CONTEXT,
        router.classifier,
    )


MATCHING_CONDITION: Json = {"stream": False}


@pytest.mark.parametrize(
    ("when", "condition", "value"),
    [
        ({"maths": {"min": 0.5}}, "maths: {min: 0.5}", "0.17"),
        ({"user_tokens": {"min": 40, "max": 90}}, "user_tokens: {min: 40, max: 90}", "5"),
        ({"tools": True}, "tools: {min: 1}", "0"),
        ({"keywords": ["derive", "show that"]}, "keywords: [derive, show that]", "none of these words"),
        ({"matches": "deri"}, "matches: deri", "no such text"),
        ({"language": "de"}, "language: [de]", "en"),
        ({"key": "bob"}, "key: [bob]", "ann"),
        ({"client": "codex"}, "client: [codex]", "none"),
        ({"tag": "x"}, "tag: [x]", "s, t"),
        ({"evidence": "refusal"}, "evidence: [refusal]", "none"),
        ({"tool_names": "f"}, "tool_names: [f]", "none"),
        ({"need": {"min": 0.9}}, "need: {min: 0.9}", "0.67"),
        ({"confidence": {"max": 0.1}}, "confidence: {max: 0.1}", "0.53"),
        ({"max_tokens": {"min": 9}}, "max_tokens: {min: 9}", "none"),
        ({"temperature": {"max": 0.5}}, "temperature: {max: 0.5}", "none"),
        ({"effort": "high"}, "effort: [high]", "none"),
        ({"system_keywords": "contract"}, "system_keywords: [contract]", "none of these words"),
        ({"json_schema": True}, "json_schema: true", "no"),
        ({"not": {"tag": "t"}}, "not: {tag: [t]}", "the condition is true"),
        ({"time": {"hours": "00:00-06:00"}}, 'time: {hours: ["00:00-06:00"]}', "Sat 12:30"),
    ],
)  # fmt: skip
def test_a_near_miss_names_the_one_condition_that_failed(
    when: Json, condition: str, value: str
) -> None:
    assert find({**MATCHING_CONDITION, **when}) == [NearMiss("choice", "c0", condition, value)]
    assert find({"all": [MATCHING_CONDITION, when]}, guards=({**MATCHING_CONDITION, **when},)) == [
        NearMiss("guard", "g0", condition, value),
        NearMiss("choice", "c0", condition, value),
    ]


def test_a_rule_with_two_failed_conditions_is_no_near_miss() -> None:
    assert find({**MATCHING_CONDITION, "maths": {"min": 0.5}, "tag": "x"}) == []


def test_among_alternatives_the_nearest_one_counts() -> None:
    far, near = {"maths": {"min": 0.5}, "key": "bob"}, {"keywords": "prove", "tag": "x"}
    assert find({"any": [far, near, {"key": "bob"}]}) == [
        NearMiss("choice", "c0", "tag: [x]", "s, t")
    ]


@pytest.mark.parametrize(
    ("when", "is_near"),
    [
        ({"maths": {"min": 0.3}}, True),
        ({"maths": {"min": 0.5}}, False),
        ({"user_tokens": {"max": 4}}, True),
        ({"user_tokens": {"max": 2}}, False),
        ({"tools": True}, False),
        ({"key": "bob"}, False),
    ],
)
def test_a_rule_of_one_condition_is_a_near_miss_if_its_number_is_close(
    when: Json, *, is_near: bool
) -> None:
    assert bool(find(when)) is is_near


def test_choices_after_the_deciding_one_are_no_near_misses() -> None:
    near = {**MATCHING_CONDITION, "tag": "x"}
    assert [miss.rule for miss in find(near, {"keywords": "prove"}, near)] == ["c0"]
    assert [miss.rule for miss in find(near, near)] == ["c0", "c1"]


def test_a_call_that_names_its_tier_has_no_near_misses_among_choices() -> None:
    near = {**MATCHING_CONDITION, "tag": "x"}
    assert [
        miss.kind for miss in find(near, call=world.call("a", model="fast"), guards=(near,))
    ] == ["guard"]


def test_near_misses_are_described_as_json() -> None:
    assert describe_near_misses([NearMiss("choice", "c", "tag: [x]", "none")]) == [
        {"kind": "choice", "rule": "c", "condition": "tag: [x]", "value": "none"}
    ]


def test_a_near_miss_of_a_turn_without_text_shows_no_score() -> None:
    when = {"need": {"min": 0.1}, **MATCHING_CONDITION}
    (miss,) = find(when, call=world.call("", images=1))
    assert (miss.condition, miss.value) == ("need: {min: 0.1}", "no score")


def test_a_near_miss_shows_the_value_in_the_request() -> None:
    call = world.call("Prove that x = 2.", max_output=4)
    (miss,) = find({"max_tokens": {"min": 9}, **MATCHING_CONDITION}, call=call)
    assert (miss.condition, miss.value) == ("max_tokens: {min: 9}", "4")
