"""The share of a rule: sticky by conversation, the same in every process and in replay."""

import os
import subprocess
import sys
from statistics import fmean, pstdev
from typing import Any, get_args

import msgspec
import pytest

from gateway.core.call import Key, Strategy
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision
from gateway.core.decision_context import EMPTY_CONTEXT, DecisionContext, Session
from gateway.dialects import OPENAI_CHAT
from gateway.dialects.openai_chat import EMBEDDINGS
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.features import Features
from gateway.routing.replay_decision import decide_again
from gateway.routing.router import Router, decide
from gateway.routing.rules.traffic import format_arms, parse_arms, place_call
from tests.ledger.rows import entry
from tests.routing import world
from tests.routing.test_route_embeddings import CATALOGUE
from tests.routing.test_unlisted_models import MAKERS_ON
from tests.routing.world import Json


def call_of(conversation: str, text: str = "hi", **more: Any) -> Features:
    call = world.call(text, **more)
    call.turn = ConversationTurn(conversation=conversation, explicit=bool(conversation))
    return call


def decide_call(
    router: Router, call: Features, context: DecisionContext = EMPTY_CONTEXT
) -> Decision:
    return decide(router, call, OPENAI_CHAT, context)[0]


CANARY: Json = {"name": "canary", "when": {"traffic": 0.05}, "tier": "reasoning"}
CONVERSATION_INSIDE = next(
    str(n) for n in range(200) if place_call("canary", call_of(str(n))) < 0.05
)
CONVERSATION_OUTSIDE = next(
    str(n) for n in range(200) if place_call("canary", call_of(str(n))) >= 0.05
)


def draw_inside(part: float, count: int = 10_000) -> set[int]:
    """Return which of some conversations a rule takes, by their decisions."""
    router = world.router(choices=[{**CANARY, "when": {"traffic": part}}])
    decisions = {number: decide_call(router, call_of(str(number))) for number in range(count)}
    assert {decision.arm for decision in decisions.values()} <= {"canary:in", "canary:out"}
    inside = {number for number, decision in decisions.items() if decision.arm == "canary:in"}
    assert inside == {number for number, decision in decisions.items() if decision.rule == "canary"}
    return inside


@pytest.mark.parametrize("part", [0.0, 0.05, 0.1, 0.5, 1.0])
def test_a_rule_takes_its_share_of_ten_thousand_conversations_within_half_a_point(
    part: float,
) -> None:
    assert abs(len(draw_inside(part)) / 10_000 - part) < 0.005


@pytest.mark.parametrize("part", [0.01, 0.1, 0.5])
def test_shares_of_other_conversations_differ_as_in_fair_draws(part: float) -> None:
    """A hash is a draw: the share of 10,000 has a standard deviation of 0.3 points at 10%."""
    deviation = (part * (1 - part) / 10_000) ** 0.5
    shares = [
        sum(place_call("canary", call_of(f"{group}-{number}")) < part for number in range(10_000))
        / 10_000
        for group in range(20)
    ]
    assert all(abs(share - part) < 4 * deviation for share in shares)
    assert abs(fmean(shares) - part) < 3 * deviation / 20**0.5
    assert 0.5 * deviation < pstdev(shares) < 1.5 * deviation


def test_a_larger_share_keeps_the_conversations_of_a_smaller_one() -> None:
    small, large, all_of_them = (draw_inside(part, 2_000) for part in (0.1, 0.2, 1.0))
    assert small < large < all_of_them
    assert len(all_of_them) == 2_000
    assert draw_inside(0.1, 2_000) == small, "a share that is lowered again has those of before"


def test_two_rules_take_conversations_independently_of_each_other() -> None:
    in_both = [
        number
        for number in range(4_000)
        if place_call("a", call_of(str(number))) < 0.5 and place_call("b", call_of(str(number))) < 0.5
    ]  # fmt: skip
    assert abs(len(in_both) / 4_000 - 0.25) < 0.03


def test_all_calls_of_a_conversation_are_on_one_side() -> None:
    router = world.router(choices=[CANARY])
    for conversation, arm in (
        (CONVERSATION_INSIDE, "canary:in"),
        (CONVERSATION_OUTSIDE, "canary:out"),
    ):
        calls = [call_of(conversation, text) for text in ("hi", "Prove that 2 is prime.", "")]
        assert {decide_call(router, call).arm for call in calls} == {arm}


def test_calls_without_a_conversation_have_the_side_of_their_client_key() -> None:
    keys = [Key(name=f"key {number}") for number in range(400)]
    places = [
        place_call("canary", call_of("", text, key=key)) for key in keys for text in ("a", "b")
    ]
    assert places[::2] == places[1::2]
    assert len(set(places)) == 400
    other_tenant = Key(name="key 0", tenant="acme")
    assert place_call("canary", call_of("", key=other_tenant)) != places[0]


def test_a_conversation_has_its_side_in_every_process_and_release() -> None:
    assert place_call("canary", call_of("c-1")) == 0.1209586358707403
    program = "from tests.routing.rules.test_traffic import *; print(place_call('canary', call_of('c-1')))"
    for seed in ("1", "2"):
        environ = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environ, check=True
        )
        assert float(run.stdout) == place_call("canary", call_of("c-1"))


def test_the_trace_and_the_decision_have_the_arm() -> None:
    router = world.router(choices=[CANARY])
    decision = decide_call(router, call_of(CONVERSATION_INSIDE))
    assert (decision.arm, decision.rule) == ("canary:in", "canary")
    assert "arm: in (canary)" in world.lines(decision)
    decision = decide_call(router, call_of(CONVERSATION_OUTSIDE))
    assert (decision.arm, decision.rule) == ("canary:out", None)
    assert "-arm: out (canary)" in world.lines(decision)


@pytest.mark.parametrize(
    "conditions",
    [{"tag": "beta"}, {"any": [{"turns": {"min": 9}}]}, {"not": {"turns": {"min": 1}}}],
)
def test_only_calls_that_meet_the_other_conditions_have_an_arm(conditions: Json) -> None:
    """Both arms then have calls of one kind, so their results can be compared."""
    router = world.router(choices=[{**CANARY, "when": {"traffic": 0.05, **conditions}}])
    assert {
        decide_call(router, call_of(conversation)).arm
        for conversation in (CONVERSATION_INSIDE, CONVERSATION_OUTSIDE)
    } == {None}


def test_a_call_that_names_a_tier_has_no_arm() -> None:
    assert (
        decide_call(world.router(choices=[CANARY]), call_of(CONVERSATION_INSIDE, model="smart")).arm
        is None
    )


def test_guards_can_have_a_share_of_traffic_and_arms_are_listed_together() -> None:
    router = world.router(
        [{"name": "cap", "when": {"traffic": 1}, "max_tier": "smart"}],
        [{**CANARY, "when": {"traffic": 0.05}}],
    )
    decision = decide_call(router, call_of(CONVERSATION_OUTSIDE))
    assert decision.arm == "cap:in, canary:out"
    assert decide_call(router, call_of(CONVERSATION_OUTSIDE, model="luna")).arm == "cap:in"


def test_a_guard_that_a_tag_excludes_has_no_arm() -> None:
    guards: list[Json] = [
        {"name": "split", "when": {"traffic": 1, "not": {"tag": "long"}}, "no_cache": True},
        {"when": {"prompt_tokens": {"min": 10}}, "tag": "long"},
    ]
    router = world.router(guards)
    assert decide_call(router, call_of(CONVERSATION_INSIDE, chars=10)).arm == "split:in"
    assert decide_call(router, call_of(CONVERSATION_INSIDE, chars=4_000)).arm is None


SEAT = Session(lab="openai", tier="smart", target="openai/sol", arm="canary:in")


@pytest.mark.parametrize(("tool_loop", "arm"), [(True, "canary:in"), (False, "canary:out")])
def test_a_tool_loop_keeps_the_arm_of_its_conversation(tool_loop: bool, arm: str) -> None:
    """No choice runs in a tool loop that stays on its target; its cost still counts for the arm."""
    call = call_of(CONVERSATION_OUTSIDE, tool_loop=tool_loop)
    call.turn = msgspec.structs.replace(call.turn, loop=tool_loop)
    router = world.router(choices=[CANARY])
    assert decide_call(router, call, DecisionContext(seat=SEAT)).arm == arm


@pytest.mark.parametrize("strategy", get_args(Strategy.__value__))
def test_a_conversation_keeps_its_arm_with_every_strategy(strategy: Strategy) -> None:
    """Turn after turn, each with the session that the turn before has left."""
    router = msgspec.structs.replace(world.router(choices=[CANARY]), conversation=strategy)
    for conversation, arm in (
        (CONVERSATION_INSIDE, "canary:in"),
        (CONVERSATION_OUTSIDE, "canary:out"),
    ):
        session = None
        for turns in range(1, 6):
            call = call_of(conversation, "Prove that 2 is prime." if turns % 2 else "hi")
            decision, plan = decide(router, call, OPENAI_CHAT, DecisionContext(seat=session))
            assert (decision.arm, turns) == (arm, turns)
            session = Session(
                lab=decision.lab, tier=decision.tier or "smart", target=plan.targets[0].name,
                turns=turns, calls=turns, tokens=9_000 * turns, arm=decision.arm,
            )  # fmt: skip


@pytest.mark.parametrize("strategy", ["sticky", "pin"])
def test_a_conversation_that_stays_keeps_its_arm_when_the_share_is_raised(
    strategy: Strategy,
) -> None:
    """The target of its arm still serves it; only new conversations are drawn anew."""
    router = msgspec.structs.replace(
        world.router(choices=[{**CANARY, "when": {"traffic": 1}}]), conversation=strategy
    )
    session = msgspec.structs.replace(SEAT, turns=1, arm="canary:out")
    decision = decide_call(router, call_of(CONVERSATION_OUTSIDE), DecisionContext(seat=session))
    assert (decision.arm, decision.source) == ("canary:out", "seat")


def test_a_session_without_an_arm_leaves_the_arm_of_guards() -> None:
    call = call_of(CONVERSATION_OUTSIDE, tool_loop=True)
    call.turn = msgspec.structs.replace(call.turn, loop=True)
    router = world.router([{"name": "cap", "when": {"traffic": 1}, "max_tier": "smart"}])
    seat = msgspec.structs.replace(SEAT, arm=None)
    assert decide_call(router, call, DecisionContext(seat=seat)).arm == "cap:in"


def test_a_model_that_no_lab_lists_has_the_arm_of_guards() -> None:
    router = world.router(
        [{"name": "cap", "when": {"traffic": 1}, "no_cache": True}], known=MAKERS_ON
    )
    assert decide_call(router, call_of(CONVERSATION_INSIDE, model="gpt-4o")).arm == "cap:in"


def test_embeddings_have_the_arm_of_guards() -> None:
    router = world.router(
        [{"name": "canary", "when": {"traffic": 1}, "no_cache": True}], known=CATALOGUE
    )
    decision, _ = decide(router, call_of(CONVERSATION_INSIDE, model="large"), EMBEDDINGS)
    assert decision.arm == "canary:in"


@pytest.mark.parametrize("conversation", [CONVERSATION_INSIDE, CONVERSATION_OUTSIDE, ""])
def test_a_replayed_row_has_the_same_arm(conversation: str) -> None:
    router = world.router(choices=[CANARY])
    recorder = DecisionRecorder(router, call_of(conversation), OPENAI_CHAT, EMPTY_CONTEXT)
    decision, _ = recorder.decide()
    replayed, _ = decide_again(router, entry(asked="auto", key="open", basis=recorder()))
    assert replayed.arm == decision.arm is not None


def test_rules_that_read_the_same_text_have_arms_of_their_own() -> None:
    """An outcome is cached by the conditions alone, but an arm depends on the rule's name."""
    when = {"cel": 'call.text.startsWith("h")', "traffic": 0.05}
    other_rule = {"name": "other", "when": {**when, "traffic": 0.0}, "tier": "fast"}
    router = world.router(choices=[other_rule, {**CANARY, "when": when}])
    recorder = DecisionRecorder(router, call_of(CONVERSATION_INSIDE), OPENAI_CHAT, EMPTY_CONTEXT)
    decision, _ = recorder.decide()
    assert (decision.rule, decision.arm) == ("canary", "other:out, canary:in")
    replayed, _ = decide_again(router, entry(asked="auto", key="open", basis=recorder()))
    assert replayed.arm == decision.arm


def test_a_call_without_a_traffic_condition_has_no_arm() -> None:
    assert format_arms({}) is None
    assert (
        decide_call(
            world.router(choices=[{"when": {"turns": {"min": 1}}, "tier": "fast"}]),
            call_of(CONVERSATION_INSIDE),
        ).arm
        is None
    )


@pytest.mark.parametrize(
    "arms",
    [{"canary": True}, {"cap": False, "canary": True}, {"a, b: c": True, "in:": False}, {}],
)
def test_the_arms_of_a_row_are_read_as_they_were_written(arms: dict[str, bool]) -> None:
    assert parse_arms(format_arms(arms) or "") == arms
