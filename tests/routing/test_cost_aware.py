"""The strategy `cost-aware`: rules and the classifier decide each user turn anew."""

from typing import Any

import msgspec
import pytest
from hypothesis import given

from gateway.core.call import Key
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import Score, Session
from gateway.core.target import TIERS
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
    place,
    priced,
    router,
    seat,
    told,
)
from tests.routing.world import OPENAI, lab, lines

type Json = dict[str, Any]
PROOFS: Json = {"name": "proofs", "when": {"keywords": ["prove"]}, "tier": "reasoning"}
CHATS: Json = {"name": "chats", "when": {"keywords": ["hi"]}, "tier": "fast"}
COLD: Json = {"tokens": 0}
"""A session whose provider has nothing of the prompt in its cache."""


def aware(score: Score = SMART, **more: Any) -> Router:
    return router("cost-aware", score, **more)


def test_it_is_the_default() -> None:
    assert RoutingPart().conversation == "cost-aware"
    assert Router(catalogue=CATALOGUE, rules=world.rules(), classifier=None).conversation == "cost-aware"  # fmt: skip


def test_a_greeting_does_not_decide_a_conversation() -> None:
    known = aware(FAST, choices=[PROOFS])
    decision, plan = told(known, call("Prove it."), seat=seat("fast", SWIFT, **COLD))
    assert place(decision, plan) == "rule reasoning deep"
    assert decision.rule == "proofs"


@pytest.mark.parametrize("tokens", [0, 300_000])
def test_a_rules_tier_always_holds(tokens: int) -> None:
    """A rule moves a call up or down, however much is cached.

    If the rule asks for the tier of the session, the target stays.
    """
    known = aware(SMART, choices=[PROOFS, CHATS])
    sits = seat(tokens=tokens)
    assert place(*told(known, call("Prove it."), seat=sits)) == "rule reasoning deep"
    assert place(*told(known, call("Hi!"), seat=sits)) == "rule fast swift"
    same = aware(FAST, choices=[{"when": {}, "tier": "smart", "complete": "hold"}])
    decision, plan = told(same, call(), seat=seat(target=SPARE, tokens=tokens))
    assert place(decision, plan) == "rule smart spare"
    assert (decision.account, decision.switch, decision.complete) == ("second", None, "hold")
    assert not [line for line in lines(decision) if "seat:" in line]


def test_guards_bound_what_a_rule_asks_for() -> None:
    known = aware(SMART, choices=[PROOFS], guards=[{"max_tier": "smart"}])
    decision, plan = told(known, call("Prove it."), seat=seat())
    assert place(decision, plan) == "rule smart able"
    assert decision.account == "second"


def test_a_rules_lab_holds_too() -> None:
    """The classifier chooses the tier there; a lab that cannot serve the key moves nothing."""
    known = aware(SMART, choices=[{"when": {}, "lab": "google", "complete": "hold"}])
    decision, plan = told(known, call(), seat=seat())
    assert (decision.lab, place(decision, plan)) == ("google", "classifier smart far")
    assert "a rule asks for the lab google" in " ".join(lines(decision))
    away = aware(SMART, choices=[{"when": {}, "lab": "away"}])
    assert place(*told(away, call(), seat=seat())) == "seat smart able"
    scoped = call(key=Key(name="k", labs=("openai", "lender")))
    assert place(*told(known, scoped, seat=seat())) == "seat smart able"
    denied = aware(SMART, choices=[{"when": {}, "lab": "google"}], guards=[{"deny": ["google"]}])
    assert place(*told(denied, call(), seat=seat())) == "seat smart able"


def test_a_rules_lab_that_is_the_seats_keeps_the_seat_and_what_else_it_says() -> None:
    known = aware(SMART, choices=[{"when": {}, "lab": "openai", "complete": "hold"}])
    decision, plan = told(known, call(), seat=seat())
    assert place(decision, plan) == "seat smart able"
    assert decision.complete == "hold"


def test_a_rules_lab_does_not_raise_by_two_tiers() -> None:
    known = aware(REASONING, choices=[{"when": {}, "lab": "google"}])
    assert place(*told(known, call(), seat=seat("fast", SWIFT))) == "classifier smart far"


def test_a_rules_model_moves_it() -> None:
    known = aware(SMART, choices=[{"when": {}, "model": "spare"}])
    decision, plan = told(known, call(), seat=seat())
    assert place(decision, plan) == "rule smart spare"
    assert decision.switch is not None
    assert decision.switch.has_moved
    decision, plan = told(known, call(), seat=seat(target=SPARE, model="spare"))
    assert (place(decision, plan), decision.switch) == ("rule smart spare", None)


@pytest.mark.parametrize("sits", [seat("fast", SWIFT), seat("fast", SWIFT, **COLD)])
def test_the_classifier_raises_by_one_tier_a_turn(sits: Session) -> None:
    decision, plan = told(aware(REASONING), call(), seat=sits)
    assert place(decision, plan) == "classifier smart able"
    assert (decision.confidence, decision.classified_tier) == (REASONING.smart, "reasoning")
    assert "one tier a turn" in " ".join(lines(decision))
    decision, plan = told(aware(REASONING), call(), seat=seat(**COLD))
    assert place(decision, plan) == "classifier reasoning deep"
    assert decision.confidence == 1 - REASONING.smart


def test_a_judge_raises_by_one_tier_a_turn() -> None:
    decision, plan = told(aware(FAST), call(), seat=seat("fast", SWIFT), judged=Score(0.0, 0.0))
    assert (place(decision, plan), decision.confidence) == ("classifier smart able", None)


def test_where_cached_tokens_are_lost_it_must_be_sure_to_raise() -> None:
    assert (
        place(*told(aware(DOUBT, upgrade_threshold=0.6), call(), seat=seat())) == "seat smart able"
    )
    cold = told(aware(DOUBT, upgrade_threshold=0.6), call(), seat=seat(**COLD))
    assert place(*cold) == "classifier reasoning deep"


def test_the_default_tier_decides_where_nothing_else_does() -> None:
    """A call rises by one tier a turn, and goes down if that pays."""
    known = msgspec.structs.replace(aware(), classifier=None)
    assert place(*told(known, call(), seat=seat("fast", SWIFT))) == "default smart able"
    assert place(*told(known, call(), seat=LONG)) == "seat reasoning deep"
    assert place(*told(known, call(), seat=seat("reasoning", DEEP, **COLD))) == "default smart able"


def test_it_lowers_freely_where_nothing_is_cached() -> None:
    """A call goes down even without a price, or if the cheaper tier is the same model."""
    decision, plan = told(aware(FAST), call(), seat=seat(**COLD))
    assert place(decision, plan) == "classifier fast swift"
    unpriced = msgspec.structs.replace(
        aware(FAST), catalogue=world.catalogue((lab("openai", [world.LUNA], [ABLE]),))
    )
    assert told(unpriced, call(), seat=seat(**COLD))[0].tier == "fast"
    assert told(unpriced, call(), seat=seat())[0].tier == "smart"
    low = msgspec.structs.replace(ABLE, effort="low")
    efforts = msgspec.structs.replace(
        aware(FAST), catalogue=world.catalogue((lab("openai", [low], [ABLE]),))
    )
    assert told(efforts, call(), seat=seat(**COLD))[0].tier == "fast"
    assert told(efforts, call(), seat=seat())[0].tier == "smart"


def test_a_cheaper_tier_without_a_prompt_cache_has_to_pay_as_well() -> None:
    """A tier without a cache costs nothing to move to, but more with each call."""
    plain = priced(OPENAI, "plain", "3", "3", "10")
    known = msgspec.structs.replace(
        aware(FAST), catalogue=world.catalogue((lab("openai", [plain], [ABLE]),))
    )
    decision, _ = told(known, call(), seat=seat())
    assert (decision.source, decision.tier) == ("seat", "smart")
    assert decision.switch is not None
    assert decision.switch.cost == 0
    assert decision.switch.margin is not None
    assert decision.switch.margin < 0


def test_the_sum_is_told() -> None:
    """X = 20k * (0.1 - 0.01), S = 20k * (0.2 - 0.01) + 2 * (2 - 0.1) + 1,000 * (10 - 0.4)."""
    decision, plan = told(aware(FAST), call(), seat=seat())
    shown = explain.describe(decision, plan, [()] * len(plan.targets), NOW)["switch"]
    assert shown == {
        "moved": True, "lab": "openai", "tier": "smart", "target": "openai/able", "to": "openai/swift",
        "tokens": 20_000, "cost": "0.0018", "saving": "0.0134038", "calls": 4, "margin": "0.0518152",
    }  # fmt: skip
    assert (
        "-seat: leaves openai/able (openai/swift saves 0.013404 USD a call for 4 calls, "
        "less 0.0018 USD to read 20000 cached tokens anew: 0.051815 USD)"
    ) in lines(decision)


def test_a_tier_that_cannot_serve_the_call_is_not_weighed() -> None:
    """The nearest lower tier that can serve the call is weighed; without one the call stays."""
    sees = msgspec.structs.replace(SPARE, facts=DEEP.facts)
    blind = msgspec.structs.replace(SWIFT, facts=ABLE.facts)
    known = msgspec.structs.replace(
        aware(FAST), catalogue=world.catalogue((lab("openai", [blind], [sees], [DEEP]),))
    )
    decision, _ = told(known, call(images=1), seat=seat("reasoning", DEEP, tokens=150_000))
    assert decision.switch is not None
    assert decision.switch.destination == sees.name
    decision, plan = told(known, call(images=1), seat=seat("smart", sees))
    assert place(decision, plan) == "seat smart spare"
    assert "no target below smart can serve this call" in " ".join(lines(decision))


def test_what_a_guard_or_a_key_forbids_is_no_reason_to_leave() -> None:
    """The turn alone would be fast, but it may not be; so it would be smart, too."""
    guarded = aware(FAST, guards=[{"min_tier": "smart"}])
    decision, plan = told(guarded, call(), seat=seat())
    assert (place(decision, plan), decision.turns_below) == ("seat smart able", 0)
    scoped = call(key=Key(name="k", tiers=("smart", "reasoning")))
    assert place(*told(aware(FAST), scoped, seat=seat())) == "seat smart able"


LONG = seat("reasoning", DEEP, tokens=150_000, calls=1, output=0)
"""A session in which a cheaper tier takes more than a few turns to pay."""


def turn(known: Router, sits: Session, **more: Any) -> tuple[Decision, Plan, Session]:
    """Return a turn and the session that it leaves, which always counts one call."""
    decision, plan = told(known, call(**more), seat=sits)
    assert decision.tier is not None
    sat = seat(
        decision.tier, plan.targets[0], tokens=sits.tokens, turns=3, calls=1, output=0,
        turns_below=decision.turns_below, at=NOW - 5,
    )  # fmt: skip
    return decision, plan, sat


def test_a_rise_ends_after_eight_turns_without_evidence() -> None:
    """The ninth turn is decided on its own, though the move costs more than it saves."""
    known, sits, stayed = aware(SMART), LONG, 0
    while True:
        decision, _, sits = turn(known, sits)
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
    easy = aware(SMART, choices=[PROOFS])
    sits = msgspec.structs.replace(LONG, turns_below=7)
    decision, _, sits = turn(aware(score, choices=[PROOFS]), sits, text=text)
    assert (decision.tier, sits.turns_below) == ("reasoning", 0)
    decision, _, sits = turn(easy, sits)
    assert (decision.tier, sits.turns_below) == ("reasoning", 1)


def test_tool_loops_are_no_turns() -> None:
    sits = msgspec.structs.replace(LONG, turns_below=8)
    decision, plan, after = turn(aware(FAST), sits, tool_loop=True)
    assert place(decision, plan) == "seat reasoning deep"
    assert (decision.turns_below, after.turns_below) == (8, 8)


@pytest.mark.parametrize(
    "changes", [{"at": NOW - 301}, {"turns": 9, "first": "f"}, {"first": "other"}],
    ids=["idle", "compaction", "another beginning"],
)  # fmt: skip
def test_what_ends_a_rise_decides_the_turn_alone(changes: Json) -> None:
    """An idle time beyond the provider's cache, or a compaction, ends a rise.

    The turn may then go up by two tiers.
    """
    seen = ConversationTurn(conversation="c", first="f", explicit=True)
    sits = msgspec.structs.replace(LONG, turns_below=3, **changes)
    decision, plan = told(aware(FAST), call(turn=seen), seat=sits)
    assert (place(decision, plan), decision.turns_below) == ("classifier fast swift", 0)
    low = msgspec.structs.replace(seat("fast", SWIFT), **changes)
    assert place(*told(aware(REASONING), call(turn=seen), seat=low)) == "classifier reasoning deep"


def test_other_strategies_count_no_turns() -> None:
    sits = msgspec.structs.replace(LONG, turns_below=3)
    decision, _ = told(router("sticky", FAST), call(), seat=sits)
    assert (decision.source, decision.turns_below) == ("seat", 3)
    decision, _ = told(router("ratchet-up", FAST), call(), seat=sits)
    assert (decision.source, decision.turns_below) == ("seat", 0)


def test_what_stays_tells_no_confidence() -> None:
    """The classifier ran, but the session decided."""
    decision, _ = told(aware(SMART), call(), seat=seat())
    assert (decision.source, decision.confidence, decision.score) == ("seat", None, SMART)


@given(SCORES, SEATS)
def test_no_turn_rises_by_more_than_one_tier(score: Score, sits: Session) -> None:
    sits = msgspec.structs.replace(sits, at=NOW - 10, turns=0)
    for known in (aware(score), msgspec.structs.replace(aware(score), classifier=None)):
        decision, _ = told(known, call(), seat=sits)
        assert decision.tier is not None
        assert TIERS.index(decision.tier) <= TIERS.index(sits.tier) + 1
