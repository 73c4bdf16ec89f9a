"""The contract of every CounterStore, in memory and in a real Redis."""

import asyncio
import random
from itertools import count

import msgspec
import pytest

from gateway.limits.counters import (
    BUSY_RETRY_SECONDS,
    AdmissionRequest,
    Admitted,
    CounterDemand,
    CounterStore,
    Kind,
    MissingCounter,
    Refusal,
)

NOW = 1_795_000_000.0
BIG = 2**53 - 1

_IDS = count()


def need(kind: Kind = "requests", limit: int = 3, amount: int = 1, **more: object) -> CounterDemand:
    """Make a demand on a counter that is named for its kind; rates are per minute."""
    period = 60.0 if kind in ("requests", "tokens") else 0.0
    whole = "calls|x|all|2026-11-24" if kind == "share" else ""
    fields = {"field": f"{kind}|x|all|2026-11-24", "period": period, "total_field": whole, **more}
    return CounterDemand(kind=kind, name="x", limit=limit, amount=amount, **fields)  # type: ignore[arg-type]  # a test's own words


def ask(
    id: str, tenant: str, *needs: CounterDemand, expires: float = NOW + 600
) -> AdmissionRequest:
    return AdmissionRequest(id=id, tenant=tenant, demands=needs, expires_at=expires)


async def admitted(
    meter: CounterStore, tenant: str, number: int, *needs: CounterDemand, now: float = NOW
) -> int:
    """Return how many of `number` simultaneous calls pass."""
    asks = [ask(f"one-{next(_IDS)}", tenant, *needs) for _ in range(number)]
    answers = await asyncio.gather(*(meter.admit(request, now) for request in asks))
    return sum(isinstance(answer, Admitted) for answer in answers)


@pytest.mark.parametrize("kind", ["requests", "concurrency", "usd"])
async def test_of_fifty_concurrent_calls_exactly_as_many_pass_as_the_limit(
    meter: CounterStore, tenant: str, kind: Kind
) -> None:
    """SEC-BUDGET 1, 2: the limit holds for a tenant that is new to the store."""
    assert await admitted(meter, tenant, 50, need(kind, limit=3)) == 3


async def test_a_call_reserves_its_tokens_before_it_uses_them(
    meter: CounterStore, tenant: str
) -> None:
    assert await admitted(meter, tenant, 50, need("tokens", limit=1000, amount=300)) == 3


@pytest.mark.parametrize("kind", ["requests", "tokens", "concurrency", "usd", "share"])
async def test_a_limit_of_zero_refuses_every_call(
    meter: CounterStore, tenant: str, kind: Kind
) -> None:
    demand = need(kind, limit=0)
    left = 0 if kind == "usd" else None
    assert await meter.admit(ask("a", tenant, demand), NOW) == Refusal(demand, left=left)


async def test_the_store_reserves_all_demands_of_a_call_or_none(
    meter: CounterStore, tenant: str
) -> None:
    """The last demand does not fit; the other counters stay as they were."""
    others = (
        need("requests"),
        need("tokens"),
        need("concurrency"),
        need("usd"),
        need("share", 1000),
    )
    last = need("usd", limit=1, amount=2, field="usd|y|all|2026-11-24")
    for number in range(10):
        assert await meter.admit(ask(f"{number}", tenant, *others, last), NOW) == Refusal(
            last, None, left=1
        )
    assert await admitted(meter, tenant, 10, *others) == 3


async def test_a_repeated_admission_gets_the_same_answer_and_reserves_nothing_twice(
    meter: CounterStore, tenant: str
) -> None:
    """The second answer equals the first, warnings included. No other call gets its warning."""
    demand = need("usd", limit=10, amount=4, soft=4)
    first = await meter.admit(ask("a", tenant, demand), NOW)
    assert first == Admitted((demand,))
    assert await meter.admit(ask("b", tenant, demand), NOW) == Admitted()
    assert await meter.admit(ask("a", tenant, demand), NOW) == first
    assert await meter.read_counters(tenant) == {demand.field: 8}


async def test_each_tenant_has_its_own_counters(meter: CounterStore, tenant: str) -> None:
    assert await admitted(meter, tenant, 9, need("requests")) == 3
    assert await admitted(meter, f"{tenant}-other", 9, need("requests")) == 3


async def test_a_call_without_demands_passes(meter: CounterStore, tenant: str) -> None:
    assert await meter.admit(ask("a", tenant), NOW) == Admitted()
    assert await meter.extend(ask("a", tenant), NOW) == Admitted()
    assert await meter.read_counters(tenant) == {}


async def test_a_rate_refills_continuously(meter: CounterStore, tenant: str) -> None:
    """60 a minute: a burst of 60, then one a second, and never more than 60 saved up."""
    demand = need("requests", limit=60)
    assert await admitted(meter, tenant, 70, demand) == 60
    assert await admitted(meter, tenant, 9, demand, now=NOW + 0.9) == 0
    assert await admitted(meter, tenant, 9, demand, now=NOW + 1) == 1
    assert await admitted(meter, tenant, 9, demand, now=NOW + 4) == 3
    assert await admitted(meter, tenant, 99, demand, now=NOW + 1000) == 60


@pytest.mark.parametrize(("limit", "amount"), [(60, 1), (7, 1), (1000, 999), (200_000, 33_333)])
async def test_a_refused_call_passes_after_retry_after_and_not_before(
    meter: CounterStore, tenant: str, limit: int, amount: int
) -> None:
    demand = need("requests", limit=limit, amount=amount)
    await admitted(meter, tenant, limit // amount, demand)
    over = await meter.admit(ask("late", tenant, demand), NOW)
    assert isinstance(over, Refusal)
    assert over.retry_after is not None
    before = await meter.admit(ask("late", tenant, demand), NOW + over.retry_after - 0.005)
    assert isinstance(before, Refusal)
    assert before.retry_after is not None
    assert 0 < before.retry_after < 0.01
    assert await meter.admit(ask("late", tenant, demand), NOW + over.retry_after) == Admitted()


async def test_a_call_that_never_fits_gets_no_retry_after(meter: CounterStore, tenant: str) -> None:
    demand = need("tokens", limit=1000, amount=1001)
    assert await meter.admit(ask("a", tenant, demand), NOW) == Refusal(demand, None)


async def test_a_settlement_corrects_the_tokens_to_the_real_usage(
    meter: CounterStore, tenant: str
) -> None:
    """A call reserves 900 of 1000 tokens and uses 100, so 900 are left."""
    assert await admitted(meter, tenant, 1, need("tokens", 1000, 900)) == 1
    await meter.admit(ask("a", tenant, need("tokens", 1000, 100)), NOW)
    assert await meter.settle(tenant, "a", 0, None)
    await meter.admit(ask("b", tenant, need("tokens", 1000, 100)), NOW)
    assert await meter.settle(tenant, "b", 50, None)
    assert await admitted(meter, tenant, 1, need("tokens", 1000, 51)) == 0
    assert await admitted(meter, tenant, 1, need("tokens", 1000, 50)) == 1


async def test_tokens_beyond_the_reservation_are_charged(meter: CounterStore, tenant: str) -> None:
    await meter.admit(ask("a", tenant, need("tokens", 600, 100)), NOW)
    assert await meter.settle(tenant, "a", 1200, None)
    over = await meter.admit(ask("b", tenant, need("tokens", 600, 600)), NOW)
    assert isinstance(over, Refusal)
    assert over.retry_after == pytest.approx(120, abs=0.01)


async def test_a_call_without_usage_stays_charged_with_its_reserved_tokens(
    meter: CounterStore, tenant: str
) -> None:
    await meter.admit(ask("a", tenant, need("tokens", 600, 400)), NOW)
    assert await meter.settle(tenant, "a", None, None)
    over = await meter.admit(ask("b", tenant, need("tokens", 600, 600)), NOW)
    assert isinstance(over, Refusal)
    assert over.retry_after == pytest.approx(40, abs=0.01)


async def test_a_settlement_returns_no_tokens_that_other_calls_used(
    meter: CounterStore, tenant: str
) -> None:
    """One call reserves all tokens and uses none while another uses half, so half is left."""
    await meter.admit(ask("a", tenant, need("tokens", 600, 300)), NOW)
    later = NOW + 40
    await meter.admit(ask("b", tenant, need("tokens", 600, 300)), later)
    assert await meter.settle(tenant, "b", 300, None)
    assert await meter.settle(tenant, "a", 0, None)
    assert await admitted(meter, tenant, 1, need("tokens", 600, 301), now=later) == 0


async def test_a_token_limit_counts_used_tokens_and_not_reserved_ones(
    meter: CounterStore, tenant: str
) -> None:
    """Six calls at a time each reserve a sixth of the limit, run 10 s and use a hundredth of it.

    36 calls a minute use 36% of the limit: none is refused.
    """
    refused, running = 0, list[str]()
    for number in range(72):
        now = NOW + number * 10 / 6
        if len(running) == 6:
            assert await meter.settle(tenant, running.pop(0), 10, None)
        request = ask(f"{number}", tenant, need("tokens", 1000, 166))
        passed = isinstance(await meter.admit(request, now), Admitted)
        refused += not passed
        running += [request.id] if passed else []
    assert refused == 0


async def test_tokens_of_a_call_that_reserved_none_count_from_the_last_request(
    meter: CounterStore, tenant: str
) -> None:
    """The last request is refused, and nothing of the rate is used or reserved at that time."""
    demand = need("tokens", limit=60, amount=0)
    await meter.admit(ask("a", tenant, demand), NOW)
    over = need("tokens", limit=60, amount=61)
    assert await meter.admit(ask("b", tenant, over), NOW + 5) == Refusal(over)
    assert await meter.settle(tenant, "a", 60, None)
    assert await admitted(meter, tenant, 9, need("tokens", limit=60), now=NOW + 5) == 0
    assert await admitted(meter, tenant, 9, need("tokens", limit=60), now=NOW + 8) == 3


async def test_a_rate_that_refuses_names_its_wait_though_a_budget_is_busy_too(
    meter: CounterStore, tenant: str
) -> None:
    """After the wait the budget refuses: its running call never ended, so it stays charged."""
    rate, budget = need("requests", limit=6), need("usd", limit=500, amount=400)
    await admitted(meter, tenant, 6, rate)
    assert await meter.admit(ask("a", tenant, budget, expires=NOW + 1), NOW) == Admitted()
    over = await meter.admit(ask("b", tenant, rate, budget), NOW)
    assert over == Refusal(rate, 10.000001)
    later = await meter.admit(ask("b", tenant, rate, budget), NOW + 10.000001)
    assert later == Refusal(budget, left=100)


async def test_a_concurrency_slot_is_released_once(meter: CounterStore, tenant: str) -> None:
    demand = need("concurrency", limit=1)
    assert await meter.admit(ask("a", tenant, demand), NOW) == Admitted()
    over = await meter.admit(ask("b", tenant, demand), NOW)
    assert over in (Refusal(demand, None), Refusal(demand, 1.0))
    assert await meter.settle(tenant, "a", None, None)
    assert not await meter.settle(tenant, "a", None, None)
    assert await admitted(meter, tenant, 9, demand) == 1


async def test_a_settlement_corrects_the_money_to_the_real_cost(
    meter: CounterStore, tenant: str
) -> None:
    demand = need("usd", limit=100, amount=60)
    await meter.admit(ask("a", tenant, demand), NOW)
    assert await meter.admit(ask("b", tenant, demand), NOW) == Refusal(
        demand, BUSY_RETRY_SECONDS, busy=True, left=40
    )
    assert await meter.settle(tenant, "a", None, 40)
    assert await meter.admit(ask("b", tenant, demand), NOW) == Admitted()
    assert await meter.read_counters(tenant) == {demand.field: 100}


async def test_an_unknown_cost_keeps_the_reservation_and_a_higher_cost_is_charged(
    meter: CounterStore, tenant: str
) -> None:
    demand = need("usd", limit=100, amount=10)
    await meter.admit(ask("a", tenant, demand), NOW)
    await meter.admit(ask("b", tenant, demand), NOW)
    assert await meter.settle(tenant, "a", None, None)
    assert await meter.settle(tenant, "b", None, 95)
    assert await meter.read_counters(tenant) == {demand.field: 105}


async def test_a_negative_cost_credits_nothing(meter: CounterStore, tenant: str) -> None:
    demand = need("usd", limit=100, amount=10)
    await meter.admit(ask("a", tenant, demand, need("tokens", 100, 10)), NOW)
    assert await meter.settle(tenant, "a", -(10**6), -(10**6))
    assert await meter.read_counters(tenant) == {demand.field: 0}


async def test_a_call_without_a_reservation_is_not_settled(
    meter: CounterStore, tenant: str
) -> None:
    assert not await meter.settle(tenant, "never", 1, 1)
    demand = need("usd", limit=0)
    await meter.admit(ask("refused", tenant, demand), NOW)
    assert not await meter.settle(tenant, "refused", 1, 1)


async def test_after_a_thousand_calls_nothing_stays_reserved(
    meter: CounterStore, tenant: str
) -> None:
    """SEC-BUDGET 3: nothing stays reserved, however calls end and interleave."""
    chance = random.Random(6)
    needs = (need("tokens", 10**6, 1000), need("concurrency", 8), need("usd", 10**9, 10**6))
    running: list[str] = []
    spent = 0
    for number in range(1000):
        if len(running) == 8:
            cost = chance.choice([0, 1, 10**6, None])
            spent += 10**6 if cost is None else cost
            assert await meter.settle(tenant, running.pop(chance.randrange(8)), 0, cost)
        request = ask(f"{number}", tenant, *needs)
        assert await meter.admit(request, NOW) == Admitted()
        running.append(request.id)
        if number % 100 == 99:
            for id in running:
                assert await meter.settle(tenant, id, 0, 0)
            running.clear()
            assert await meter.read_counters(tenant) == {needs[2].field: spent}
            spent = 0
            await meter.admit(ask(f"all-{number}", tenant, need("tokens", 10**6, 10**6)), NOW)
            assert await meter.settle(tenant, f"all-{number}", 0, 0)
            break
    assert await admitted(meter, tenant, 20, needs[1]) == 8


async def test_an_expired_reservation_is_charged_and_its_concurrency_slot_is_free(
    meter: CounterStore, tenant: str
) -> None:
    place, money = need("concurrency", limit=1), need("usd", limit=100, amount=60)
    await meter.admit(ask("dead", tenant, place, money, expires=NOW + 10), NOW)
    assert await meter.admit(ask("b", tenant, place), NOW + 9.9) != Admitted()
    assert await meter.admit(ask("b", tenant, place), NOW + 10) == Admitted()
    assert await meter.admit(ask("c", tenant, money), NOW + 10) == Refusal(money, left=40)
    assert await meter.read_counters(tenant) == {money.field: 60}


async def test_a_late_settlement_corrects_the_charge_once(meter: CounterStore, tenant: str) -> None:
    """A second settlement frees no concurrency slot again."""
    place, money = need("concurrency", limit=2), need("usd", limit=100, amount=60)
    await meter.admit(ask("late", tenant, place, money, expires=NOW + 10), NOW)
    assert await meter.admit(ask("b", tenant, place), NOW + 20) == Admitted()
    assert await meter.settle(tenant, "late", 5, 7)
    assert not await meter.settle(tenant, "late", 5, 7)
    assert await meter.read_counters(tenant) == {money.field: 7}
    assert await admitted(meter, tenant, 9, place, now=NOW + 20) == 1


async def test_a_further_attempt_adds_to_the_calls_reservation(
    meter: CounterStore, tenant: str
) -> None:
    money = need("usd", limit=100, amount=40)
    await meter.admit(ask("a", tenant, money, need("concurrency", 1)), NOW)
    assert await meter.extend(ask("a", tenant, money), NOW) == Admitted()
    assert await meter.extend(ask("a", tenant, money), NOW) == Refusal(money, left=20)
    assert await meter.read_counters(tenant) == {money.field: 80}
    assert await meter.settle(tenant, "a", None, 50)
    assert await meter.read_counters(tenant) == {money.field: 50}
    assert await admitted(meter, tenant, 5, need("concurrency", 1)) == 1


async def test_a_further_attempt_reserves_tokens_too(meter: CounterStore, tenant: str) -> None:
    """Two attempts reserve 400 of 1000 each; in the end the call used 500."""
    tokens = need("tokens", limit=1000, amount=400)
    await meter.admit(ask("a", tenant, tokens), NOW)
    assert await meter.extend(ask("a", tenant, tokens), NOW) == Admitted()
    assert isinstance(await meter.extend(ask("a", tenant, tokens), NOW), Refusal)
    assert await meter.settle(tenant, "a", 500, None)
    assert await admitted(meter, tenant, 1, need("tokens", 1000, 501)) == 0
    assert await admitted(meter, tenant, 1, need("tokens", 1000, 500)) == 1


async def test_an_extension_makes_the_call_expire_later(meter: CounterStore, tenant: str) -> None:
    place = need("concurrency", limit=1)
    await meter.admit(ask("a", tenant, place, expires=NOW + 10), NOW)
    more = ask("a", tenant, need("usd", 10), expires=NOW + 30)
    assert await meter.extend(more, NOW + 5) == Admitted()
    assert await meter.admit(ask("b", tenant, place), NOW + 20) != Admitted()
    assert await meter.admit(ask("b", tenant, place), NOW + 30) == Admitted()


async def test_a_missing_budget_counter_must_be_seeded_first(
    meter: CounterStore, tenant: str
) -> None:
    """A seeded amount counts; a second seed changes nothing."""
    money = need("usd", limit=100, amount=40, needs_seed=True)
    request = ask("a", tenant, need("requests"), money)
    assert await meter.admit(request, NOW) == MissingCounter(money)
    await meter.seed(tenant, money.field, 61)
    await meter.seed(tenant, money.field, 0)
    assert await meter.admit(request, NOW) == Refusal(money, left=39)
    assert await meter.read_counters(tenant) == {money.field: 61}
    assert await admitted(meter, tenant, 9, need("requests")) == 3


async def test_exactly_one_call_gets_the_warning_of_a_soft_limit(
    meter: CounterStore, tenant: str
) -> None:
    """Exactly one call gets the warning, at exactly the soft limit. Returned money repeats none."""
    money = need("usd", limit=100, amount=10, soft=80)
    answers = [await meter.admit(ask(f"{n}", tenant, money), NOW) for n in range(10)]
    assert answers == [Admitted()] * 7 + [Admitted((money,))] + [Admitted()] * 2
    for number in range(10):
        await meter.settle(tenant, f"{number}", None, 7)
    again = [await meter.admit(ask(f"b{n}", tenant, money), NOW) for n in range(3)]
    assert again == [Admitted()] * 3


async def test_each_window_has_its_own_warning_of_a_soft_limit(
    meter: CounterStore, tenant: str
) -> None:
    for day in ("2026-11-24", "2026-11-25"):
        money = need("usd", limit=10, amount=9, soft=8, field=f"usd|x|all|{day}")
        assert await meter.admit(ask(day, tenant, money), NOW) == Admitted((money,))


async def test_a_share_of_a_tenth_admits_every_tenth_call_to_the_tier(
    meter: CounterStore, tenant: str
) -> None:
    """Only the tenth call may use the tier; calls to other tiers count and always pass."""
    reasoning, other = need("share", limit=100), need("share", limit=100, amount=0)
    assert await meter.admit(ask("early", tenant, reasoning), NOW) == Refusal(reasoning, None)
    assert await admitted(meter, tenant, 9, other) == 9
    assert await admitted(meter, tenant, 5, reasoning) == 1
    assert await admitted(meter, tenant, 9, other, now=NOW + 1) == 9
    assert await admitted(meter, tenant, 5, reasoning, now=NOW + 1) == 1
    assert await meter.read_counters(tenant) == {reasoning.field: 2, reasoning.total_field: 20}


async def test_a_used_up_share_refuses_no_call_to_other_tiers(
    meter: CounterStore, tenant: str
) -> None:
    """An operator may have lowered the share since."""
    await meter.seed(tenant, need("share").field, 50)
    assert await admitted(meter, tenant, 9, need("share", limit=100, amount=0)) == 9


async def test_the_soft_limit_of_a_share_warns_at_a_share_of_calls(
    meter: CounterStore, tenant: str
) -> None:
    """The tier may have half of the calls and warns at 40%: here at its fourth call of ten."""
    reasoning, other = (
        need("share", limit=500, soft=400),
        need("share", limit=500, amount=0, soft=400),
    )
    await admitted(meter, tenant, 6, other)
    answers = [await meter.admit(ask(f"{n}", tenant, reasoning), NOW) for n in range(5)]
    assert answers == [Admitted()] * 3 + [Admitted((reasoning,)), Admitted()]


@pytest.mark.parametrize("amount", [BIG, 2**63, 10**30])
async def test_every_limit_refuses_a_huge_amount(
    meter: CounterStore, tenant: str, amount: int
) -> None:
    for kind in ("tokens", "usd", "concurrency"):
        demand = need(kind, limit=10**12, amount=amount)
        answer = await meter.admit(ask("a", tenant, demand), NOW)
        assert isinstance(answer, Refusal)
        assert (answer.demand.kind, answer.retry_after) == (kind, None)
    assert await meter.read_counters(tenant) == {}


async def test_a_huge_usage_uses_the_limit_up_without_an_error(
    meter: CounterStore, tenant: str
) -> None:
    demands = (need("usd", 100, 1), need("tokens", 100, 1))
    await meter.admit(ask("a", tenant, *demands), NOW)
    assert await meter.settle(tenant, "a", 10**30, 10**30)
    for demand in demands:
        assert isinstance(await meter.admit(ask("b", tenant, demand), NOW + 60), Refusal)


async def test_a_clock_that_goes_back_refills_nothing_twice(
    meter: CounterStore, tenant: str
) -> None:
    """Two machines, half a second apart, take turns and still get one request a second."""
    demand = need("requests", limit=60)
    assert await admitted(meter, tenant, 60, demand) == 60
    passed = 0
    for turn in range(100):
        now = NOW + turn / 10 - 0.5 * (turn % 2)
        passed += await admitted(meter, tenant, 1, demand, now=now)
    assert passed == 9


async def test_a_store_may_be_closed_twice_with_a_reservation_open(
    meter: CounterStore, tenant: str
) -> None:
    await meter.admit(ask("a", tenant, need("concurrency", 1)), NOW)
    await meter.close()
    await meter.close()


async def test_a_further_attempt_of_an_expired_call_reserves_all_of_it_again(
    meter: CounterStore, tenant: str
) -> None:
    """Other calls wait for it, because it may cost less in the end."""
    money = need("usd", limit=100, amount=60)
    await meter.admit(ask("late", tenant, money, expires=NOW + 10), NOW)
    assert await meter.admit(ask("b", tenant, money), NOW + 20) == Refusal(money, left=40)
    more = ask("late", tenant, need("usd", limit=100, amount=10), expires=NOW + 60)
    assert await meter.extend(more, NOW + 20) == Admitted()
    busy = Refusal(money, BUSY_RETRY_SECONDS, busy=True, left=30)
    assert await meter.admit(ask("b", tenant, money), NOW + 20) == busy
    assert await meter.settle(tenant, "late", None, 5)
    assert await meter.read_counters(tenant) == {money.field: 5}


async def test_all_calls_that_have_expired_free_their_places_at_once(
    meter: CounterStore, tenant: str
) -> None:
    """One was settled, one expired an hour ago and is forgotten, and one has just expired."""
    place = need("concurrency", limit=1)
    other = need("usd", limit=100)
    for id, demand, expires in (
        ("old", other, 10),
        ("settled", other, 3_600),
        ("last", place, 3_611),
    ):
        await meter.admit(ask(id, tenant, demand, expires=NOW + expires), NOW)
    assert await meter.admit(ask("new", tenant, other, expires=NOW + 9_000), NOW + 10) == Admitted()
    assert await meter.settle(tenant, "settled", None, 1)
    assert await meter.admit(ask("b", tenant, place), NOW + 3_611) == Admitted()


async def test_several_missing_counters_of_a_call_are_named_at_once(
    meter: CounterStore, tenant: str
) -> None:
    first, second, known, third = (
        need("usd", field=f"usd|{name}|all|2026-11-24", needs_seed=True) for name in "abcd"
    )
    await meter.seed(tenant, known.field, 0)
    answer = await meter.admit(ask("a", tenant, first, second, known, third), NOW)
    assert answer == MissingCounter(first, (second, third))


async def test_a_call_that_moves_to_a_tier_without_limits_has_nothing_to_settle(
    meter: CounterStore, tenant: str
) -> None:
    """A call that has reserved some already keeps it for as long as it may run."""
    full, place = need("requests", limit=0, then="fast"), need("concurrency", limit=1)
    free = msgspec.structs.replace(ask("a", tenant, full), fallbacks=(("fast", ()),))
    assert await meter.admit(free, NOW) == Admitted((), 1, (full,))
    assert not await meter.settle(tenant, "a", None, None)
    await meter.admit(ask("b", tenant, place, expires=NOW + 10), NOW)
    more = msgspec.structs.replace(free, id="b", expires_at=NOW + 30)
    assert await meter.extend(more, NOW) == Admitted((), 1, (full,))
    assert isinstance(await meter.admit(ask("c", tenant, place), NOW + 20), Refusal)
    assert await meter.admit(ask("c", tenant, place), NOW + 30) == Admitted()
