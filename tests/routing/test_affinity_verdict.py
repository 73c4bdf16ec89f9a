"""A conversation stays on its target, or leaves for a reason: each strategy in each situation."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import OPEN_KEY, Key, RequestOptions, Strategy
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import EMPTY_CONTEXT, DecisionContext, Score, Session, Thresholds
from gateway.core.price import Price, PriceStep
from gateway.core.rates import Rates
from gateway.core.target import TIERS, Target, Tier
from gateway.dialects import OPENAI_CHAT
from gateway.routing import explain
from gateway.routing.features import Features
from gateway.routing.router import Router, decide
from tests.routing import world
from tests.routing.world import GEMINI, HOST, OPENAI, lab, lines, names, rules

type Json = dict[str, Any]

NOW = 1_000_000.0


def priced(
    provider: Any, model: str, read: str, write: str, output: str, *, above: int = 0, **facts: Any
) -> Target:
    rates = Rates(input=Decimal(write), cache_read=Decimal(read), output=Decimal(output))
    ten = Rates(
        input=rates.input and rates.input * 10,
        cache_read=rates.cache_read and rates.cache_read * 10,
        output=rates.output,
    )
    steps = (PriceStep(above, ten),) if above else ()
    price = Price(rates=rates, steps=steps, version="v")
    return msgspec.structs.replace(world.target(provider, model, **facts), price=price)


SWIFT = priced(OPENAI, "swift", "0.01", "0.1", "0.4", above=100_000)
ABLE = priced(OPENAI, "able", "0.2", "2", "10", vision=False)
SPARE = priced(GEMINI, "spare", "0.2", "2", "10")
DEEP = priced(OPENAI, "deep", "0.25", "5", "25")
FAR = world.target(GEMINI, "far")
OFF = world.target(HOST, "off")
LENT = world.target(GEMINI, "lent")
CATALOGUE = world.catalogue(
    (
        msgspec.structs.replace(
            lab("openai", [SWIFT], [ABLE, SPARE, OFF], [DEEP]), fallback=("lender",)
        ),
        lab("google", [FAR], [FAR], [FAR]),
        lab("lender", [], [LENT], []),
        lab("away", [], [OFF], []),
    )
)


HALF = Thresholds(fast=0.5, smart=0.5, id="half")
FAST, SMART, REASONING = Score(0.9, 0.95), Score(0.2, 0.8), Score(0.1, 0.2)
DOUBT = Score(0.4, 0.49)
"""The score says reasoning, but only just."""


def make_session(tier: Tier = "smart", target: Target = ABLE, **more: Any) -> Session:
    fields: Json = {
        "lab": "openai",
        "account": "second",
        "tokens": 20_000,
        "turns": 2,
        "at": NOW - 60,
    }
    fields |= {"calls": 4, "output": 4_000, "first": "f"}
    return Session(tier=tier, target=target.name, **fields | more)


def call(
    text: str = "and now?",
    *,
    turn: ConversationTurn | None = None,
    key: Key = OPEN_KEY,
    **more: Any,
) -> Features:
    """Return the third user turn of a conversation."""
    facts = {"user_turns": 3, **more}
    features = world.call(text, key=key, **facts)
    loop, named = bool(facts.get("tool_loop")), facts["user_turns"] == 1
    features.turn = turn or ConversationTurn(conversation="c", first="f", loop=loop, explicit=named)
    return features


def make_router(strategy: Strategy = "sticky", score: Score = SMART, **more: Any) -> Router:
    rule_set = rules(more.pop("guards", ()), more.pop("choices", ()))
    return Router(
        catalogue=CATALOGUE,
        rules=rule_set,
        classifier=world.FixedScoreClassifier(score.fast, score.smart, HALF),
        conversation=strategy,
        **more,
    )


def decide_turn(router: Router, features: Features, **evidence: Any) -> tuple[Decision, Plan]:
    return decide(router, features, OPENAI_CHAT, DecisionContext(at=NOW, **evidence))


def summarize(decision: Decision, plan: Plan) -> str:
    return f"{decision.source} {decision.tier} {plan.targets[0].model}"


STRATEGIES: tuple[Strategy, ...] = ("turn", "sticky", "ratchet-up", "cost-aware", "pin")
STAYS = "seat smart able"
DOWN, UP = "classifier fast swift", "classifier reasoning deep"
LOOP: Json = {"tool_loop": True}
SITUATIONS: dict[str, tuple[Json, Score, tuple[str, ...]]] = {
    # the facts that differ from the default, the classifier's score; turn, sticky, ratchet-up,
    # cost-aware, pin
    "no more is needed": ({}, FAST, (DOWN, STAYS, STAYS, DOWN, STAYS)),
    "the same": ({}, SMART, ("classifier smart able", STAYS, STAYS, STAYS, STAYS)),
    "more is needed": ({}, REASONING, (UP, STAYS, UP, UP, STAYS)),
    "more may be needed": ({"sure": 0.6}, DOUBT, (UP, STAYS, STAYS, STAYS, STAYS)),
    "in a tool loop, down": (LOOP, FAST, (STAYS,) * 5),
    "in a tool loop, up": (LOOP, REASONING, (STAYS,) * 5),
    "in a tool loop, late": ({**LOOP, "at": NOW - 3_000}, FAST, (STAYS,) * 5),
    "idle, up": ({"at": NOW - 301}, REASONING, (UP, UP, UP, UP, STAYS)),
    "idle, down": ({"at": NOW - 301}, FAST, (DOWN, DOWN, STAYS, DOWN, STAYS)),
    "idle, but kept": ({"at": NOW - 301, "keeps": 1_800.0}, FAST, (DOWN, STAYS, STAYS, DOWN, STAYS)),
    "shorter": ({"user_turns": 1}, FAST, (DOWN, DOWN, STAYS, DOWN, STAYS)),
    "another beginning": ({"first": "g"}, FAST, (DOWN,) * 5),
    "its beginning was not known": ({"first": ""}, FAST, (DOWN, STAYS, STAYS, DOWN, STAYS)),
    "a breaker is open": ({"unseated": "is out"}, REASONING, (UP,) * 5),
    "a breaker is open, down": ({"unseated": "is out"}, FAST, (DOWN, DOWN, STAYS, DOWN, DOWN)),
    "a breaker is open in a loop": ({"unseated": "is out", **LOOP}, FAST, (STAYS,) * 5),
    "it takes no images": ({"images": 1}, FAST, (DOWN, DOWN, "seat smart spare", DOWN, DOWN)),
    "it takes no images, in a loop": ({"images": 1, **LOOP}, FAST, ("seat smart spare",) * 5),
}  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("at", range(5), ids=STRATEGIES)
def test_each_strategy_decides_each_situation_as_the_table_says(situation: str, at: int) -> None:
    changes, score, expected = SITUATIONS[situation]
    changes = dict(changes)
    sure = changes.pop("sure", 0.5)
    prompt = {k: changes.pop(k) for k in ("tool_loop", "user_turns", "images") if k in changes}
    evidence = {k: changes.pop(k) for k in ("unseated",) if k in changes}
    router = make_router(STRATEGIES[at], score, upgrade_threshold=sure)
    decision, plan = decide_turn(router, call(**prompt), seat=make_session(**changes), **evidence)
    assert summarize(decision, plan) == expected[at], lines(decision)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_a_session_all_strategies_decide_alike(strategy: Strategy) -> None:
    request = call()
    for score in (FAST, SMART, REASONING):
        decision, _ = decide(make_router(strategy, score), request, OPENAI_CHAT, EMPTY_CONTEXT)
        sticky, _ = decide(
            make_router("sticky", score), world.call("and now?", user_turns=3), OPENAI_CHAT
        )
        assert world.timeless(decision) == world.timeless(sticky)
        assert (decision.switch, decision.account) == (None, None)


def test_a_call_that_stays_on_its_target_runs_neither_rules_nor_classifier() -> None:
    router = make_router(choices=[{"when": {}, "tier": "fast", "complete": "hold"}])
    decision, plan = decide_turn(router, call(), seat=make_session())
    assert lines(decision) == [
        "-pin: lab openai ('auto' leaves the tier open)",
        "seat: openai/smart openai/able (the conversation stays with its target)",
        "plan: 2 of 3 targets (host/off is off)",
        "plan: lab lender (where all of openai fail)",
    ]
    assert (decision.rule, decision.confidence, decision.complete) == (None, None, "off")
    assert decision.account == "second"
    assert names(plan)[0] == "openai/able"


def test_a_target_that_took_over_stays_first() -> None:
    """The target may be of another lab; the budget stays with the lab of the decision."""
    _, plan = decide_turn(make_router(), call(), seat=make_session(target=SPARE))
    assert names(plan) == ["gemini/spare", "openai/able", "gemini/lent"]
    decision, plan = decide_turn(make_router(), call(), seat=make_session(target=LENT))
    assert names(plan) == ["gemini/lent", "openai/able", "gemini/spare"]
    assert plan.labs == ("lender", "openai", "openai")
    assert (decision.lab, decision.account) == ("openai", "second")


def test_a_model_that_the_session_names_is_called_again() -> None:
    decision, plan = decide_turn(make_router(), call(), seat=make_session(model="able"))
    assert (decision.model, names(plan)) == ("able", ["openai/able"])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"lab": "gone"}, "there is no lab gone any more"),
        ({"lab": "away"}, "away is off"),
        ({"target": FAR}, "gemini/far is no target of openai/smart any more"),
        ({"target": OFF}, "host/off is off"),
    ],
)
def test_a_session_whose_target_is_gone_or_off_is_decided_anew(changes: Json, why: str) -> None:
    decision, plan = decide_turn(make_router(score=FAST), call(), seat=make_session(**changes))
    assert summarize(decision, plan) == DOWN
    assert f"({why})" in " ".join(lines(decision))


def test_a_shorter_call_with_the_same_first_words_is_no_compaction() -> None:
    """Both share a session.

    A compaction of a conversation known by its start is a new conversation.
    """
    request = call(user_turns=1, turn=ConversationTurn(conversation="c", first="f"))
    decision, plan = decide_turn(make_router(score=FAST), request, seat=make_session(turns=8))
    assert summarize(decision, plan) == STAYS


def test_guards_and_key_scopes_bound_a_session() -> None:
    """Bounds hold in a tool loop too, where the call moves no further than it must."""
    guards = [{"max_tier": "smart"}]
    top = make_session("reasoning", DEEP)
    decision, plan = decide_turn(make_router(score=FAST, guards=guards), call(), seat=top)
    assert summarize(decision, plan) == DOWN
    decision, plan = decide_turn(make_router(score=FAST, guards=guards), call(**LOOP), seat=top)
    assert summarize(decision, plan) == STAYS
    scoped = Key(name="k", tiers=("fast", "smart"))
    decision, plan = decide_turn(make_router(score=FAST), call(key=scoped), seat=top)
    assert summarize(decision, plan) == DOWN
    denied = make_router(score=FAST, guards=[{"deny": ["openai"]}])
    for request in (call(), call(**LOOP)):
        decision, plan = decide_turn(denied, request, seat=make_session())
        assert summarize(decision, plan) == "classifier smart lent"
    decision, plan = decide_turn(
        make_router(score=FAST), call(key=Key(name="k", labs=("google",))), seat=make_session()
    )
    assert summarize(decision, plan) == "classifier fast far"


def test_a_budget_bounds_a_session() -> None:
    decision, plan = decide_turn(
        make_router(), call(), seat=make_session("reasoning", DEEP), ceiling="smart"
    )
    assert summarize(decision, plan) == "classifier smart able"
    decision, plan = decide_turn(
        make_router(), call(**LOOP), seat=make_session("reasoning", DEEP), ceiling="fast"
    )
    assert summarize(decision, plan) == "seat fast swift"


def test_a_lab_or_tier_that_the_client_names_overrides_the_session() -> None:
    """It does so inside a tool loop, too."""
    for prompt in ({}, LOOP):
        request = call(**prompt)
        request.prompt = msgspec.structs.replace(request.prompt, model="reasoning")
        decision, plan = decide_turn(make_router(), request, seat=make_session())
        assert summarize(decision, plan) == "pin reasoning deep"
        assert decision.switch is not None
        assert (decision.switch.has_moved, decision.switch.destination) == (True, "openai/deep")
        request.prompt = msgspec.structs.replace(request.prompt, model="google/auto")
        decision, plan = decide_turn(make_router(), request, seat=make_session())
        assert summarize(decision, plan) == "classifier smart far"


def test_a_client_that_names_the_tier_of_the_session_keeps_its_target() -> None:
    request = call()
    request.options = RequestOptions(tier="smart")
    decision, plan = decide_turn(make_router(), request, seat=make_session(target=SPARE))
    assert summarize(decision, plan) == "pin smart spare"
    assert (decision.account, decision.switch) == ("second", None)


def test_a_side_call_has_no_session() -> None:
    request = call(turn=ConversationTurn(conversation="c", kind="side"))
    decision, plan = decide_turn(make_router(score=FAST), request, seat=make_session())
    assert summarize(decision, plan) == DOWN
    assert decision.switch is None


def test_a_side_call_that_continues_a_conversation_goes_to_its_target() -> None:
    """The side call repeats the prompt of the conversation, which the provider has cached."""
    request = call(turn=ConversationTurn(conversation="c", kind="side", loop=True))
    decision, plan = decide_turn(make_router(score=FAST), request, seat=make_session())
    assert summarize(decision, plan) == STAYS


def test_a_client_key_can_set_its_own_strategy() -> None:
    decision, plan = decide_turn(
        make_router("sticky", FAST),
        call(key=Key(name="k", conversation="turn")),
        seat=make_session(),
    )
    assert summarize(decision, plan) == DOWN


def test_the_strategy_of_a_guard_overrides_that_of_the_client_key() -> None:
    """The first guard with a `conversation` setting wins, and the trace shows it."""
    guards = [{"no_cache": True}, {"conversation": "turn"}, {"conversation": "pin"}]
    key = Key(name="k", conversation="sticky")
    decision, plan = decide_turn(
        make_router("pin", FAST, guards=guards), call(key=key), seat=make_session()
    )
    assert summarize(decision, plan) == DOWN
    assert "guard: conversation turn (guard 1)" in lines(decision)


@pytest.mark.parametrize("strategy", ["ratchet-up", "cost-aware"])
def test_a_rule_decides_a_user_turn_under_ratchet_up_and_cost_aware(strategy: Strategy) -> None:
    """A rule decides at a user turn that the strategy weighs; elsewhere the session comes first."""
    choices = [{"when": {"keywords": ["prove"]}, "tier": "reasoning"}]
    router = make_router(strategy, SMART, choices=choices)
    decision, plan = decide_turn(router, call("Prove it."), seat=make_session())
    assert summarize(decision, plan) == "rule reasoning deep"
    decision, plan = decide_turn(
        make_router("sticky", choices=choices), call("Prove it."), seat=make_session()
    )
    assert summarize(decision, plan) == STAYS


def test_ratchet_up_stays_without_a_classifier() -> None:
    router = msgspec.structs.replace(make_router("ratchet-up"), classifier=None)
    decision, plan = decide_turn(router, call(), seat=make_session("fast", SWIFT))
    assert summarize(decision, plan) == "seat fast swift"
    assert decision.switch is not None
    assert not decision.switch.has_moved


def test_the_trace_shows_what_leaving_costs() -> None:
    """Writing 20,000 tokens to deep's cache instead of reading them costs 20k * 4.75."""
    decision, _ = decide_turn(make_router("ratchet-up", REASONING), call(), seat=make_session())
    assert [line for line in lines(decision) if "seat" in line] == [
        "-seat: leaves openai/able (smart is too weak with probability 0.80; the gateway goes up from 0.50)",
        "seat: openai/reasoning openai/deep (20000 cached tokens are lost: 0.095 USD)",
    ]
    switch = decision.switch
    assert switch is not None
    assert (switch.has_moved, switch.lab, switch.tier, switch.target) == (
        True, "openai", "smart", "openai/able",
    )  # fmt: skip
    assert (switch.destination, switch.tokens, switch.cost) == (
        "openai/deep",
        20_000,
        Decimal("0.095"),
    )
    assert decision.account is None


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"at": NOW - 400}, "no cached tokens are lost"),
        ({"tokens": 0}, "no cached tokens are lost"),
        ({}, "20000 cached tokens are lost, at a price that is not known"),
    ],
)
def test_the_trace_shows_that_no_tokens_are_lost_or_at_an_unknown_price(
    changes: Json, line: str
) -> None:
    request = call()
    request.options = RequestOptions(lab="google")
    decision, _ = decide_turn(make_router("turn"), request, seat=make_session(**changes))
    assert line in lines(decision)[-1]
    switch = decision.switch
    assert switch is not None
    assert switch.cost == (None if switch.tokens else 0)


def test_a_move_to_another_tier_of_the_same_target_loses_no_cached_tokens() -> None:
    router = msgspec.structs.replace(
        make_router("turn", REASONING),
        catalogue=world.catalogue((lab("openai", [ABLE], [ABLE], [ABLE]),)),
    )
    decision, _ = decide_turn(router, call(), seat=make_session())
    assert decision.switch is not None
    assert decision.switch.tokens == 0
    assert decision.switch.cost == 0


def test_a_move_to_a_cheaper_tier_must_pay_for_the_cache_it_leaves() -> None:
    """Past the cheap model's long-context step, the lower price takes longer to pay for itself."""
    short, _ = decide_turn(make_router("cost-aware", FAST), call(), seat=make_session())
    assert short.tier == "fast"
    assert short.switch is not None
    assert (short.switch.has_moved, short.switch.cost) == (True, Decimal("0.0018"))
    assert short.switch.calls == 4
    long, _ = decide_turn(
        make_router("cost-aware", FAST), call(), seat=make_session(tokens=150_000)
    )
    assert (long.tier, long.source) == ("smart", "seat")
    assert long.switch is not None
    assert (long.switch.has_moved, long.switch.cost) == (False, Decimal("0.135"))
    assert "0.135 USD to read 150000 cached tokens again" in " ".join(lines(long))


def test_cost_aware_stays_if_a_move_saves_nothing_or_an_unknown_amount() -> None:
    dear = msgspec.structs.replace(
        make_router("cost-aware", FAST), catalogue=world.catalogue((lab("openai", [DEEP], [ABLE]),))
    )
    decision, _ = decide_turn(dear, call(), seat=make_session())
    assert (decision.tier, decision.source) == ("smart", "seat")
    assert decision.switch is not None
    assert decision.switch.saving is not None
    assert decision.switch.saving < 0
    unknown = msgspec.structs.replace(
        dear, catalogue=world.catalogue((lab("openai", [LENT], [ABLE]),))
    )
    decision, _ = decide_turn(unknown, call(), seat=make_session())
    assert (decision.tier, decision.source) == ("smart", "seat")
    assert "a price is missing" in " ".join(lines(decision))


def test_a_session_without_an_answer_counts_as_one_call() -> None:
    decision, _ = decide_turn(
        make_router("cost-aware", FAST), call(), seat=make_session(calls=0, output=0)
    )
    assert decision.switch is not None
    assert decision.switch.calls == 1


def test_cost_aware_skips_a_target_that_is_off() -> None:
    router = msgspec.structs.replace(
        make_router("cost-aware", FAST),
        catalogue=world.catalogue((lab("openai", [OFF, SWIFT], [ABLE]),)),
    )
    decision, plan = decide_turn(router, call(), seat=make_session())
    assert summarize(decision, plan) == DOWN
    assert decision.switch is not None
    assert decision.switch.saving is not None


def test_the_explanation_gives_the_costs_of_a_move_as_exact_text() -> None:
    decision, plan = decide_turn(make_router("ratchet-up", REASONING), call(), seat=make_session())
    shown = explain.describe(decision, plan, [()] * len(plan.targets), NOW)["switch"]
    assert shown == {
        "moved": True, "lab": "openai", "tier": "smart", "target": "openai/able", "to": "openai/deep",
        "tokens": 20_000, "cost": "0.095", "saving": None, "calls": None, "margin": None,
    }  # fmt: skip


def test_a_rise_to_a_tier_without_targets_stays_on_the_target() -> None:
    router = msgspec.structs.replace(
        make_router("ratchet-up", REASONING),
        catalogue=world.catalogue((lab("openai", [], [ABLE]),)),
    )
    decision, plan = decide_turn(router, call(), seat=make_session())
    assert plan.targets == (ABLE,)
    assert decision.switch is not None
    assert decision.switch.destination == "openai/able"


SCORES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda two: Score(min(two), max(two)))
SEATS = st.builds(
    lambda at, tokens, ago, turns, calls, output: make_session(
        TIERS[at], (SWIFT, ABLE, DEEP)[at],
        tokens=tokens, at=NOW - ago, turns=turns, calls=calls, output=output,
    ),
    st.integers(0, 2), st.integers(0, 300_000), st.floats(0, 3_600), st.integers(0, 5),
    st.integers(0, 50), st.integers(0, 100_000),
)  # fmt: skip


@given(st.sampled_from(STRATEGIES), SCORES, SEATS)
def test_inside_a_tool_loop_the_target_never_changes(
    strategy: Strategy, score: Score, session: Session
) -> None:
    decision, plan = decide_turn(make_router(strategy, score), call(**LOOP), seat=session)
    assert (decision.tier, plan.targets[0].name) == (session.tier, session.target)
    assert (decision.source, decision.switch) == ("seat", None)


@given(SCORES, SEATS)
def test_ratchet_up_never_lowers_the_tier(score: Score, session: Session) -> None:
    for more in ({}, {"unseated": "is out"}):
        decision, _ = decide_turn(make_router("ratchet-up", score), call(), seat=session, **more)
        assert decision.tier is not None
        assert TIERS.index(decision.tier) >= TIERS.index(session.tier)


@given(SCORES, SEATS)
def test_cost_aware_lowers_the_tier_only_if_that_pays(score: Score, session: Session) -> None:
    """With a warm cache, X < S * the calls to come, in exact USD."""
    session = msgspec.structs.replace(session, at=NOW - 10, turns=0)
    decision, _ = decide_turn(make_router("cost-aware", score), call(), seat=session)
    switch = decision.switch
    if decision.tier is None or TIERS.index(decision.tier) >= TIERS.index(session.tier):
        return
    assert switch is not None
    assert switch.cost is not None
    assert switch.saving is not None
    assert switch.calls == max(1, session.calls)
    assert switch.cost < switch.saving * switch.calls
