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
    place,
    router,
    seat,
    told,
)
from tests.routing.test_turn_evidence import FAILS, WORKS, ask, say, step
from tests.routing.world import lines

type Json = Any
TARGETS = {"fast": SWIFT, "smart": ABLE, "reasoning": DEEP}
START = ask("Fix the build, please.")
AGAIN = (START, say("Try this."), ask("It still fails."))
FAILING = (START, *step(FAILS), *step(FAILS))
PLAIN = (START, say("Try this."), ask("Thanks, and what next?"))
SAYS_SO = "the user says that the answer was no good"
FAILED_TWICE = "the same tool call failed 2 times"


def call(
    *messages: Json, model: str = "auto", key: Key = OPEN_KEY, turn: ConversationTurn | None = None
) -> Features:
    raw = jsonio.dumps({"model": model, "messages": messages})
    body = OPENAI_CHAT.read(raw)
    request = TranslatableRequest(OPENAI_CHAT, body)
    seen = features.read(body.prompt, OPENAI_CHAT.name, key, NO_OPTIONS, request)
    loop = body.prompt.tool_loop
    seen.turn = turn or ConversationTurn(conversation="c", first="f", loop=loop)
    return seen


def sits(tier: Tier, **more: Any) -> Session:
    return seat(tier, TARGETS[tier], **more)


def evidence_lines(decision: Decision) -> list[str]:
    return [line for line in lines(decision) if "evidence:" in line]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("tokens", [0, 300_000])
@pytest.mark.parametrize("score", [FAST, SMART])
def test_a_user_turn_goes_up_by_one_tier(tier: Tier, tokens: int, score: Score) -> None:
    """The rise comes for any score of the classifier, and however much is cached."""
    known = router("cost-aware", score)
    decision, plan = told(known, call(*AGAIN), seat=sits(tier, tokens=tokens))
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
def test_a_failing_tool_call_leaves_the_tool_loop(tier: Tier, raised: Tier) -> None:
    decision, plan = told(router("cost-aware", FAST), call(*FAILING), seat=sits(tier))
    assert place(decision, plan) == f"seat {raised} {TARGETS[raised].model}"
    assert evidence_lines(decision) == [f"evidence: {raised} ({FAILED_TWICE})"]
    assert (decision.score, decision.confidence, decision.classified_tier) == (None, None, None)
    assert decision.switch is not None
    assert (decision.switch.has_moved, decision.switch.tier) == (True, tier)


def test_a_tool_loop_stays_otherwise() -> None:
    for messages in (
        (START, *step(FAILS)),
        (START, *step(FAILS), *step(FAILS), *step(WORKS)),
    ):
        decision, plan = told(router("cost-aware", FAST), call(*messages), seat=sits("smart"))
        assert place(decision, plan) == "seat smart able"
        assert not evidence_lines(decision)
    decision, plan = told(router("cost-aware", FAST), call(*FAILING), seat=sits("reasoning"))
    assert place(decision, plan) == "seat reasoning deep"
    assert evidence_lines(decision)[0].startswith("-evidence")


WITHOUT_SESSION = [
    (FAST, AGAIN, "classifier smart able"),
    (SMART, AGAIN, "classifier reasoning deep"),
    (REASONING, AGAIN, "classifier reasoning deep"),
    (FAST, FAILING, "classifier smart able"),
    (FAST, PLAIN, "classifier fast swift"),
]


@pytest.mark.parametrize(("score", "messages", "expected"), WITHOUT_SESSION)
def test_without_a_session_it_raises_what_is_decided(
    score: Score, messages: tuple[Json, ...], expected: str
) -> None:
    decision, plan = told(router("cost-aware", score), call(*messages))
    assert place(decision, plan) == expected


def test_the_confidence_is_that_in_the_raised_tier() -> None:
    decision, _ = told(router("cost-aware", FAST), call(*AGAIN))
    assert (decision.confidence, decision.classified_tier) == (0.95, "fast")


def test_without_a_classifier_the_default_is_raised() -> None:
    known = msgspec.structs.replace(router("cost-aware", FAST), classifier=None)
    assert place(*told(known, call(*AGAIN))) == "default reasoning deep"


FIX: Json = {"name": "fixes", "when": {}, "tier": "fast"}


@pytest.mark.parametrize("session", [None, sits("fast"), sits("smart")])
def test_a_rule_that_names_a_tier_holds(session: Session | None) -> None:
    known = router("cost-aware", SMART, choices=[FIX])
    decision, plan = told(known, call(*AGAIN), seat=session)
    assert place(decision, plan) == "rule fast swift"
    assert evidence_lines(decision) == [f"-evidence:  ({SAYS_SO}, but a rule names the tier)"]
    assert decision.rise is None


@pytest.mark.parametrize("rule", [FIX, {"name": "model", "when": {}, "model": "swift"}])
def test_so_it_does_inside_a_tool_loop(rule: Json) -> None:
    known = router("cost-aware", SMART, choices=[rule])
    decision, plan = told(known, call(*FAILING), seat=sits("fast"))
    assert place(decision, plan) == "seat fast swift"
    assert evidence_lines(decision) == [f"-evidence:  ({FAILED_TWICE}, but a rule names the tier)"]
    decision, plan = told(router("cost-aware", SMART), call(*FAILING), seat=sits("fast", model="swift"))  # fmt: skip
    assert place(decision, plan) == "seat fast swift"


def test_a_rule_that_names_a_lab_leaves_the_tier_to_evidence() -> None:
    known = router("cost-aware", FAST, choices=[{"name": "lab", "when": {}, "lab": "openai"}])
    assert told(known, call(*AGAIN), seat=sits("fast"))[0].tier == "smart"
    assert told(known, call(*FAILING), seat=sits("fast"))[0].tier == "smart"


@pytest.mark.parametrize("messages", [AGAIN, FAILING])
@pytest.mark.parametrize("session", [None, sits("smart")])
def test_guards_and_keys_bound_a_rise(messages: tuple[Json, ...], session: Session | None) -> None:
    known = router("cost-aware", SMART, guards=[{"max_tier": "smart"}])
    assert told(known, call(*messages), seat=session)[0].tier == "smart"
    key = Key(name="k", tiers=("fast", "smart"))
    assert told(router("cost-aware", SMART), call(*messages, key=key), seat=session)[0].tier == "smart"  # fmt: skip
    assert told(router("cost-aware", SMART), call(*messages), seat=session, ceiling="smart")[0].tier == "smart"  # fmt: skip


def test_it_never_goes_up_by_two_tiers() -> None:
    """A key that lacks the tier between stays where it is."""
    key = Key(name="k", tiers=("fast", "reasoning"))
    decision, plan = told(router("cost-aware", FAST), call(*AGAIN, key=key), seat=sits("fast"))
    assert place(decision, plan) == "seat fast swift"
    decision, _ = told(router("cost-aware", REASONING), call(*AGAIN), seat=sits("fast"))
    assert decision.tier == "smart"


def test_what_the_caller_names_holds() -> None:
    decision, plan = told(router("cost-aware", SMART), call(*AGAIN, model="fast"), seat=sits("fast"))  # fmt: skip
    assert place(decision, plan) == "pin fast swift"
    assert not evidence_lines(decision)


STRATEGIES: list[tuple[Strategy, str, str]] = [
    ("cost-aware", "classifier reasoning deep", "seat reasoning deep"),
    ("ratchet-up", "classifier reasoning deep", "seat reasoning deep"),
    ("turn", "classifier reasoning deep", "seat reasoning deep"),
    ("sticky", "seat smart able", "seat smart able"),
    ("pin", "seat smart able", "seat smart able"),
]


@pytest.mark.parametrize(("strategy", "at_turn", "in_loop"), STRATEGIES)
def test_strategies(strategy: Strategy, at_turn: str, in_loop: str) -> None:
    known = router(strategy, FAST)
    assert place(*told(known, call(*AGAIN), seat=sits("smart"))) == at_turn
    assert place(*told(known, call(*FAILING), seat=sits("smart"))) == in_loop


def test_off_reads_no_evidence() -> None:
    known = msgspec.structs.replace(router("cost-aware", SMART), evidence=False)
    for messages, tier in ((AGAIN, "smart"), (FAILING, "smart")):
        seen = call(*messages)
        decision, _ = told(known, seen, seat=sits("smart"))
        assert (decision.tier, seen.is_history_read) == (tier, False)


def test_side_calls_do_not_rise() -> None:
    side = ConversationTurn(conversation="c", first="f", kind="side", task="title")
    assert told(router("cost-aware", FAST), call(*AGAIN, turn=side))[0].tier == "fast"
    compaction = msgspec.structs.replace(side, loop=True)
    decision, plan = told(router("cost-aware", FAST), call(*FAILING, turn=compaction), seat=sits("smart"))  # fmt: skip
    assert place(decision, plan) == "seat smart able"


def test_a_call_that_is_sent_again_does_not_rise_again() -> None:
    known = router("cost-aware", FAST)
    for messages in (AGAIN, FAILING):
        seen = call(*messages)
        decision, _ = told(known, seen, seat=sits("fast"))
        again, _ = told(known, call(*messages), seat=sits("smart", rise=decision.rise))
        assert (decision.tier, again.tier) == ("smart", "smart")
        assert again.rise == decision.rise


def test_a_rise_holds_for_eight_user_turns() -> None:
    """No saving ends it earlier; after that the gateway decides the turn like any other."""
    known = router("cost-aware", FAST)
    decision, _ = told(known, call(*AGAIN), seat=sits("fast", tokens=0))
    tiers = [decision.tier]
    for turn in range(MAX_TURNS_BELOW + 2):
        session = sits(decision.tier or "fast", tokens=0, rise=decision.rise, turns_below=decision.turns_below)  # fmt: skip
        decision, _ = told(known, call(*PLAIN, say("a" * turn), ask("Thanks.")), seat=session)
        tiers.append(decision.tier)
    assert tiers == ["smart", *["smart"] * MAX_TURNS_BELOW, "fast", "fast"]
    assert decision.rise is None


def test_new_evidence_begins_the_eight_turns_anew() -> None:
    old = EvidenceRise(chars=1, turns=7)
    decision, _ = told(router("cost-aware", FAST), call(*AGAIN), seat=sits("reasoning", rise=old))
    assert (decision.tier, decision.rise) == ("reasoning", EvidenceRise(chars=call(*AGAIN).prompt.chars))  # fmt: skip


def test_a_rise_goes_on_inside_a_tool_loop() -> None:
    old = EvidenceRise(chars=1, turns=3)
    seen = call(START, *step(WORKS))
    assert told(router("cost-aware", FAST), seen, seat=sits("smart", rise=old))[0].rise == old


def test_a_rise_ends_where_the_conversation_leaves_it() -> None:
    old = EvidenceRise(chars=1)
    idle = {"at": NOW - 10_000}
    lower = [{"when": {}, "tier": "fast"}]
    known = router("cost-aware", SMART)
    assert told(known, call(*PLAIN), seat=sits("reasoning", rise=old, **idle))[0].rise is None
    known = router("cost-aware", SMART, choices=lower)
    assert told(known, call(*PLAIN), seat=sits("reasoning", rise=old))[0].rise is None


def test_a_seat_that_is_left_counts_no_more() -> None:
    """After an idle time, as without a session, evidence raises the new decision."""
    for strategy, tier in (("cost-aware", "smart"), ("ratchet-up", "reasoning")):
        known = router(strategy, FAST)  # type: ignore[arg-type]
        session = sits("reasoning", at=NOW - 10_000)
        assert told(known, call(*AGAIN), seat=session)[0].tier == tier


EVIDENT: Json = {"when": {"evidence": ["asked_again", "refusal"]}, "tier": "reasoning"}


@pytest.mark.parametrize(
    ("messages", "expected"), [(AGAIN, "rule reasoning deep"), (PLAIN, "classifier fast swift")]
)
def test_rules_ask_for_evidence(messages: tuple[Json, ...], expected: str) -> None:
    assert place(*told(router("cost-aware", FAST, choices=[EVIDENT]), call(*messages))) == expected
    cel = {"when": {"cel": '"asked_again" in call.evidence'}, "tier": "reasoning"}
    assert place(*told(router("cost-aware", FAST, choices=[cel]), call(*messages))) == expected


def record(recorder: DecisionRecorder, plan: Plan, decision: Decision) -> FinalRow:
    """Return the row of a call as the journal stores it."""
    basis = recorder()
    assert basis is not None
    row = msgspec.structs.replace(entry(), asked="auto", at=NOW, dialect=OPENAI_CHAT.name, basis=basis)  # fmt: skip
    read = journal.decode_row(jsonio.dumps(row))
    assert isinstance(read, FinalRow)
    return read


@pytest.mark.parametrize("messages", [AGAIN, FAILING, PLAIN])
@pytest.mark.parametrize("session", [None, sits("fast"), sits("smart")])
def test_a_row_decides_the_same_again(messages: tuple[Json, ...], session: Session | None) -> None:
    known = router("cost-aware", FAST, choices=[{**EVIDENT, "lab": "openai", "tier": None}])
    context = DecisionContext(at=NOW, seat=session)
    recorder = DecisionRecorder(known, call(*messages), OPENAI_CHAT, context)
    decision, plan = recorder.decide()
    again, plan_again = decide_again(known, record(recorder, plan, decision))
    assert world.timeless(again) == world.timeless(decision)
    assert plan_again == plan


def test_a_row_says_what_its_history_showed() -> None:
    recorder = DecisionRecorder(router("cost-aware", FAST), call(*AGAIN), OPENAI_CHAT, DecisionContext(at=NOW))  # fmt: skip
    recorder.decide()
    basis = recorder()
    assert basis is not None
    assert basis.history == (TurnEvidence("asked_again", SAYS_SO),)
    assert "fails" not in jsonio.dumps(basis).decode()


def test_a_row_that_nobody_looked_at_knows_no_evidence() -> None:
    """A rule that asks for evidence cannot be decided again from such a row.

    A call without a history is the exception: it has no evidence.
    """
    for messages, has_history in ((AGAIN, True), ((START,), False)):
        recorder = DecisionRecorder(router(), call(*messages, model="fast"), OPENAI_CHAT, DecisionContext(at=NOW))  # fmt: skip
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


STUCK: Json = {"name": "stuck", "when": {"evidence": "repeated_failure"}, "tier": "reasoning"}


@pytest.mark.parametrize("evidence", [True, False])
@pytest.mark.parametrize("condition", [STUCK["when"], {"all": [{"not": {"cel": "size(call.evidence) == 0"}}]}])  # fmt: skip
def test_a_rule_that_asks_for_evidence_is_followed_in_a_tool_loop(
    evidence: bool, condition: Json
) -> None:
    """The rule rises by as many tiers as it says, even if evidence alone raises nothing."""
    known = router("cost-aware", FAST, choices=[{**STUCK, "when": condition}])
    known = msgspec.structs.replace(known, evidence=evidence)
    decision, plan = told(known, call(*FAILING), seat=sits("fast", turns_below=2))
    assert place(decision, plan) == "rule reasoning deep"
    assert (decision.rule, decision.turns_below, decision.rise) == ("stuck", 0, None)
    decision, plan = told(known, call(START, *step(WORKS)), seat=sits("fast"))
    assert place(decision, plan) == "seat fast swift"


def test_a_rule_whose_model_is_off_leaves_the_loop_to_evidence() -> None:
    known = router("cost-aware", FAST, choices=[{"when": {}, "model": "off"}])
    decision, plan = told(known, call(*FAILING), seat=sits("fast"))
    assert place(decision, plan) == "seat smart able"


def test_rules_that_ask_for_evidence_do_not_raise_by_themselves() -> None:
    known = router("cost-aware", FAST, guards=[{"when": {"evidence": "refusal"}, "tag": "sad"}])
    known = msgspec.structs.replace(known, evidence=False)
    assert told(known, call(*FAILING), seat=sits("fast"))[0].tier == "fast"
    assert told(known, call(*AGAIN), seat=sits("fast"))[0].tier == "fast"
