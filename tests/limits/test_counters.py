"""Demands by call, answers of two owners as one, and a rate that has back what a call took."""

import msgspec
import pytest

from gateway.limits.counters import (
    ALL_SCOPES,
    MAX_COUNT,
    Admitted,
    CounterDemand,
    DemandTemplate,
    Kind,
    MissingCounter,
    RateState,
    Refusal,
    Scopes,
    merge_answers,
)

SHARED = CounterDemand(kind="usd", name="all", field="usd|all|all|total", limit=9, all_tenants=True)
OWN = CounterDemand(kind="usd", name="own", field="usd|own|all|total", limit=9)
RATE = CounterDemand(
    kind="requests", name="r", field="requests|r|all|60s", limit=60, amount=3, period=60.0
)
RATE_OF_ALL = msgspec.structs.replace(RATE, all_tenants=True)


@pytest.mark.parametrize(
    ("demands", "has_only_money", "scopes"),
    [
        ((SHARED, OWN), True, ALL_SCOPES),
        ((OWN,), True, (False,)),
        ((SHARED, RATE), False, ALL_SCOPES),
        ((RATE_OF_ALL,), False, (True,)),
    ],
)
def test_a_template_knows_whose_counters_its_calls_need(
    demands: tuple[CounterDemand, ...], has_only_money: bool, scopes: Scopes
) -> None:
    template = DemandTemplate(demands)
    assert (template.has_only_money, template.scopes) == (has_only_money, scopes)


@pytest.mark.parametrize(
    ("kind", "amount", "limit", "is_hard"),
    [
        ("usd", 1, 9, True),
        ("usd", 0, 9, False),
        ("usd", 1, MAX_COUNT - 1, True),
        ("usd", 1, MAX_COUNT, False),
        ("tokens", 1, 9, False),
    ],
)
def test_only_an_amount_of_a_budget_that_can_refuse_is_hard_money(
    kind: Kind, amount: int, limit: int, is_hard: bool
) -> None:
    demand = msgspec.structs.replace(OWN, kind=kind, amount=amount, limit=limit)
    assert demand.is_hard_money is is_hard


def test_a_template_fills_the_amounts_of_a_call_into_its_variable_demands() -> None:
    template = DemandTemplate((SHARED, RATE, OWN), (0, 2))
    assert [demand.amount for demand in template.fill((5, 7))] == [5, 3, 7]
    assert template.fill(()) == (SHARED, RATE, OWN)


@pytest.mark.parametrize(("reset_seconds", "reset_after"), [(10.0, 7.0), (2.0, 0.0), (None, None)])
def test_a_rate_that_gets_back_what_a_call_took_has_more_left_and_resets_earlier(
    reset_seconds: float | None, reset_after: float | None
) -> None:
    """Three of 60 requests a minute are three seconds. A rate of 0 never has anything left."""
    left = 0 if reset_seconds is None else 50
    state = RateState(RATE, left, reset_seconds).give_back()
    assert state == RateState(RATE, 0 if reset_after is None else 53, reset_after)


@pytest.mark.parametrize("may_lack", [(True, False), (False, True), (False, False)])
def test_missing_counters_of_both_owners_are_one_answer(may_lack: tuple[bool, bool]) -> None:
    """The counters may start once both owners are ready."""
    second = msgspec.structs.replace(OWN, name="second")
    for waits in ((1.0, 2.0), (2.0, 1.0)):
        shared_answer, tenant_answer = (
            MissingCounter(SHARED, (RATE_OF_ALL,), waits[0], may_lack_calls=may_lack[0]),
            MissingCounter(OWN, (second,), waits[1], may_lack_calls=may_lack[1]),
        )
        assert merge_answers(shared_answer, tenant_answer) == MissingCounter(
            SHARED, (RATE_OF_ALL, OWN, second), 2.0, may_lack_calls=any(may_lack)
        )


def test_the_answer_of_all_tenants_comes_before_that_of_the_calls_own() -> None:
    shared_answer, tenant_answer = Refusal(SHARED), MissingCounter(OWN)
    assert merge_answers(shared_answer, tenant_answer) == shared_answer
    assert merge_answers(Admitted(), tenant_answer) == tenant_answer
    assert merge_answers(shared_answer, Admitted()) == shared_answer


def test_a_counter_belongs_to_the_tenant_of_the_call_or_to_all_tenants() -> None:
    assert (SHARED.owner("acme"), OWN.owner("acme")) == (None, "acme")
