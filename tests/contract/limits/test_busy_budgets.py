"""Counters distinguish money that running calls reserve from money that is spent."""

import pytest

from gateway.limits.counters import (
    BUSY_RETRY_SECONDS,
    Admitted,
    CounterStore,
    Refusal,
)
from tests.contract.limits.test_counter_store import NOW, ask, need


async def test_a_refusal_is_busy_for_reserved_money_and_not_for_spent_money(
    meter: CounterStore, tenant: str
) -> None:
    """A call reserves 60 of 100.

    Another of 50 fits if the first costs less, and never if it costs 60.
    """
    first, second = need("usd", limit=100, amount=60), need("usd", limit=100, amount=50)
    await meter.admit(ask("a", tenant, first), NOW)
    assert await meter.admit(ask("b", tenant, second), NOW) == Refusal(
        second, BUSY_RETRY_SECONDS, busy=True, left=40
    )
    assert await meter.settle(tenant, "a", None, 60)
    assert await meter.admit(ask("b", tenant, second), NOW) == Refusal(second, left=40)


async def test_a_busy_budget_has_room_once_its_calls_end(meter: CounterStore, tenant: str) -> None:
    money = need("usd", limit=100, amount=60)
    assert await meter.admit(ask("a", tenant, money), NOW) == Admitted()
    answer = await meter.admit(ask("b", tenant, money), NOW)
    assert isinstance(answer, Refusal)
    assert answer.busy
    assert await meter.settle(tenant, "a", None, 10)
    assert await meter.admit(ask("b", tenant, money), NOW) == Admitted()


async def test_a_call_larger_than_the_unspent_budget_gets_no_busy_refusal(
    meter: CounterStore, tenant: str
) -> None:
    """Even if all running calls end at no cost, 101 does not fit into 100."""
    await meter.admit(ask("a", tenant, need("usd", limit=100, amount=60)), NOW)
    large = need("usd", limit=100, amount=101)
    assert await meter.admit(ask("b", tenant, large), NOW) == Refusal(large, left=40)


async def test_a_call_that_ends_without_usage_has_spent_its_reservation(
    meter: CounterStore, tenant: str
) -> None:
    """The cost of the call is unknown, so its reservation stays charged."""
    money = need("usd", limit=100, amount=60)
    await meter.admit(ask("a", tenant, money), NOW)
    await meter.settle(tenant, "a", None, None)
    assert await meter.admit(ask("b", tenant, money), NOW) == Refusal(money, left=40)


async def test_an_expired_reservation_is_spent(meter: CounterStore, tenant: str) -> None:
    """The amount stays charged; a late settlement corrects it and reserves nothing."""
    money = need("usd", limit=100, amount=60)
    await meter.admit(ask("a", tenant, money, expires=NOW + 10), NOW)
    assert await meter.admit(ask("b", tenant, money), NOW + 11) == Refusal(money, left=40)
    assert await meter.settle(tenant, "a", None, 30)
    assert await meter.admit(ask("b", tenant, money), NOW + 11) == Admitted()
    assert await meter.admit(ask("c", tenant, money), NOW + 11) == Refusal(
        money, BUSY_RETRY_SECONDS, busy=True, left=10
    )
    assert await meter.read_counters(tenant) == {money.field: 90}


async def test_an_expired_call_that_continues_reserves_its_whole_amount_again(
    meter: CounterStore, tenant: str
) -> None:
    money = need("usd", limit=100, amount=30)
    await meter.admit(ask("a", tenant, money, expires=NOW + 10), NOW)
    assert await meter.extend(ask("a", tenant, money, expires=NOW + 90), NOW + 11) == Admitted()
    large = need("usd", limit=100, amount=100)
    assert await meter.admit(ask("b", tenant, large), NOW + 11) == Refusal(
        large, BUSY_RETRY_SECONDS, busy=True, left=40
    )
    assert await meter.settle(tenant, "a", None, 5)
    assert await meter.admit(ask("b", tenant, large), NOW + 11) == Refusal(large, left=95)


async def test_a_calls_own_reservation_does_not_make_its_refusal_busy(
    meter: CounterStore, tenant: str
) -> None:
    """The first attempt may be billed: only reservations of other calls make a further one wait."""
    money = need("usd", limit=100, amount=60)
    small = need("usd", limit=100, amount=30)
    await meter.admit(ask("a", tenant, money), NOW)
    assert await meter.extend(ask("a", tenant, money), NOW) == Refusal(money, left=40)
    await meter.admit(ask("b", tenant, small), NOW)
    assert await meter.extend(ask("a", tenant, small), NOW) == Refusal(
        small, BUSY_RETRY_SECONDS, busy=True, left=10
    )


@pytest.mark.parametrize("first", ["busy", "spent"])
async def test_a_refusal_names_a_spent_budget_before_a_busy_one(
    meter: CounterStore, tenant: str, first: str
) -> None:
    busy = need("usd", limit=100, amount=60)
    spent = need("usd", limit=0, field="usd|y|all|2026-11-24")
    await meter.admit(ask("a", tenant, busy), NOW)
    needs = (busy, spent) if first == "busy" else (spent, busy)
    assert await meter.admit(ask("b", tenant, *needs), NOW) == Refusal(spent, left=0)


async def test_a_refusal_names_the_longer_wait_of_a_rate_and_a_busy_budget(
    meter: CounterStore, tenant: str
) -> None:
    busy, slow = need("usd", limit=100, amount=60), need("requests", limit=1)
    await meter.admit(ask("a", tenant, busy, slow), NOW)
    answer = await meter.admit(ask("b", tenant, busy, slow), NOW)
    assert isinstance(answer, Refusal)
    assert (answer.demand, answer.busy) == (slow, False)


async def test_on_the_way_to_a_cheaper_tier_only_spent_budgets_are_reported(
    meter: CounterStore, tenant: str
) -> None:
    """Only a spent budget warns the operator; one that calls reserve for a while does not."""
    money = need("usd", limit=100, amount=60, then="smart")
    lower = need("usd", limit=100, amount=60, field="usd|y|all|2026-11-24", then="fast")
    await meter.admit(ask("a", tenant, money), NOW)
    await meter.seed(tenant, lower.field, 90)
    admission = ask("b", tenant, money)
    admission = type(admission)(
        id="b", tenant=tenant, demands=(money,), expires_at=admission.expires_at,
        fallbacks=(("smart", (lower,)), ("fast", ())),
    )  # fmt: skip
    assert await meter.admit(admission, NOW) == Admitted((), 2, (lower,))
