"""Which calls have their answer checked, what the trace says, and what the tier above would be."""

from typing import Any

import msgspec
import pytest

from gateway.core.call import OPEN_KEY, EscalateMode, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, SessionSwitch, TraceStep
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import AnswerFinding, FinalRow
from gateway.dialects import OPENAI_CHAT
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.escalation import decide_above, describe_check
from gateway.routing.router import Router, decide
from gateway.routing.rules.guards import GuardBounds
from tests.routing import world

type Json = dict[str, object]

ROWS: list[tuple[list[Json], EscalateMode | None, EscalateMode | None, EscalateMode, str, str]] = [
    # guards, the header, the key, the configuration; the mode, and who set it
    ([], None, None, "checked", "checked", "routing.escalate"),
    ([], None, "checked", "off", "checked", "key open"),
    ([], None, "off", "checked", "off", ""),
    ([], "watch", "off", "off", "watch", "x-tiergate-escalate"),
    ([], "off", "checked", "checked", "off", ""),
    ([{"escalate": "checked"}], "off", "off", "off", "checked", "guard 0"),
    ([{"escalate": "off"}, {"escalate": "checked"}], "checked", None, "off", "off", ""),
]


def escalating(
    guards: list[Json] | None = None, choices: list[Json] | None = None, **changes: Any
) -> Router:
    """Return a router that checks answers, by a classifier that chooses fast."""
    classifier = world.FixedScoreClassifier(fast=1.0, smart=1.0)
    router = world.router(guards or (), choices or (), classifier)
    return msgspec.structs.replace(router, **{"escalate": "checked", **changes})


def read_steps(decision: Any) -> list[tuple[str, str, bool]]:
    return [
        (step.effect, step.reason, step.matched)
        for step in decision.trace
        if step.step == "escalate"
    ]


@pytest.mark.parametrize("row", ROWS)
def test_the_most_specific_setting_applies(
    row: tuple[list[Json], EscalateMode | None, EscalateMode | None, EscalateMode, str, str],
) -> None:
    guards, header, key, default, expected, source = row
    call = world.call(
        "a", "auto",
        key=msgspec.structs.replace(OPEN_KEY, escalate=key), steer=RequestOptions(escalate=header),
    )  # fmt: skip
    decision, _ = world.decided(escalating(guards, escalate=default), call)
    assert decision.escalate == expected
    assert read_steps(decision) == ([] if expected == "off" else [(expected, source, True)])


def test_the_setting_of_a_choice_applies_to_the_calls_it_decides() -> None:
    choices: list[Json] = [
        {"when": {"keywords": "hello"}, "tier": "fast", "escalate": "checked"},
        {"tier": "fast"},
    ]
    router = escalating(None, choices, escalate="off")
    assert world.decided(router, world.call("hello"))[0].escalate == "checked"
    assert world.decided(router, world.call("a song"))[0].escalate == "off"


FAST_KEY = msgspec.structs.replace(OPEN_KEY, tiers=("fast", "reasoning"))


@pytest.mark.parametrize(
    ("guards", "more", "obstacle"),
    [
        ([], {"stream": True}, "a stream is not checked"),
        ([], {"choices": 2}, "several answers are not checked"),
        ([], {"tool_loop": True}, "nothing is checked inside a tool loop"),
        ([], {"model": "fast"}, "the caller named the tier"),
        ([], {"model": "luna"}, "the caller named the tier"),
        ([{"max_tier": "fast"}], {}, "no tier above fast may be used"),
        ([], {"key": FAST_KEY}, "no tier above fast may be used"),
        ([{"min_tier": "reasoning"}], {}, "no tier above reasoning may be used"),
    ],
)
def test_the_trace_says_why_an_answer_is_not_checked(
    guards: list[Json], more: dict[str, Any], obstacle: str
) -> None:
    call = world.call("a", **{"model": "auto", **more})
    decision, _ = world.decided(escalating(guards), call)
    assert decision.escalate == "off"
    assert read_steps(decision) == [("off", f"routing.escalate, but {obstacle}", False)]


@pytest.mark.parametrize(("tool_loop", "loop"), [(True, False), (False, True)])
def test_nothing_is_checked_between_two_turns_of_the_user(tool_loop: bool, loop: bool) -> None:
    """Tools gave results, or the client itself asks about the conversation."""
    call = world.call("a", tool_loop=tool_loop)
    call.turn = ConversationTurn(conversation="c", loop=loop)
    decision, _ = world.decided(escalating(), call)
    assert [reason for _, reason, _ in read_steps(decision)] == [
        "routing.escalate, but nothing is checked inside a tool loop"
    ]


def test_the_ceiling_of_a_budget_bounds_it() -> None:
    context = DecisionContext(ceiling="fast")
    decision, _ = decide(escalating(), world.call("a"), OPENAI_CHAT, context)
    assert decision.escalate == "off"


@pytest.mark.parametrize(("strategy", "mode"), [("sticky", "off"), ("cost-aware", "checked")])
def test_a_conversation_that_is_to_stay_is_not_moved(strategy: str, mode: EscalateMode) -> None:
    context = DecisionContext(seat=Session(lab="openai", tier="fast", target="openai/luna"))
    call = world.call("a", steer=RequestOptions(conversation="c"))
    decision, _ = decide(escalating(conversation=strategy), call, OPENAI_CHAT, context)
    assert (decision.tier, decision.escalate) == ("fast", mode)
    reason = "routing.escalate, but the conversation stays where it is"
    stays, checked = ("off", reason, False), ("checked", "routing.escalate", True)
    assert read_steps(decision) == [stays if mode == "off" else checked]


def test_watch_needs_no_tier_above() -> None:
    """It asks nobody, so answers of the highest tier are watched too."""
    decision, _ = world.decided(
        escalating([{"min_tier": "reasoning"}], escalate="watch"), world.call("a")
    )
    assert (decision.tier, decision.escalate) == ("reasoning", "watch")


def test_the_tier_above_has_its_own_plan() -> None:
    recorder = DecisionRecorder(escalating(), world.call("a"), OPENAI_CHAT, DecisionContext())
    decision, _ = recorder.decide()
    record = recorder()
    above, plan = recorder.decide_above()
    assert (decision.tier, above.tier, above.lab) == ("fast", "smart", "openai")
    assert [target.name for target in plan.targets] == ["openai/sol", "openai/terra"]
    assert recorder.decision is decision
    assert recorder() is record


def test_the_trace_of_the_tier_above_goes_on_where_that_of_the_decision_ends() -> None:
    disabled = world.target(world.HOST, "off")
    labs = (world.lab("openai", [world.LUNA], [disabled, world.SOL]),)
    recorder = DecisionRecorder(
        escalating(catalogue=world.catalogue(labs)),
        world.call("a"),
        OPENAI_CHAT,
        DecisionContext(),
    )
    decision, _ = recorder.decide()
    above, _ = recorder.decide_above()
    count = len(decision.trace)
    assert [step.reason for step in above.trace[:count]] == [step.reason for step in decision.trace]
    assert [(step.step, step.reason) for step in above.trace[count:]] == [
        ("plan", "host/off is off")
    ]


def test_the_decision_for_the_tier_above_leaves_the_place_of_the_conversation() -> None:
    call = world.call("a")
    switch = SessionSwitch(
        has_moved=True, lab="l", tier="fast", target="p/n", destination="p/m", tokens=7, cost=None
    )
    decision = Decision(
        lab="openai", tier="fast", source="seat", model="luna", account="main", switch=switch
    )
    above, _ = decide_above(world.CATALOGUE, call, OPENAI_CHAT, GuardBounds(), decision)
    assert (above.tier, above.source) == ("smart", "seat")
    assert (above.model, above.account, above.switch) == (None, None, None)


def test_there_is_no_tier_above_a_decision_without_a_tier() -> None:
    decision = Decision(lab="openai", tier=None, source="pin")
    with pytest.raises(ProblemError, match=r"^No tier above None may be used\.$"):
        decide_above(world.CATALOGUE, world.call("a"), OPENAI_CHAT, GuardBounds(), decision)


def test_the_tier_above_stays_within_bounds() -> None:
    bounded: list[Json] = [{"max_tier": "fast", "escalate": "checked"}]
    for router, context in (
        (escalating(bounded), DecisionContext()),
        (escalating(), DecisionContext(ceiling="fast")),
    ):
        recorder = DecisionRecorder(router, world.call("a"), OPENAI_CHAT, context)
        recorder.decide()
        with pytest.raises(ProblemError, match="No tier above fast may be used") as caught:
            recorder.decide_above()
        assert caught.value.problem.kind == "no_target"


def test_the_tier_above_of_another_lab_is_not_asked() -> None:
    """A lab that takes over for the next tier up gives no second answer."""
    lonely = msgspec.structs.replace(world.lab("openai", [world.LUNA]), fallback=("google",))
    router = escalating(catalogue=world.catalogue((lonely, world.CATALOGUE.labs["google"])))
    recorder = DecisionRecorder(router, world.call("a"), OPENAI_CHAT, DecisionContext())
    decision, _ = recorder.decide()
    assert (decision.lab, decision.tier) == ("openai", "fast")
    with pytest.raises(ProblemError, match="'openai' has no target of smart") as caught:
        recorder.decide_above()
    assert caught.value.problem.kind == "no_target"


def test_a_call_is_decided_before_it_has_a_decision() -> None:
    recorder = DecisionRecorder(escalating(), world.call("a"), OPENAI_CHAT, DecisionContext())
    with pytest.raises(RuntimeError):
        _ = recorder.decision


def checked_row(checked: AnswerFinding | None, tier: str, escalated: str | None) -> FinalRow:
    return FinalRow(
        id="tg-1", at=1.0, key="k", dialect="openai-chat", state="settled", config="c",
        tier=tier, checked=checked, escalated=escalated,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "matched", "effect", "text"),
    [
        (checked_row("passed", "fast", None), False, "", "the check found no fault in the answer"),
        (checked_row("empty", "fast", None), False, "", "the answer was empty"),
        (
            checked_row("schema", "smart", "fast"), True, "smart",
            "the answer was not the JSON that was asked for, so smart was asked after fast: that answer was served",
        ),
        (
            checked_row("refused", "fast", "fast"), True, "fast",
            "the model declined to answer, so the tier above was asked after fast: the first one was served",
        ),
    ],
)  # fmt: skip
def test_the_trace_of_a_row_tells_what_was_found(
    row: FinalRow, matched: bool, effect: str, text: str
) -> None:
    step = TraceStep(step="escalate", matched=matched, effect=effect, reason=text)
    assert describe_check(row) == step


def test_a_row_without_a_check_has_no_step() -> None:
    assert describe_check(checked_row(None, "fast", None)) is None
