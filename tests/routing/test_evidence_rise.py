"""Evidence raises a conversation by one tier, within bounds, for eight user turns."""

from typing import Any

import msgspec
import pytest

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY, Key, Strategy
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext, Score, Session
from gateway.core.ledger_rows import FinalRow
from gateway.core.target import TIERS, Tier
from gateway.core.turn_evidence import EvidenceRise, TurnEvidence
from gateway.dialects import OPENAI_CHAT, TranslatableRequest
from gateway.ledger import journal
from gateway.routing import features
from gateway.routing.cost_aware import MAX_TURNS_BELOW
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.errors import MissingFeatureError
from gateway.routing.features import Features
from gateway.routing.replay_decision import RecordedFeatures, decide_again
from tests.ledger.rows import entry
from tests.routing import world
from tests.routing.test_affinity_verdict import (
    ABLE,
    DEEP,
    FAST,
    NOW,
    REASONING,
    SMART,
    SWIFT,
    decide_turn,
    make_router,
    make_session,
    summarize,
)
from tests.routing.test_turn_evidence import FAILS, WORKS, ask, say, step
from tests.routing.world import lines

type Json = Any
TARGETS = {"fast": SWIFT, "smart": ABLE, "reasoning": DEEP}
START = ask("Fix the build, please.")
AGAIN = (START, say("Try this."), ask("It still fails."))
FAILING = (START, *step(FAILS), *step(FAILS))
PLAIN = (START, say("Try this."), ask("Thanks, and what next?"))
SAYS_SO = "the user says that the answer was bad"
FAILED_TWICE = "the same tool call failed 2 times"


def call(
    *messages: Json, model: str = "auto", key: Key = OPEN_KEY, turn: ConversationTurn | None = None
) -> Features:
    raw = jsonio.dumps({"model": model, "messages": messages})
    body = OPENAI_CHAT.read(raw)
    request = TranslatableRequest(OPENAI_CHAT, body)
    call_features = features.read(body.prompt, OPENAI_CHAT.name, key, NO_OPTIONS, request)
    loop = body.prompt.tool_loop
    call_features.turn = turn or ConversationTurn(conversation="c", first="f", loop=loop)
    return call_features


def session_at(tier: Tier, **more: Any) -> Session:
    return make_session(tier, TARGETS[tier], **more)


def evidence_lines(decision: Decision) -> list[str]:
    return [line for line in lines(decision) if "evidence:" in line]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("tokens", [0, 300_000])
@pytest.mark.parametrize("score", [FAST, SMART])
def test_evidence_raises_a_user_turn_by_one_tier(tier: Tier, tokens: int, score: Score) -> None:
    """The rise comes for any score of the classifier, and however much is cached."""
    router = make_router("cost-aware", score)
    decision, plan = decide_turn(router, call(*AGAIN), seat=session_at(tier, tokens=tokens))
    raised: Tier = {"fast": "smart", "smart": "reasoning"}.get(tier, "reasoning")  # type: ignore[assignment]
    assert (decision.tier, plan.targets[0]) == (raised, TARGETS[raised])
    assert decision.turns_below == 0
    rise = EvidenceRise(chars=call(*AGAIN).prompt.chars)
    assert decision.rise == (None if tier == "reasoning" else rise)
    if tier == "reasoning":
        assert evidence_lines(decision) == [f"-evidence:  ({SAYS_SO}, but no tier above reasoning may be used)"]  # fmt: skip
    else:
        assert evidence_lines(decision) == [f"evidence: {raised} ({SAYS_SO})"]


@pytest.mark.parametrize(("tier", "raised"), [("fast", "smart"), ("smart", "reasoning")])
def test_a_tool_call_that_fails_again_raises_the_tier_inside_a_tool_loop(
    tier: Tier, raised: Tier
) -> None:
    decision, plan = decide_turn(
        make_router("cost-aware", FAST), call(*FAILING), seat=session_at(tier)
    )
    assert summarize(decision, plan) == f"seat {raised} {TARGETS[raised].model}"
    assert evidence_lines(decision) == [f"evidence: {raised} ({FAILED_TWICE})"]
    assert (decision.score, decision.confidence, decision.classified_tier) == (None, None, None)
    assert decision.switch is not None
    assert (decision.switch.has_moved, decision.switch.tier) == (True, tier)


def test_a_tool_loop_without_repeated_failures_stays() -> None:
    for messages in (
        (START, *step(FAILS)),
        (START, *step(FAILS), *step(FAILS), *step(WORKS)),
    ):
        decision, plan = decide_turn(
            make_router("cost-aware", FAST), call(*messages), seat=session_at("smart")
        )
        assert summarize(decision, plan) == "seat smart able"
        assert not evidence_lines(decision)
    decision, plan = decide_turn(
        make_router("cost-aware", FAST), call(*FAILING), seat=session_at("reasoning")
    )
    assert summarize(decision, plan) == "seat reasoning deep"
    assert evidence_lines(decision)[0].startswith("-evidence")


WITHOUT_SESSION = [
    (FAST, AGAIN, "classifier smart able"),
    (SMART, AGAIN, "classifier reasoning deep"),
    (REASONING, AGAIN, "classifier reasoning deep"),
    (FAST, FAILING, "classifier smart able"),
    (FAST, PLAIN, "classifier fast swift"),
]


@pytest.mark.parametrize(("score", "messages", "expected"), WITHOUT_SESSION)
def test_without_a_session_evidence_raises_the_fresh_decision(
    score: Score, messages: tuple[Json, ...], expected: str
) -> None:
    decision, plan = decide_turn(make_router("cost-aware", score), call(*messages))
    assert summarize(decision, plan) == expected


def test_the_confidence_is_that_of_the_raised_tier() -> None:
    decision, _ = decide_turn(make_router("cost-aware", FAST), call(*AGAIN))
    assert (decision.confidence, decision.classified_tier) == (0.95, "fast")


def test_without_a_classifier_evidence_raises_the_default_tier() -> None:
    router = msgspec.structs.replace(make_router("cost-aware", FAST), classifier=None)
    assert summarize(*decide_turn(router, call(*AGAIN))) == "default reasoning deep"


FIX: Json = {"name": "fixes", "when": {}, "tier": "fast"}


@pytest.mark.parametrize("session", [None, session_at("fast"), session_at("smart")])
def test_a_rule_that_names_a_tier_overrides_evidence(session: Session | None) -> None:
    router = make_router("cost-aware", SMART, choices=[FIX])
    decision, plan = decide_turn(router, call(*AGAIN), seat=session)
    assert summarize(decision, plan) == "rule fast swift"
    assert evidence_lines(decision) == [f"-evidence:  ({SAYS_SO}, but a rule names the tier)"]
    assert decision.rise is None


@pytest.mark.parametrize("rule", [FIX, {"name": "model", "when": {}, "model": "swift"}])
def test_a_rule_that_names_a_tier_overrides_evidence_inside_a_tool_loop(rule: Json) -> None:
    router = make_router("cost-aware", SMART, choices=[rule])
    decision, plan = decide_turn(router, call(*FAILING), seat=session_at("fast"))
    assert summarize(decision, plan) == "seat fast swift"
    assert evidence_lines(decision) == [f"-evidence:  ({FAILED_TWICE}, but a rule names the tier)"]
    decision, plan = decide_turn(make_router("cost-aware", SMART), call(*FAILING), seat=session_at("fast", model="swift"))  # fmt: skip
    assert summarize(decision, plan) == "seat fast swift"


def test_a_rule_that_names_a_lab_leaves_the_tier_to_evidence() -> None:
    router = make_router("cost-aware", FAST, choices=[{"name": "lab", "when": {}, "lab": "openai"}])
    assert decide_turn(router, call(*AGAIN), seat=session_at("fast"))[0].tier == "smart"
    assert decide_turn(router, call(*FAILING), seat=session_at("fast"))[0].tier == "smart"


@pytest.mark.parametrize("messages", [AGAIN, FAILING])
@pytest.mark.parametrize("session", [None, session_at("smart")])
def test_guards_and_keys_bound_a_rise(messages: tuple[Json, ...], session: Session | None) -> None:
    router = make_router("cost-aware", SMART, guards=[{"max_tier": "smart"}])
    assert decide_turn(router, call(*messages), seat=session)[0].tier == "smart"
    key = Key(name="k", tiers=("fast", "smart"))
    assert decide_turn(make_router("cost-aware", SMART), call(*messages, key=key), seat=session)[0].tier == "smart"  # fmt: skip
    assert decide_turn(make_router("cost-aware", SMART), call(*messages), seat=session, ceiling="smart")[0].tier == "smart"  # fmt: skip


def test_evidence_never_raises_by_two_tiers() -> None:
    """A key that lacks the tier between stays where it is."""
    key = Key(name="k", tiers=("fast", "reasoning"))
    decision, plan = decide_turn(
        make_router("cost-aware", FAST), call(*AGAIN, key=key), seat=session_at("fast")
    )
    assert summarize(decision, plan) == "seat fast swift"
    decision, _ = decide_turn(
        make_router("cost-aware", REASONING), call(*AGAIN), seat=session_at("fast")
    )
    assert decision.tier == "smart"


def test_a_tier_that_the_client_names_overrides_evidence() -> None:
    decision, plan = decide_turn(make_router("cost-aware", SMART), call(*AGAIN, model="fast"), seat=session_at("fast"))  # fmt: skip
    assert summarize(decision, plan) == "pin fast swift"
    assert not evidence_lines(decision)


STRATEGIES: list[tuple[Strategy, str, str]] = [
    ("cost-aware", "classifier reasoning deep", "seat reasoning deep"),
    ("ratchet-up", "classifier reasoning deep", "seat reasoning deep"),
    ("turn", "classifier reasoning deep", "seat reasoning deep"),
    ("sticky", "seat smart able", "seat smart able"),
    ("pin", "seat smart able", "seat smart able"),
]


@pytest.mark.parametrize(("strategy", "at_turn", "in_loop"), STRATEGIES)
def test_each_strategy_follows_or_ignores_evidence(
    strategy: Strategy, at_turn: str, in_loop: str
) -> None:
    router = make_router(strategy, FAST)
    assert summarize(*decide_turn(router, call(*AGAIN), seat=session_at("smart"))) == at_turn
    assert summarize(*decide_turn(router, call(*FAILING), seat=session_at("smart"))) == in_loop


def test_with_evidence_off_the_gateway_reads_no_history() -> None:
    router = msgspec.structs.replace(make_router("cost-aware", SMART), evidence=False)
    for messages, tier in ((AGAIN, "smart"), (FAILING, "smart")):
        request = call(*messages)
        decision, _ = decide_turn(router, request, seat=session_at("smart"))
        assert (decision.tier, request.is_history_read) == (tier, False)


def test_evidence_does_not_raise_side_calls() -> None:
    side = ConversationTurn(conversation="c", first="f", kind="side", task="title")
    assert decide_turn(make_router("cost-aware", FAST), call(*AGAIN, turn=side))[0].tier == "fast"
    compaction = msgspec.structs.replace(side, loop=True)
    decision, plan = decide_turn(make_router("cost-aware", FAST), call(*FAILING, turn=compaction), seat=session_at("smart"))  # fmt: skip
    assert summarize(decision, plan) == "seat smart able"


def test_a_call_that_the_client_repeats_does_not_rise_again() -> None:
    router = make_router("cost-aware", FAST)
    for messages in (AGAIN, FAILING):
        request = call(*messages)
        decision, _ = decide_turn(router, request, seat=session_at("fast"))
        replayed, _ = decide_turn(
            router, call(*messages), seat=session_at("smart", rise=decision.rise)
        )
        assert (decision.tier, replayed.tier) == ("smart", "smart")
        assert replayed.rise == decision.rise


def test_a_rise_lasts_eight_user_turns() -> None:
    """No saving ends it earlier; after that the gateway decides the turn like any other."""
    router = make_router("cost-aware", FAST)
    decision, _ = decide_turn(router, call(*AGAIN), seat=session_at("fast", tokens=0))
    tiers = [decision.tier]
    for turn in range(MAX_TURNS_BELOW + 2):
        session = session_at(decision.tier or "fast", tokens=0, rise=decision.rise, turns_below=decision.turns_below)  # fmt: skip
        decision, _ = decide_turn(
            router, call(*PLAIN, say("a" * turn), ask("Thanks.")), seat=session
        )
        tiers.append(decision.tier)
    assert tiers == ["smart", *["smart"] * MAX_TURNS_BELOW, "fast", "fast"]
    assert decision.rise is None


def test_new_evidence_restarts_the_eight_turns() -> None:
    old = EvidenceRise(chars=1, turns=7)
    decision, _ = decide_turn(
        make_router("cost-aware", FAST), call(*AGAIN), seat=session_at("reasoning", rise=old)
    )
    assert (decision.tier, decision.rise) == ("reasoning", EvidenceRise(chars=call(*AGAIN).prompt.chars))  # fmt: skip


def test_a_rise_continues_inside_a_tool_loop() -> None:
    old = EvidenceRise(chars=1, turns=3)
    request = call(START, *step(WORKS))
    assert (
        decide_turn(make_router("cost-aware", FAST), request, seat=session_at("smart", rise=old))[
            0
        ].rise
        == old
    )


def test_a_rise_ends_after_an_idle_time_or_a_rule_for_a_lower_tier() -> None:
    old = EvidenceRise(chars=1)
    idle = {"at": NOW - 10_000}
    lower = [{"when": {}, "tier": "fast"}]
    router = make_router("cost-aware", SMART)
    assert (
        decide_turn(router, call(*PLAIN), seat=session_at("reasoning", rise=old, **idle))[0].rise
        is None
    )
    router = make_router("cost-aware", SMART, choices=lower)
    assert decide_turn(router, call(*PLAIN), seat=session_at("reasoning", rise=old))[0].rise is None


def test_after_an_idle_time_evidence_raises_the_fresh_decision() -> None:
    """After an idle time, as without a session, evidence raises the new decision."""
    for strategy, tier in (("cost-aware", "smart"), ("ratchet-up", "reasoning")):
        router = make_router(strategy, FAST)  # type: ignore[arg-type]
        session = session_at("reasoning", at=NOW - 10_000)
        assert decide_turn(router, call(*AGAIN), seat=session)[0].tier == tier


EVIDENCE_RULE: Json = {"when": {"evidence": ["asked_again", "refusal"]}, "tier": "reasoning"}


@pytest.mark.parametrize(
    ("messages", "expected"), [(AGAIN, "rule reasoning deep"), (PLAIN, "classifier fast swift")]
)
def test_a_rule_can_match_evidence(messages: tuple[Json, ...], expected: str) -> None:
    assert (
        summarize(
            *decide_turn(make_router("cost-aware", FAST, choices=[EVIDENCE_RULE]), call(*messages))
        )
        == expected
    )
    cel = {"when": {"cel": '"asked_again" in call.evidence'}, "tier": "reasoning"}
    assert (
        summarize(*decide_turn(make_router("cost-aware", FAST, choices=[cel]), call(*messages)))
        == expected
    )


def record(recorder: DecisionRecorder, plan: Plan, decision: Decision) -> FinalRow:
    """Return the row of a call as the journal stores it."""
    basis = recorder()
    assert basis is not None
    row = msgspec.structs.replace(entry(), asked="auto", at=NOW, dialect=OPENAI_CHAT.name, basis=basis)  # fmt: skip
    stored = journal.decode_row(jsonio.dumps(row))
    assert isinstance(stored, FinalRow)
    return stored


@pytest.mark.parametrize("messages", [AGAIN, FAILING, PLAIN])
@pytest.mark.parametrize("session", [None, session_at("fast"), session_at("smart")])
def test_a_replayed_row_gives_the_same_rise(
    messages: tuple[Json, ...], session: Session | None
) -> None:
    router = make_router(
        "cost-aware", FAST, choices=[{**EVIDENCE_RULE, "lab": "openai", "tier": None}]
    )
    context = DecisionContext(at=NOW, seat=session)
    recorder = DecisionRecorder(router, call(*messages), OPENAI_CHAT, context)
    decision, plan = recorder.decide()
    replayed, plan_again = decide_again(router, record(recorder, plan, decision))
    assert world.timeless(replayed) == world.timeless(decision)
    assert plan_again == plan


def test_a_row_records_its_evidence_without_text() -> None:
    recorder = DecisionRecorder(make_router("cost-aware", FAST), call(*AGAIN), OPENAI_CHAT, DecisionContext(at=NOW))  # fmt: skip
    recorder.decide()
    basis = recorder()
    assert basis is not None
    assert basis.history == (TurnEvidence("asked_again", SAYS_SO),)
    assert "fails" not in jsonio.dumps(basis).decode()


def test_a_row_whose_history_was_not_read_has_no_evidence() -> None:
    """A rule that asks for evidence cannot be decided again from such a row.

    A call without a history is the exception: it has no evidence.
    """
    for messages, has_history in ((AGAIN, True), ((START,), False)):
        recorder = DecisionRecorder(make_router(), call(*messages, model="fast"), OPENAI_CHAT, DecisionContext(at=NOW))  # fmt: skip
        decision, plan = recorder.decide()
        row = record(recorder, plan, decision)
        assert row.basis is not None
        assert row.basis.history is None
        recorded = RecordedFeatures(row, row.basis)
        assert recorded.evidence == ()
        if has_history:
            with pytest.raises(MissingFeatureError, match="history"):
                assert recorded.evidence_names
        else:
            assert recorded.evidence_names == frozenset()


FAILURE_RULE: Json = {
    "name": "stuck",
    "when": {"evidence": "repeated_failure"},
    "tier": "reasoning",
}


@pytest.mark.parametrize("evidence", [True, False])
@pytest.mark.parametrize("condition", [FAILURE_RULE["when"], {"all": [{"not": {"cel": "size(call.evidence) == 0"}}]}])  # fmt: skip
def test_a_rule_that_matches_evidence_applies_inside_a_tool_loop(
    evidence: bool, condition: Json
) -> None:
    """The rule rises by as many tiers as it says, even if evidence alone raises nothing."""
    router = make_router("cost-aware", FAST, choices=[{**FAILURE_RULE, "when": condition}])
    router = msgspec.structs.replace(router, evidence=evidence)
    decision, plan = decide_turn(router, call(*FAILING), seat=session_at("fast", turns_below=2))
    assert summarize(decision, plan) == "rule reasoning deep"
    assert (decision.rule, decision.turns_below, decision.rise) == ("stuck", 0, None)
    decision, plan = decide_turn(router, call(START, *step(WORKS)), seat=session_at("fast"))
    assert summarize(decision, plan) == "seat fast swift"


def test_a_rule_whose_model_is_off_leaves_the_tier_to_evidence() -> None:
    router = make_router("cost-aware", FAST, choices=[{"when": {}, "model": "off"}])
    decision, plan = decide_turn(router, call(*FAILING), seat=session_at("fast"))
    assert summarize(decision, plan) == "seat smart able"


def test_with_evidence_off_a_guard_that_matches_evidence_raises_nothing() -> None:
    router = make_router(
        "cost-aware", FAST, guards=[{"when": {"evidence": "refusal"}, "tag": "sad"}]
    )
    router = msgspec.structs.replace(router, evidence=False)
    assert decide_turn(router, call(*FAILING), seat=session_at("fast"))[0].tier == "fast"
    assert decide_turn(router, call(*AGAIN), seat=session_at("fast"))[0].tier == "fast"
