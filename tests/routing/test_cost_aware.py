"""The strategy `cost-aware`: rules and the classifier decide each user turn anew."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given

from gateway.core.call import Key
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import Score, Session
from gateway.core.price import LaterPrice
from gateway.core.target import TIERS, Target
from gateway.core.turn_evidence import EvidenceRise
from gateway.routing import explain
from gateway.routing.cost_aware import MAX_TURNS_BELOW
from gateway.routing.router import Router
from gateway.settings.schema.root import RoutingPart
from tests.routing import world
from tests.routing.test_affinity_verdict import (
    ABLE,
    CATALOGUE,
    DEEP,
    DOUBT,
    FAST,
    NOW,
    REASONING,
    SCORES,
    SEATS,
    SMART,
    SPARE,
    SWIFT,
    call,
    decide_turn,
    make_router,
    make_session,
    priced,
    summarize,
)
from tests.routing.world import OPENAI, lab, lines

type Json = dict[str, Any]
PROOFS: Json = {"name": "proofs", "when": {"keywords": ["prove"]}, "tier": "reasoning"}
CHATS: Json = {"name": "chats", "when": {"keywords": ["hi"]}, "tier": "fast"}
COLD: Json = {"tokens": 0}
"""A session whose provider has nothing of the prompt in its cache."""


def make_cost_aware(score: Score = SMART, **more: Any) -> Router:
    return make_router("cost-aware", score, **more)


def test_cost_aware_is_the_default_strategy() -> None:
    assert RoutingPart().conversation == "cost-aware"
    assert Router(catalogue=CATALOGUE, rules=world.rules(), classifier=None).conversation == "cost-aware"  # fmt: skip


def test_a_greeting_does_not_keep_a_conversation_on_the_fast_tier() -> None:
    router = make_cost_aware(FAST, choices=[PROOFS])
    decision, plan = decide_turn(
        router, call("Prove it."), seat=make_session("fast", SWIFT, **COLD)
    )
    assert summarize(decision, plan) == "rule reasoning deep"
    assert decision.rule == "proofs"


@pytest.mark.parametrize("tokens", [0, 300_000])
def test_the_tier_of_a_rule_always_applies(tokens: int) -> None:
    """A rule moves a call up or down, however much is cached.

    If the rule asks for the tier of the session, the target stays.
    """
    router = make_cost_aware(SMART, choices=[PROOFS, CHATS])
    session = make_session(tokens=tokens)
    assert summarize(*decide_turn(router, call("Prove it."), seat=session)) == "rule reasoning deep"
    assert summarize(*decide_turn(router, call("Hi!"), seat=session)) == "rule fast swift"
    same_tier = make_cost_aware(FAST, choices=[{"when": {}, "tier": "smart", "complete": "hold"}])
    decision, plan = decide_turn(same_tier, call(), seat=make_session(target=SPARE, tokens=tokens))
    assert summarize(decision, plan) == "rule smart spare"
    assert (decision.account, decision.switch, decision.complete) == ("second", None, "hold")
    assert not [line for line in lines(decision) if "seat:" in line]


def test_guards_bound_the_tier_of_a_rule() -> None:
    router = make_cost_aware(SMART, choices=[PROOFS], guards=[{"max_tier": "smart"}])
    decision, plan = decide_turn(router, call("Prove it."), seat=make_session())
    assert summarize(decision, plan) == "rule smart able"
    assert decision.account == "second"


def test_the_lab_of_a_rule_applies_unless_it_cannot_serve_the_call() -> None:
    """The classifier chooses the tier there; a lab that cannot serve the key moves nothing."""
    router = make_cost_aware(SMART, choices=[{"when": {}, "lab": "google", "complete": "hold"}])
    decision, plan = decide_turn(router, call(), seat=make_session())
    assert (decision.lab, summarize(decision, plan)) == ("google", "classifier smart far")
    assert "a rule asks for the lab google" in " ".join(lines(decision))
    away = make_cost_aware(SMART, choices=[{"when": {}, "lab": "away"}])
    assert summarize(*decide_turn(away, call(), seat=make_session())) == "seat smart able"
    scoped = call(key=Key(name="k", labs=("openai", "lender")))
    assert summarize(*decide_turn(router, scoped, seat=make_session())) == "seat smart able"
    denied = make_cost_aware(
        SMART, choices=[{"when": {}, "lab": "google"}], guards=[{"deny": ["google"]}]
    )
    assert summarize(*decide_turn(denied, call(), seat=make_session())) == "seat smart able"


def test_a_rule_for_the_lab_of_the_session_keeps_the_target_and_sets_complete() -> None:
    router = make_cost_aware(SMART, choices=[{"when": {}, "lab": "openai", "complete": "hold"}])
    decision, plan = decide_turn(router, call(), seat=make_session())
    assert summarize(decision, plan) == "seat smart able"
    assert decision.complete == "hold"


def test_the_lab_of_a_rule_raises_by_one_tier_at_most() -> None:
    router = make_cost_aware(REASONING, choices=[{"when": {}, "lab": "google"}])
    assert (
        summarize(*decide_turn(router, call(), seat=make_session("fast", SWIFT)))
        == "classifier smart far"
    )


def test_the_model_of_a_rule_moves_the_conversation() -> None:
    router = make_cost_aware(SMART, choices=[{"when": {}, "model": "spare"}])
    decision, plan = decide_turn(router, call(), seat=make_session())
    assert summarize(decision, plan) == "rule smart spare"
    assert decision.switch is not None
    assert decision.switch.has_moved
    decision, plan = decide_turn(router, call(), seat=make_session(target=SPARE, model="spare"))
    assert (summarize(decision, plan), decision.switch) == ("rule smart spare", None)


@pytest.mark.parametrize(
    "session", [make_session("fast", SWIFT), make_session("fast", SWIFT, **COLD)]
)
def test_the_classifier_raises_by_one_tier_a_turn(session: Session) -> None:
    decision, plan = decide_turn(make_cost_aware(REASONING), call(), seat=session)
    assert summarize(decision, plan) == "classifier smart able"
    assert (decision.confidence, decision.classified_tier) == (REASONING.smart, "reasoning")
    assert "one tier a turn" in " ".join(lines(decision))
    decision, plan = decide_turn(make_cost_aware(REASONING), call(), seat=make_session(**COLD))
    assert summarize(decision, plan) == "classifier reasoning deep"
    assert decision.confidence == 1 - REASONING.smart


def test_a_judge_raises_by_one_tier_a_turn() -> None:
    decision, plan = decide_turn(
        make_cost_aware(FAST), call(), seat=make_session("fast", SWIFT), judged=Score(0.0, 0.0)
    )
    assert (summarize(decision, plan), decision.confidence) == ("classifier smart able", None)


def test_if_cached_tokens_are_lost_only_a_sure_score_raises_the_tier() -> None:
    assert (
        summarize(
            *decide_turn(make_cost_aware(DOUBT, upgrade_threshold=0.6), call(), seat=make_session())
        )
        == "seat smart able"
    )
    cold = decide_turn(
        make_cost_aware(DOUBT, upgrade_threshold=0.6), call(), seat=make_session(**COLD)
    )
    assert summarize(*cold) == "classifier reasoning deep"


def test_the_default_tier_decides_if_nothing_else_does() -> None:
    """A call rises by one tier a turn, and goes down if that pays."""
    router = msgspec.structs.replace(make_cost_aware(), classifier=None)
    assert (
        summarize(*decide_turn(router, call(), seat=make_session("fast", SWIFT)))
        == "default smart able"
    )
    assert summarize(*decide_turn(router, call(), seat=LONG)) == "seat reasoning deep"
    assert (
        summarize(*decide_turn(router, call(), seat=make_session("reasoning", DEEP, **COLD)))
        == "default smart able"
    )


def test_cost_aware_lowers_the_tier_freely_if_nothing_is_cached() -> None:
    """A call goes down even without a price, or if the cheaper tier is the same model."""
    decision, plan = decide_turn(make_cost_aware(FAST), call(), seat=make_session(**COLD))
    assert summarize(decision, plan) == "classifier fast swift"
    unpriced = msgspec.structs.replace(
        make_cost_aware(FAST), catalogue=world.catalogue((lab("openai", [world.LUNA], [ABLE]),))
    )
    assert decide_turn(unpriced, call(), seat=make_session(**COLD))[0].tier == "fast"
    assert decide_turn(unpriced, call(), seat=make_session())[0].tier == "smart"
    low = msgspec.structs.replace(ABLE, effort="low")
    efforts = msgspec.structs.replace(
        make_cost_aware(FAST), catalogue=world.catalogue((lab("openai", [low], [ABLE]),))
    )
    assert decide_turn(efforts, call(), seat=make_session(**COLD))[0].tier == "fast"
    assert decide_turn(efforts, call(), seat=make_session())[0].tier == "smart"


def test_a_move_to_a_tier_without_prompt_caching_must_pay_too() -> None:
    """A tier without a cache costs nothing to move to, but more with each call."""
    plain = priced(OPENAI, "plain", "3", "3", "10")
    router = msgspec.structs.replace(
        make_cost_aware(FAST), catalogue=world.catalogue((lab("openai", [plain], [ABLE]),))
    )
    decision, _ = decide_turn(router, call(), seat=make_session())
    assert (decision.source, decision.tier) == ("seat", "smart")
    assert decision.switch is not None
    assert decision.switch.cost == 0
    assert decision.switch.margin is not None
    assert decision.switch.margin < 0


def test_the_trace_shows_how_much_a_move_saves() -> None:
    """X = 20k * (0.1 - 0.01), S = 20k * (0.2 - 0.01) + 2 * (2 - 0.1) + 1,000 * (10 - 0.4)."""
    decision, plan = decide_turn(make_cost_aware(FAST), call(), seat=make_session())
    shown = explain.describe(decision, plan, [()] * len(plan.targets), NOW)["switch"]
    assert shown == {
        "moved": True, "lab": "openai", "tier": "smart", "target": "openai/able", "to": "openai/swift",
        "tokens": 20_000, "cost": "0.0018", "saving": "0.0134038", "calls": 4, "margin": "0.0518152",
    }  # fmt: skip
    assert (
        "-seat: leaves openai/able (openai/swift saves 0.013404 USD a call for 4 calls, "
        "less 0.0018 USD to read 20000 cached tokens again: 0.051815 USD)"
    ) in lines(decision)


def test_a_tier_that_cannot_serve_the_call_is_not_weighed() -> None:
    """The nearest lower tier that can serve the call is weighed; without one the call stays."""
    sees = msgspec.structs.replace(SPARE, facts=DEEP.facts)
    blind = msgspec.structs.replace(SWIFT, facts=ABLE.facts)
    router = msgspec.structs.replace(
        make_cost_aware(FAST), catalogue=world.catalogue((lab("openai", [blind], [sees], [DEEP]),))
    )
    decision, _ = decide_turn(
        router, call(images=1), seat=make_session("reasoning", DEEP, tokens=150_000)
    )
    assert decision.switch is not None
    assert decision.switch.destination == sees.name
    decision, plan = decide_turn(router, call(images=1), seat=make_session("smart", sees))
    assert summarize(decision, plan) == "seat smart spare"
    assert "no target below smart can serve this call" in " ".join(lines(decision))
    assert decision.turns_below == 1


def test_a_tier_that_a_guard_or_key_forbids_is_no_reason_to_leave() -> None:
    """The turn alone would be fast, but it may not be; so it would be smart, too."""
    guarded = make_cost_aware(FAST, guards=[{"min_tier": "smart"}])
    decision, plan = decide_turn(guarded, call(), seat=make_session())
    assert (summarize(decision, plan), decision.turns_below) == ("seat smart able", 0)
    scoped = call(key=Key(name="k", tiers=("smart", "reasoning")))
    assert (
        summarize(*decide_turn(make_cost_aware(FAST), scoped, seat=make_session()))
        == "seat smart able"
    )


LONG = make_session("reasoning", DEEP, tokens=150_000, calls=1, output=0)
"""A session in which a cheaper tier takes more than a few turns to pay."""


def run_turn(router: Router, session: Session, **more: Any) -> tuple[Decision, Plan, Session]:
    """Return a turn and the session that it leaves, which always counts one call."""
    decision, plan = decide_turn(router, call(**more), seat=session)
    assert decision.tier is not None
    next_session = make_session(
        decision.tier, plan.targets[0], tokens=session.tokens, turns=3, calls=1, output=0,
        turns_below=decision.turns_below, at=NOW - 5,
    )  # fmt: skip
    return decision, plan, next_session


def test_a_rise_ends_after_eight_turns_without_evidence() -> None:
    """The ninth turn is decided on its own, though the move costs more than it saves."""
    router, session, stayed = make_cost_aware(SMART), LONG, 0
    while True:
        decision, _, session = run_turn(router, session)
        if decision.tier != "reasoning":
            break
        stayed += 1
        assert (decision.source, decision.turns_below) == ("seat", stayed)
    assert stayed == MAX_TURNS_BELOW == 8
    assert (decision.source, decision.turns_below) == ("classifier", 0)
    assert decision.switch is not None
    assert decision.switch.margin is not None
    assert decision.switch.margin < 0
    assert "8 user turns needed less than reasoning" in " ".join(lines(decision))


@pytest.mark.parametrize(
    ("score", "text"), [(REASONING, "and now?"), (SMART, "Prove it.")], ids=["classifier", "rule"]
)
def test_evidence_prolongs_a_rise(score: Score, text: str) -> None:
    """A turn prolongs the rise if the classifier or a rule would choose that tier for it alone."""
    easy = make_cost_aware(SMART, choices=[PROOFS])
    session = msgspec.structs.replace(LONG, turns_below=7)
    decision, _, session = run_turn(make_cost_aware(score, choices=[PROOFS]), session, text=text)
    assert (decision.tier, session.turns_below) == ("reasoning", 0)
    decision, _, session = run_turn(easy, session)
    assert (decision.tier, session.turns_below) == ("reasoning", 1)


def test_tool_results_do_not_count_as_user_turns() -> None:
    session = msgspec.structs.replace(LONG, turns_below=8)
    decision, plan, next_session = run_turn(make_cost_aware(FAST), session, tool_loop=True)
    assert summarize(decision, plan) == "seat reasoning deep"
    assert (decision.turns_below, next_session.turns_below) == (8, 8)


@pytest.mark.parametrize(
    "changes", [{"at": NOW - 301}, {"turns": 9, "first": "f"}, {"first": "other"}],
    ids=["idle", "compaction", "another beginning"],
)  # fmt: skip
def test_after_an_idle_time_or_a_compaction_the_turn_is_decided_alone(changes: Json) -> None:
    """An idle time beyond the provider's cache, or a compaction, ends a rise.

    The turn may then go up by two tiers.
    """
    turn = ConversationTurn(conversation="c", first="f", explicit=True)
    session = msgspec.structs.replace(LONG, turns_below=3, **changes)
    decision, plan = decide_turn(make_cost_aware(FAST), call(turn=turn), seat=session)
    assert (summarize(decision, plan), decision.turns_below) == ("classifier fast swift", 0)
    low = msgspec.structs.replace(make_session("fast", SWIFT), **changes)
    assert (
        summarize(*decide_turn(make_cost_aware(REASONING), call(turn=turn), seat=low))
        == "classifier reasoning deep"
    )


def test_other_strategies_do_not_count_turns() -> None:
    session = msgspec.structs.replace(LONG, turns_below=3)
    decision, _ = decide_turn(make_router("sticky", FAST), call(), seat=session)
    assert (decision.source, decision.turns_below) == ("seat", 3)
    decision, _ = decide_turn(make_router("ratchet-up", FAST), call(), seat=session)
    assert (decision.source, decision.turns_below) == ("seat", 0)


def test_a_call_that_stays_has_no_confidence() -> None:
    """The classifier ran, but the session decided."""
    decision, _ = decide_turn(make_cost_aware(SMART), call(), seat=make_session())
    assert (decision.source, decision.confidence, decision.score) == ("seat", None, SMART)


@given(SCORES, SEATS)
def test_no_turn_rises_by_more_than_one_tier(score: Score, session: Session) -> None:
    session = msgspec.structs.replace(session, at=NOW - 10, turns=0)
    for router in (
        make_cost_aware(score),
        msgspec.structs.replace(make_cost_aware(score), classifier=None),
    ):
        decision, _ = decide_turn(router, call(), seat=session)
        assert decision.tier is not None
        assert TIERS.index(decision.tier) <= TIERS.index(session.tier) + 1


def seat_lines(decision: Decision) -> list[str]:
    return [line for line in lines(decision) if "seat:" in line]


LEAVES, KEEPS = "-seat: leaves openai/able", "seat: openai/smart openai/able"
BY_RULE: list[tuple[list[Json], str]] = [
    ([{"when": {}, "tier": "fast"}], f"{LEAVES} (a rule asks for fast)"),
    ([{"when": {}, "lab": "google"}], f"{LEAVES} (a rule asks for the lab google)"),
    ([], f"{KEEPS} (smart is the new decision too)"),
]


@pytest.mark.parametrize(("choices", "line"), BY_RULE)
def test_the_trace_names_the_rule_that_moves_a_conversation(choices: list[Json], line: str) -> None:
    decision, _ = decide_turn(make_cost_aware(SMART, choices=choices), call(), seat=make_session())
    assert seat_lines(decision)[0] == line


def test_the_trace_says_how_sure_the_classifier_is_that_a_tier_does_not_suffice() -> None:
    """It also says if the conversation rises by fewer tiers than the classifier asks for."""
    decision, _ = decide_turn(make_cost_aware(REASONING), call(), seat=make_session("fast", SWIFT))
    assert seat_lines(decision) == [
        "-seat: leaves openai/swift (fast is too weak with probability 0.90; the gateway goes up from 0.50, one tier a turn)",
        "seat: openai/smart openai/able (20000 cached tokens are lost: 0.036 USD)",
    ]  # fmt: skip
    decision, _ = decide_turn(make_cost_aware(SMART), call(), seat=make_session("fast", SWIFT, **COLD))  # fmt: skip
    assert seat_lines(decision)[0] == "-seat: leaves openai/swift (smart is the new decision)"


@pytest.mark.parametrize(
    ("score", "session", "destination", "cost", "reason"),
    [
        (DOUBT, make_session(), "openai/deep", "0.095", "smart is too weak with probability 0.51"),
        (
            Score(0.45, 0.9),
            make_session("fast", SWIFT),
            "openai/able",
            "0.036",
            "fast is too weak with probability 0.55",
        ),
    ],
)
def test_a_conversation_that_does_not_rise_shows_what_the_move_would_cost(
    score: Score, session: Session, destination: str, cost: str, reason: str
) -> None:
    router = make_cost_aware(score, upgrade_threshold=0.6)
    decision, _ = decide_turn(router, call(), seat=session)
    switch = decision.switch
    assert switch is not None
    assert (switch.has_moved, switch.destination, switch.tokens) == (False, destination, 20_000)
    assert switch.cost == Decimal(cost)
    assert reason in seat_lines(decision)[0]


def test_a_rule_for_the_model_that_serves_the_conversation_loses_no_cached_tokens() -> None:
    router = make_cost_aware(SMART, choices=[{"when": {}, "model": "spare"}])
    decision, _ = decide_turn(router, call(), seat=make_session(target=SPARE))
    switch = decision.switch
    assert switch is not None
    assert (switch.has_moved, switch.destination) == (False, "gemini/spare")
    assert (switch.tokens, switch.cost) == (0, Decimal(0))


@pytest.mark.parametrize(
    ("turns", "line"),
    [
        (0, "seat: openai/reasoning openai/deep (user turn 1 of 8 after evidence)"),
        (7, "seat: openai/reasoning openai/deep (user turn 8 of 8 after evidence)"),
        (8, "-seat: leaves openai/deep (no cached tokens are lost)"),
    ],
)
def test_after_evidence_the_trace_counts_the_turns_that_stay(turns: int, line: str) -> None:
    rise = EvidenceRise(chars=1, turns=turns)
    session = make_session("reasoning", DEEP, tokens=0, rise=rise, turns_below=2)
    decision, _ = decide_turn(make_cost_aware(SMART), call(), seat=session)
    assert seat_lines(decision)[0] == line
    assert decision.turns_below == (3 if turns < 8 else 0)


UNKNOWN = "the saving is unknown: a price is missing"
UNPRICED = world.target(OPENAI, "unpriced")


@pytest.mark.parametrize("targets", [(UNPRICED, ABLE), (SWIFT, UNPRICED)], ids=["to", "from"])
def test_a_conversation_stays_if_a_missing_price_hides_the_saving(
    targets: tuple[Target, Target],
) -> None:
    cheaper, current = targets
    router = msgspec.structs.replace(
        make_cost_aware(FAST), catalogue=world.catalogue((lab("openai", [cheaper], [current]),))
    )
    decision, _ = decide_turn(router, call(), seat=make_session(target=current))
    assert seat_lines(decision) == [f"seat: openai/smart {current.name} ({UNKNOWN})"]
    assert (decision.tier, decision.turns_below) == ("smart", 1)
    assert decision.switch is not None
    assert (decision.switch.destination, decision.switch.tokens) == (cheaper.name, 20_000)
    cold, _ = decide_turn(router, call(), seat=make_session(target=current, **COLD))
    assert seat_lines(cold)[0] == f"-seat: leaves {current.name} (no cached tokens are lost)"


@pytest.mark.parametrize("calls", [0, 1])
def test_a_conversation_of_one_call_is_expected_to_have_one_more(calls: int) -> None:
    session = make_session(calls=calls, output=1_000 * calls)
    decision, _ = decide_turn(make_cost_aware(FAST), call(), seat=session)
    switch = decision.switch
    assert switch is not None
    assert switch.calls == 1
    assert switch.margin is not None
    assert switch.saving is not None
    assert switch.cost is not None
    assert switch.margin == switch.saving - switch.cost


@pytest.mark.parametrize(("calls", "tier"), [(4, "smart"), (5, "fast")])
def test_a_move_must_save_more_than_it_costs(calls: int, tier: str) -> None:
    """Each call saves 1 USD a million cached tokens; to read them again costs 4."""
    cheaper, current = (priced(OPENAI, name, rate, "5", "9") for name, rate in (("a", "1"), ("b", "2")))  # fmt: skip
    router = msgspec.structs.replace(
        make_cost_aware(FAST), catalogue=world.catalogue((lab("openai", [cheaper], [current]),))
    )
    session = make_session(target=current, calls=calls)
    decision, _ = decide_turn(router, call(), seat=session)
    assert decision.tier == tier
    assert decision.switch is not None
    assert decision.switch.margin == Decimal("0.02") * (calls - 4)


def test_a_move_is_weighed_at_the_prices_in_force() -> None:
    """Both prices rise tomorrow."""
    tomorrow = NOW + 86_400
    cheaper, current = (
        msgspec.structs.replace(
            target,
            price=msgspec.structs.replace(target.price, later=(LaterPrice(tomorrow, DEEP.price),)),
        )
        for target in (SWIFT, ABLE)
        if target.price is not None and DEEP.price is not None
    )
    router = msgspec.structs.replace(
        make_cost_aware(FAST), catalogue=world.catalogue((lab("openai", [cheaper], [current]),))
    )
    plain = decide_turn(make_cost_aware(FAST), call(), seat=make_session())[0].switch
    assert decide_turn(router, call(), seat=make_session())[0].switch == plain


def test_a_conversation_goes_down_to_the_lowest_tier_that_can_serve_the_call() -> None:
    """The classifier's confidence is that of the tier it goes to."""
    blind = msgspec.structs.replace(SWIFT, facts=ABLE.facts)
    sees = msgspec.structs.replace(SPARE, facts=DEEP.facts)
    router = msgspec.structs.replace(
        make_cost_aware(FAST), catalogue=world.catalogue((lab("openai", [blind], [sees], [DEEP]),))
    )
    session = make_session("reasoning", DEEP, **COLD)
    decision, plan = decide_turn(router, call(images=1), seat=session)
    assert summarize(decision, plan) == "classifier smart spare"
    assert decision.confidence == FAST.smart
    without_smart = lab("openai", [blind], [], [DEEP])
    del without_smart.tiers["smart"]
    router = msgspec.structs.replace(router, catalogue=world.catalogue((without_smart,)))
    decision, plan = decide_turn(router, call(images=1), seat=session)
    assert summarize(decision, plan) == "seat reasoning deep"
