"""The contract of every CounterStore, in memory and in a real Redis."""

import asyncio
import random
from itertools import count

import pytest

from gateway.limits.counters import (
    BUSY_RETRY_SECONDS,
    AdmissionRequest,
    Admitted,
    CounterDemand,
    CounterStore,
    DemandTemplate,
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
    answers = await asyncio.gather(*(meter.admit(one, now) for one in asks))
    return sum(isinstance(answer, Admitted) for answer in answers)


@pytest.mark.parametrize("kind", ["requests", "concurrency", "usd"])
async def test_of_fifty_at_once_as_many_pass_as_fit(
    meter: CounterStore, tenant: str, kind: Kind
) -> None:
    """SEC-BUDGET 1, 2: the limit holds for a tenant that is new to the store."""
    assert await admitted(meter, tenant, 50, need(kind, limit=3)) == 3


async def test_tokens_are_held_before_they_are_used(meter: CounterStore, tenant: str) -> None:
    assert await admitted(meter, tenant, 50, need("tokens", limit=1000, amount=300)) == 3


@pytest.mark.parametrize("kind", ["requests", "tokens", "concurrency", "usd", "share"])
async def test_zero_refuses(meter: CounterStore, tenant: str, kind: Kind) -> None:
    asked = need(kind, limit=0)
    assert await meter.admit(ask("a", tenant, asked), NOW) == Refusal(asked, None)


async def test_all_needs_are_taken_or_none(meter: CounterStore, tenant: str) -> None:
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
            last, None
        )
    assert await admitted(meter, tenant, 10, *others) == 3


async def test_asking_again_takes_nothing_twice(meter: CounterStore, tenant: str) -> None:
    """The second answer equals the first, warnings included."""
    asked = need("usd", limit=10, amount=4, soft=4)
    first = await meter.admit(ask("a", tenant, asked), NOW)
    assert first == Admitted((asked,))
    assert await meter.admit(ask("a", tenant, asked), NOW) == first
    assert await meter.read_counters(tenant) == {asked.field: 4}


async def test_tenants_are_apart(meter: CounterStore, tenant: str) -> None:
    assert await admitted(meter, tenant, 9, need("requests")) == 3
    assert await admitted(meter, f"{tenant}-other", 9, need("requests")) == 3


async def test_a_call_that_needs_nothing_passes(meter: CounterStore, tenant: str) -> None:
    assert await meter.admit_single(DemandTemplate(()), (), "n", tenant, 60.0, NOW) == Admitted()
    assert await meter.admit(ask("a", tenant), NOW) == Admitted()
    assert await meter.extend(ask("a", tenant), NOW) == Admitted()
    assert await meter.read_counters(tenant) == {}


async def test_requests_come_back_a_little_at_a_time(meter: CounterStore, tenant: str) -> None:
    """60 a minute: a burst of 60, then one a second, and never more than 60 saved up."""
    asked = need("requests", limit=60)
    assert await admitted(meter, tenant, 70, asked) == 60
    assert await admitted(meter, tenant, 9, asked, now=NOW + 0.9) == 0
    assert await admitted(meter, tenant, 9, asked, now=NOW + 1) == 1
    assert await admitted(meter, tenant, 9, asked, now=NOW + 4) == 3
    assert await admitted(meter, tenant, 99, asked, now=NOW + 1000) == 60


@pytest.mark.parametrize(("limit", "amount"), [(60, 1), (7, 1), (1000, 999), (200_000, 33_333)])
async def test_after_retry_after_the_same_ask_passes_and_not_before(
    meter: CounterStore, tenant: str, limit: int, amount: int
) -> None:
    asked = need("requests", limit=limit, amount=amount)
    await admitted(meter, tenant, limit // amount, asked)
    over = await meter.admit(ask("late", tenant, asked), NOW)
    assert isinstance(over, Refusal)
    assert over.retry_after is not None
    before = await meter.admit(ask("late", tenant, asked), NOW + over.retry_after - 0.005)
    assert isinstance(before, Refusal)
    assert before.retry_after is not None
    assert 0 < before.retry_after < 0.01
    assert await meter.admit(ask("late", tenant, asked), NOW + over.retry_after) == Admitted()


async def test_what_never_fits_has_no_retry_after(meter: CounterStore, tenant: str) -> None:
    asked = need("tokens", limit=1000, amount=1001)
    assert await meter.admit(ask("a", tenant, asked), NOW) == Refusal(asked, None)


async def test_tokens_become_what_was_used(meter: CounterStore, tenant: str) -> None:
    """A call reserves 900 of 1000 tokens and uses 100, so 900 are left."""
    assert await admitted(meter, tenant, 1, need("tokens", 1000, 900)) == 1
    await meter.admit(ask("a", tenant, need("tokens", 1000, 100)), NOW)
    assert await meter.settle(tenant, "a", 0, None)
    await meter.admit(ask("b", tenant, need("tokens", 1000, 100)), NOW)
    assert await meter.settle(tenant, "b", 50, None)
    assert await admitted(meter, tenant, 1, need("tokens", 1000, 51)) == 0
    assert await admitted(meter, tenant, 1, need("tokens", 1000, 50)) == 1


async def test_more_tokens_than_were_held_are_owed(meter: CounterStore, tenant: str) -> None:
    await meter.admit(ask("a", tenant, need("tokens", 600, 100)), NOW)
    assert await meter.settle(tenant, "a", 1200, None)
    over = await meter.admit(ask("b", tenant, need("tokens", 600, 600)), NOW)
    assert isinstance(over, Refusal)
    assert over.retry_after == pytest.approx(120, abs=0.01)


async def test_tokens_without_usage_stay_as_they_were_held(
    meter: CounterStore, tenant: str
) -> None:
    await meter.admit(ask("a", tenant, need("tokens", 600, 400)), NOW)
    assert await meter.settle(tenant, "a", None, None)
    over = await meter.admit(ask("b", tenant, need("tokens", 600, 600)), NOW)
    assert isinstance(over, Refusal)
    assert over.retry_after == pytest.approx(40, abs=0.01)


async def test_what_others_used_meanwhile_is_not_given_back(
    meter: CounterStore, tenant: str
) -> None:
    """One call reserves all tokens and uses none while another uses half, so half is left."""
    await meter.admit(ask("a", tenant, need("tokens", 600, 300)), NOW)
    later = NOW + 40
    await meter.admit(ask("b", tenant, need("tokens", 600, 300)), later)
    assert await meter.settle(tenant, "b", 300, None)
    assert await meter.settle(tenant, "a", 0, None)
    assert await admitted(meter, tenant, 1, need("tokens", 600, 301), now=later) == 0


async def test_a_limit_of_tokens_is_of_what_is_used_whatever_is_held(
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
        one = ask(f"{number}", tenant, need("tokens", 1000, 166))
        passed = isinstance(await meter.admit(one, now), Admitted)
        refused += not passed
        running += [one.id] if passed else []
    assert refused == 0


async def test_a_place_is_given_back_once(meter: CounterStore, tenant: str) -> None:
    asked = need("concurrency", limit=1)
    assert await meter.admit(ask("a", tenant, asked), NOW) == Admitted()
    over = await meter.admit(ask("b", tenant, asked), NOW)
    assert over in (Refusal(asked, None), Refusal(asked, 1.0))
    assert await meter.settle(tenant, "a", None, None)
    assert not await meter.settle(tenant, "a", None, None)
    assert await admitted(meter, tenant, 9, asked) == 1


async def test_money_becomes_what_was_spent(meter: CounterStore, tenant: str) -> None:
    asked = need("usd", limit=100, amount=60)
    await meter.admit(ask("a", tenant, asked), NOW)
    assert await meter.admit(ask("b", tenant, asked), NOW) == Refusal(
        asked, BUSY_RETRY_SECONDS, busy=True
    )
    assert await meter.settle(tenant, "a", None, 40)
    assert await meter.admit(ask("b", tenant, asked), NOW) == Admitted()
    assert await meter.read_counters(tenant) == {asked.field: 100}


async def test_money_of_unknown_cost_stays_held_and_more_than_held_is_charged(
    meter: CounterStore, tenant: str
) -> None:
    asked = need("usd", limit=100, amount=10)
    await meter.admit(ask("a", tenant, asked), NOW)
    await meter.admit(ask("b", tenant, asked), NOW)
    assert await meter.settle(tenant, "a", None, None)
    assert await meter.settle(tenant, "b", None, 95)
    assert await meter.read_counters(tenant) == {asked.field: 105}


async def test_nothing_is_ever_credited(meter: CounterStore, tenant: str) -> None:
    asked = need("usd", limit=100, amount=10)
    await meter.admit(ask("a", tenant, asked, need("tokens", 100, 10)), NOW)
    assert await meter.settle(tenant, "a", -(10**6), -(10**6))
    assert await meter.read_counters(tenant) == {asked.field: 0}


async def test_who_holds_nothing_is_not_settled(meter: CounterStore, tenant: str) -> None:
    assert not await meter.settle(tenant, "never", 1, 1)
    asked = need("usd", limit=0)
    await meter.admit(ask("refused", tenant, asked), NOW)
    assert not await meter.settle(tenant, "refused", 1, 1)


async def test_a_thousand_times_over_nothing_stays_held(meter: CounterStore, tenant: str) -> None:
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
        one = ask(f"{number}", tenant, *needs)
        assert await meter.admit(one, NOW) == Admitted()
        running.append(one.id)
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


async def test_a_hold_that_expires_is_charged_and_its_place_is_free(
    meter: CounterStore, tenant: str
) -> None:
    place, money = need("concurrency", limit=1), need("usd", limit=100, amount=60)
    await meter.admit(ask("dead", tenant, place, money, expires=NOW + 10), NOW)
    assert await meter.admit(ask("b", tenant, place), NOW + 9.9) != Admitted()
    assert await meter.admit(ask("b", tenant, place), NOW + 10) == Admitted()
    assert await meter.admit(ask("c", tenant, money), NOW + 10) == Refusal(money, None)
    assert await meter.read_counters(tenant) == {money.field: 60}


async def test_a_late_settlement_corrects_once(meter: CounterStore, tenant: str) -> None:
    """A second settlement frees no concurrency slot again."""
    place, money = need("concurrency", limit=2), need("usd", limit=100, amount=60)
    await meter.admit(ask("late", tenant, place, money, expires=NOW + 10), NOW)
    assert await meter.admit(ask("b", tenant, place), NOW + 20) == Admitted()
    assert await meter.settle(tenant, "late", 5, 7)
    assert not await meter.settle(tenant, "late", 5, 7)
    assert await meter.read_counters(tenant) == {money.field: 7}
    assert await admitted(meter, tenant, 9, place, now=NOW + 20) == 1


async def test_a_further_attempt_is_added_to_what_is_held(meter: CounterStore, tenant: str) -> None:
    money = need("usd", limit=100, amount=40)
    await meter.admit(ask("a", tenant, money, need("concurrency", 1)), NOW)
    assert await meter.extend(ask("a", tenant, money), NOW) == Admitted()
    assert await meter.extend(ask("a", tenant, money), NOW) == Refusal(money, None)
    assert await meter.read_counters(tenant) == {money.field: 80}
    assert await meter.settle(tenant, "a", None, 50)
    assert await meter.read_counters(tenant) == {money.field: 50}
    assert await admitted(meter, tenant, 5, need("concurrency", 1)) == 1


async def test_tokens_of_a_further_attempt_are_held_too(meter: CounterStore, tenant: str) -> None:
    """Two attempts reserve 400 of 1000 each; in the end the call used 500."""
    tokens = need("tokens", limit=1000, amount=400)
    await meter.admit(ask("a", tenant, tokens), NOW)
    assert await meter.extend(ask("a", tenant, tokens), NOW) == Admitted()
    assert isinstance(await meter.extend(ask("a", tenant, tokens), NOW), Refusal)
    assert await meter.settle(tenant, "a", 500, None)
    assert await admitted(meter, tenant, 1, need("tokens", 1000, 501)) == 0
    assert await admitted(meter, tenant, 1, need("tokens", 1000, 500)) == 1


async def test_a_call_that_goes_on_expires_later(meter: CounterStore, tenant: str) -> None:
    place = need("concurrency", limit=1)
    await meter.admit(ask("a", tenant, place, expires=NOW + 10), NOW)
    more = ask("a", tenant, need("usd", 10), expires=NOW + 30)
    assert await meter.extend(more, NOW + 5) == Admitted()
    assert await meter.admit(ask("b", tenant, place), NOW + 20) != Admitted()
    assert await meter.admit(ask("b", tenant, place), NOW + 30) == Admitted()


async def test_money_that_is_not_there_must_be_told_first(meter: CounterStore, tenant: str) -> None:
    """A seeded amount counts; a second seed changes nothing."""
    money = need("usd", limit=100, amount=40, needs_seed=True)
    asked = ask("a", tenant, need("requests"), money)
    assert await meter.admit(asked, NOW) == MissingCounter(money)
    await meter.seed(tenant, money.field, 61)
    await meter.seed(tenant, money.field, 0)
    assert await meter.admit(asked, NOW) == Refusal(money, None)
    assert await meter.read_counters(tenant) == {money.field: 61}
    assert await admitted(meter, tenant, 9, need("requests")) == 3


async def test_a_soft_limit_is_told_of_once(meter: CounterStore, tenant: str) -> None:
    """Exactly one call gets the warning, at exactly the soft limit. Returned money repeats none."""
    money = need("usd", limit=100, amount=10, soft=80)
    answers = [await meter.admit(ask(f"{n}", tenant, money), NOW) for n in range(10)]
    assert answers == [Admitted()] * 7 + [Admitted((money,))] + [Admitted()] * 2
    for number in range(10):
        await meter.settle(tenant, f"{number}", None, 7)
    again = [await meter.admit(ask(f"b{n}", tenant, money), NOW) for n in range(3)]
    assert again == [Admitted()] * 3


async def test_a_soft_limit_is_told_of_in_each_window(meter: CounterStore, tenant: str) -> None:
    for day in ("2026-11-24", "2026-11-25"):
        money = need("usd", limit=10, amount=9, soft=8, field=f"usd|x|all|{day}")
        assert await meter.admit(ask(day, tenant, money), NOW) == Admitted((money,))


async def test_a_tenth_of_calls_may_be_of_a_tier(meter: CounterStore, tenant: str) -> None:
    """Only the tenth call may use the tier; calls to other tiers count and always pass."""
    reasoning, other = need("share", limit=100), need("share", limit=100, amount=0)
    assert await meter.admit(ask("early", tenant, reasoning), NOW) == Refusal(reasoning, None)
    assert await admitted(meter, tenant, 9, other) == 9
    assert await admitted(meter, tenant, 5, reasoning) == 1
    assert await admitted(meter, tenant, 9, other, now=NOW + 1) == 9
    assert await admitted(meter, tenant, 5, reasoning, now=NOW + 1) == 1
    assert await meter.read_counters(tenant) == {reasoning.field: 2, reasoning.total_field: 20}


async def test_a_share_that_is_passed_refuses_no_call_of_other_tiers(
    meter: CounterStore, tenant: str
) -> None:
    """An operator may have lowered the share since."""
    await meter.seed(tenant, need("share").field, 50)
    assert await admitted(meter, tenant, 9, need("share", limit=100, amount=0)) == 9


async def test_the_soft_limit_of_a_share_is_a_share(meter: CounterStore, tenant: str) -> None:
    """The tier may have half of the calls and warns at 40%: here at its fourth call of ten."""
    reasoning, other = (
        need("share", limit=500, soft=400),
        need("share", limit=500, amount=0, soft=400),
    )
    await admitted(meter, tenant, 6, other)
    answers = [await meter.admit(ask(f"{n}", tenant, reasoning), NOW) for n in range(5)]
    assert answers == [Admitted()] * 3 + [Admitted((reasoning,)), Admitted()]


@pytest.mark.parametrize("amount", [BIG, 2**63, 10**30])
async def test_huge_amounts_fit_nowhere(meter: CounterStore, tenant: str, amount: int) -> None:
    for kind in ("tokens", "usd", "concurrency"):
        asked = need(kind, limit=10**12, amount=amount)
        assert isinstance(await meter.admit(ask("a", tenant, asked), NOW), Refusal)
        form = DemandTemplate((need(kind, limit=10**12),), (0,))
        told = await meter.admit_single(form, (amount,), "a", tenant, 600.0, NOW)
        assert isinstance(told, Refusal)
        assert (told.demand.kind, told.retry_after) == (kind, None)
    assert await meter.read_counters(tenant) == {}


async def test_huge_usage_leaves_no_room_and_no_error(meter: CounterStore, tenant: str) -> None:
    asked = (need("usd", 100, 1), need("tokens", 100, 1))
    await meter.admit(ask("a", tenant, *asked), NOW)
    assert await meter.settle(tenant, "a", 10**30, 10**30)
    for one in asked:
        assert isinstance(await meter.admit(ask("b", tenant, one), NOW + 60), Refusal)


async def test_a_clock_that_goes_back_gives_nothing_twice(meter: CounterStore, tenant: str) -> None:
    """Two machines, half a second apart, take turns and still get one request a second."""
    asked = need("requests", limit=60)
    assert await admitted(meter, tenant, 60, asked) == 60
    passed = 0
    for turn in range(100):
        now = NOW + turn / 10 - 0.5 * (turn % 2)
        passed += await admitted(meter, tenant, 1, asked, now=now)
    assert passed == 9


async def test_what_is_held_in_a_closed_meter_is_nobodys(meter: CounterStore, tenant: str) -> None:
    await meter.admit(ask("a", tenant, need("concurrency", 1)), NOW)
    await meter.close()
    await meter.close()
