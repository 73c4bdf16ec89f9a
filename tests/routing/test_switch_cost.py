"""The cost of leaving a session, and what the strategy `ratchet-up` makes of it."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from gateway.core.decision import DecisionSource, SessionSwitch
from gateway.core.decision_context import Score
from gateway.core.price import LaterPrice
from gateway.core.prompt_cache import CachedTurn
from gateway.core.target import Target, Tier
from gateway.routing.affinity_verdict import AffinityDecision, AffinityVerdict
from gateway.routing.classify import ScoredTier
from gateway.routing.switch_cost import (
    TierSelection,
    WeighedSession,
    check_insufficiency,
    describe_left_session,
    describe_switch,
    estimate_usual_turn,
    find_first_target,
    find_price,
    format_switch_cost,
    weigh_ratchet_up,
)
from tests.routing.test_affinity_verdict import (
    ABLE,
    CATALOGUE,
    DEEP,
    FAR,
    HALF,
    NOW,
    SPARE,
    SWIFT,
    call,
    make_session,
)

D = Decimal
CALL = call("and now?", chars=400)
TURN = CachedTurn(cached_tokens=20_000, fresh_tokens=1, output_tokens=1)


def make_affinity(verdict: AffinityVerdict = "weighs", **more: Any) -> AffinityDecision:
    return AffinityDecision(
        session=make_session(**more), target=ABLE, cached_tokens=20_000, verdict=verdict, reason="why"
    )  # fmt: skip


def weigh(
    tier: Tier,
    source: DecisionSource = "classifier",
    *,
    score: Score | None = None,
    verdict: AffinityVerdict = "weighs",
    model: str | None = None,
    **more: Any,
) -> WeighedSession:
    scored = None if score is None else ScoredTier(tier, None, score, HALF)
    selection = ("openai", tier, model, source, None, scored)
    return weigh_ratchet_up(make_affinity(verdict), CATALOGUE, CALL, NOW, 0.5, selection, **more)


def summarize(weighed: WeighedSession) -> tuple[bool, str, str | None, Decimal | None]:
    switch = weighed.switch
    assert weighed.moves in (True, False)
    return (
        weighed.moves,
        weighed.reason,
        None if switch is None else switch.destination,
        None if switch is None else switch.cost,
    )


STAYS_SMART = "the gateway does not go down from smart"


def test_ratchet_up_never_goes_down_and_says_so() -> None:
    """If the session is left anyway, no switch is weighed."""
    assert summarize(weigh("fast")) == (False, STAYS_SMART, "openai/swift", D("0.0018"))
    assert summarize(weigh("fast", verdict="leaves")) == (False, STAYS_SMART, None, None)


@pytest.mark.parametrize("tier", ["smart", "reasoning"])
def test_a_session_that_is_left_anyway_moves_for_its_own_reason(tier: Tier) -> None:
    assert summarize(weigh(tier, verdict="leaves")) == (True, "why", None, None)


def test_the_same_tier_is_no_reason_to_move() -> None:
    assert summarize(weigh("smart")) == (False, "smart is the new decision too", None, None)


def test_a_rule_or_evidence_raises_without_a_classifier() -> None:
    weighed = summarize(weigh("reasoning", "rule"))
    assert weighed == (True, "a rule asks for reasoning", "openai/deep", D("0.095"))
    weighed = summarize(weigh("reasoning", "default", has_evidence=True))
    assert weighed == (True, "reasoning is the new decision", "openai/deep", D("0.095"))
    weighed = summarize(weigh("reasoning", "default"))
    assert weighed == (False, "no classifier is sure of reasoning", "openai/deep", D("0.095"))


def test_a_classifier_raises_if_it_is_sure_that_the_tier_is_too_weak() -> None:
    reason = "smart is too weak with probability {}; the gateway goes up from 0.50"
    sure, unsure = (
        weigh("reasoning", score=Score(0.1, 0.5)),
        weigh("reasoning", score=Score(0.1, 0.51)),
    )
    assert summarize(sure) == (True, reason.format("0.50"), "openai/deep", D("0.095"))
    assert summarize(unsure) == (False, reason.format("0.49"), "openai/deep", D("0.095"))


def test_each_tier_has_a_probability_of_its_own_that_it_suffices() -> None:
    score = Score(0.25, 0.75)
    assert check_insufficiency("fast", score_of(score), 0.75)[0]
    assert not check_insufficiency("fast", score_of(score), 0.76)[0]
    assert check_insufficiency("smart", score_of(score), 0.25)[0]
    assert not check_insufficiency("smart", score_of(score), 0.26)[0]


def score_of(score: Score) -> ScoredTier:
    return ScoredTier("smart", None, score, HALF)


def test_the_model_of_the_selection_is_the_destination() -> None:
    """The session is in the fast tier here."""
    affinity = msgspec.structs.replace(make_affinity(tier="fast"), target=SWIFT)
    for model, destination in (("spare", "gemini/spare"), (None, "openai/able")):
        weighed = weigh_ratchet_up(
            affinity, CATALOGUE, CALL, NOW, 0.5, ("openai", "smart", model, "rule", None, None)
        )
        assert weighed.switch is not None
        assert weighed.switch.destination == destination


def test_a_switch_names_both_sides_and_costs_what_the_new_provider_reads_again() -> None:
    affinity = make_affinity()
    switch = describe_switch(affinity, DEEP, TURN, NOW)
    assert switch == SessionSwitch(
        has_moved=False, lab="openai", tier="smart", target="openai/able",
        destination="openai/deep", tokens=20_000, cost=D("0.095"),
    )  # fmt: skip
    same = describe_switch(affinity, ABLE, TURN, NOW)
    assert (same.destination, same.tokens, same.cost) == ("openai/able", 0, D(0))
    none = describe_switch(affinity, None, TURN, NOW)
    assert (none.destination, none.tokens, none.cost) == ("openai/able", 20_000, None)


def with_later_price(target: Target, start: float) -> Target:
    """Return a target that costs from a time on what DEEP costs."""
    assert target.price is not None
    assert DEEP.price is not None
    price = msgspec.structs.replace(target.price, later=(LaterPrice(start, DEEP.price),))
    return msgspec.structs.replace(target, price=price)


def test_a_switch_costs_the_price_of_its_time() -> None:
    later = with_later_price(SPARE, NOW)
    assert describe_switch(make_affinity(), later, TURN, NOW - 1).cost == D("0.036")
    assert describe_switch(make_affinity(), later, TURN, NOW).cost == D("0.095")
    assert describe_left_session(make_affinity(), CALL, later, NOW - 1).cost == D("0.036")
    assert describe_left_session(make_affinity(), CALL, later, NOW).cost == D("0.095")
    assert find_price(later, NOW) == DEEP.price
    assert find_price(None, NOW) is None
    assert find_price(FAR, NOW) is None


def test_a_ratchet_up_weighs_the_price_of_its_time() -> None:
    deep = with_later_price(msgspec.structs.replace(SPARE, model="later"), NOW)
    labs = {**CATALOGUE.labs}
    openai = labs["openai"]
    labs["openai"] = msgspec.structs.replace(openai, tiers={**openai.tiers, "reasoning": (deep,)})
    catalogue = msgspec.structs.replace(CATALOGUE, labs=labs)
    selection: TierSelection = ("openai", "reasoning", None, "rule", None, None)
    for timestamp, cost in ((NOW - 1, D("0.036")), (NOW, D("0.095"))):
        weighed = weigh_ratchet_up(
            make_affinity(), catalogue, CALL, timestamp, 0.5, selection
        )  # fmt: skip
        assert weighed.switch is not None
        assert weighed.switch.cost == cost


def test_a_left_session_keeps_the_switch_that_was_weighed_for_its_destination() -> None:
    affinity = make_affinity()
    weighed = msgspec.structs.replace(describe_switch(affinity, DEEP, TURN, NOW), calls=7)
    left = describe_left_session(affinity, CALL, DEEP, NOW, weighed)
    assert (left.has_moved, left.calls) == (True, 7)
    other = describe_left_session(affinity, CALL, SPARE, NOW, weighed)
    assert (other.has_moved, other.calls, other.destination) == (True, None, "gemini/spare")


def test_the_trace_says_what_a_left_cache_costs() -> None:
    affinity = make_affinity()
    texts = [
        format_switch_cost(describe_switch(affinity, target, TURN, NOW))
        for target in (ABLE, DEEP, FAR)
    ]
    assert texts == [
        "no cached tokens are lost",
        "20000 cached tokens are lost: 0.095 USD",
        "20000 cached tokens are lost, at a price that is not known",
    ]


def test_the_usual_turn_has_the_mean_output_of_the_conversation() -> None:
    turn = estimate_usual_turn(make_affinity(calls=3, output=1_000), CALL)
    assert (turn.cached_tokens, turn.fresh_tokens, turn.output_tokens) == (
        20_000,
        CALL.user_tokens,
        333,
    )
    assert estimate_usual_turn(make_affinity(calls=0, output=1_000), CALL).output_tokens == 0


def test_the_first_target_of_a_tier_is_one_that_is_on_and_has_the_model() -> None:
    assert find_first_target(CATALOGUE, "openai", "smart") == ABLE
    assert find_first_target(CATALOGUE, "openai", "smart", "spare") == SPARE
    assert find_first_target(CATALOGUE, "openai", "smart", "gemini/spare") == SPARE
    assert find_first_target(CATALOGUE, "openai", "smart", "off") is None
    assert find_first_target(CATALOGUE, "openai", "smart", "deep") is None
    assert find_first_target(CATALOGUE, "away", "smart") is None
    assert find_first_target(CATALOGUE, "lender", "fast") is None
    lab = msgspec.structs.replace(CATALOGUE.labs["lender"], tiers={"smart": (SPARE,)})
    catalogue = msgspec.structs.replace(CATALOGUE, labs={"lender": lab})
    assert find_first_target(catalogue, "lender", "fast") is None
