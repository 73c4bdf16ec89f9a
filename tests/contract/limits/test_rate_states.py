"""What rates have left, as each counter store says it with its answer to a call."""

import random
from typing import Any

import msgspec
import pytest

from gateway.limits.counters import (
    Admitted,
    Answer,
    CounterDemand,
    CounterStore,
    Refusal,
)
from gateway.limits.memory import MemoryCounters
from gateway.limits.redis import RedisCounters
from tests.contract.limits.test_counter_store import NOW, ask, need
from tests.contract.limits.test_memory_and_redis_agree import drawn, shared
from tests.contract.limits.test_shared_counters import fresh, of, wide

__all__ = ["fresh", "shared"]


def shown(demand: CounterDemand) -> CounterDemand:
    return msgspec.structs.replace(demand, is_shown=True)


def visible(*words: Any, **more: Any) -> CounterDemand:
    """Make a demand on a rate that the client may see."""
    return shown(need(*words, **more))


def left(answer: object) -> list[tuple[str, int, float | None]]:
    """Return what the rates of an answer have left."""
    assert isinstance(answer, Admitted | Refusal)
    return [
        (state.demand.kind, state.left, state.reset_seconds and round(state.reset_seconds, 3))
        for state in answer.rates
    ]


async def test_an_answer_says_what_each_visible_rate_has_left(
    meter: CounterStore, tenant: str
) -> None:
    """The call's own part is taken off, tokens as reserved; other counters are not told."""
    demands = (
        visible("requests", 60),
        visible("tokens", 6_000, 900),
        need("requests", 5, field="requests|hidden"),
        need("concurrency", 9),
        need("usd", 100),
    )
    first = await meter.admit(ask("a", tenant, *demands), NOW)
    assert left(first) == [("requests", 59, 1.0), ("tokens", 5_100, 9.0)]
    second = await meter.admit(ask("b", tenant, *demands), NOW + 0.5)
    assert left(second) == [("requests", 58, 1.5), ("tokens", 4_200, 18.0)]


async def test_what_is_left_falls_and_refills_by_what_calls_use(
    meter: CounterStore, tenant: str
) -> None:
    """A call that used less than it reserved gives the rest back."""
    demand = visible("tokens", 6_000, 900)
    await meter.admit(ask("a", tenant, demand), NOW)
    await meter.settle(tenant, "a", 100, None)
    assert left(await meter.admit(ask("b", tenant, demand), NOW)) == [("tokens", 5_000, 10.0)]
    late = await meter.admit(ask("c", tenant, demand), NOW + 1)
    assert left(late) == [("tokens", 4_200, 18.0)]


async def test_a_refusal_says_what_is_left_and_takes_nothing(
    meter: CounterStore, tenant: str
) -> None:
    """It tells of every visible rate, also behind the demand that refuses the call at once."""
    demands = (visible("requests", 60), need("concurrency", 0), visible("tokens", 6_000, 900))
    await meter.admit(ask("a", tenant, demands[0], demands[2]), NOW)
    for _ in range(2):
        refused = await meter.admit(ask("b", tenant, *demands), NOW + 0.25)
        assert isinstance(refused, Refusal)
        assert left(refused) == [("requests", 59, 0.75), ("tokens", 5_100, 9.0)]
    full = visible("requests", 60, 61)
    assert left(await meter.admit(ask("c", tenant, full), NOW + 60)) == [("requests", 60, 0.0)]


async def test_a_limit_of_zero_never_has_anything_left(meter: CounterStore, tenant: str) -> None:
    assert left(await meter.admit(ask("a", tenant, visible(limit=0)), NOW)) == [
        ("requests", 0, None)
    ]


async def test_an_answer_tells_of_the_tier_that_the_call_moved_to(
    meter: CounterStore, tenant: str
) -> None:
    dear = visible(limit=0, field="requests|dear", then="fast")
    cheap = visible(limit=9, field="requests|cheap")
    request = msgspec.structs.replace(
        ask("a", tenant, dear), fallbacks=(("fast", (cheap, need("usd", 1, soft=1))),)
    )
    answer = await meter.admit(request, NOW)
    assert isinstance(answer, Admitted)
    assert answer.choice == 1
    assert len(answer.warnings) == 1
    assert left(answer) == [("requests", 8, 6.667)]
    full = visible(limit=0, field="requests|full")
    request = msgspec.structs.replace(ask("b", tenant, dear), fallbacks=(("fast", (full,)),))
    refused = await meter.admit(request, NOW)
    assert isinstance(refused, Refusal)
    assert refused.choice == 1
    assert [state.demand for state in refused.rates] == [full]


async def test_a_larger_limit_or_another_period_counts_at_once(
    meter: CounterStore, tenant: str
) -> None:
    """A counter keeps what it has when the configuration changes; so does one that is not full."""
    await meter.admit(ask("a", tenant, visible(limit=10, amount=5)), NOW)
    larger = visible(limit=100, period=30.0)
    blocked = await meter.admit(ask("b", tenant, need("concurrency", 0), larger), NOW)
    assert left(blocked) == [("requests", 95, 1.5)]
    assert left(await meter.admit(ask("c", tenant, larger), NOW)) == [("requests", 94, 1.8)]


async def test_rates_of_both_owners_are_told(fresh: CounterStore, tenant: str) -> None:
    """If one owner refuses, the other has back what it granted, and says so."""
    demands = (shown(wide("requests", 60)), visible("tokens", 6_000, 900))
    answer = await fresh.admit(ask(of("a"), tenant, *demands), NOW)
    assert left(answer) == [("requests", 59, 1.0), ("tokens", 5_100, 9.0)]
    answer = await fresh.admit(ask(of("b"), tenant, *demands), NOW)
    assert left(answer) == [("requests", 58, 2.0), ("tokens", 4_200, 18.0)]
    for last in (need("concurrency", 0), wide("concurrency", 0)):
        ordered = sorted((*demands, last), key=lambda demand: not demand.all_tenants)
        refused = await fresh.admit(ask(of("c"), tenant, *ordered), NOW)
        assert isinstance(refused, Refusal)
        assert left(refused) == [("requests", 58, 2.0), ("tokens", 4_200, 18.0)]


def _rounded(answer: Answer) -> Answer:
    """Round times to a hundredth of a second: Redis has only doubles."""
    if not isinstance(answer, Admitted | Refusal):
        return answer
    rates = [
        msgspec.structs.replace(
            state, reset_seconds=state.reset_seconds and round(state.reset_seconds, 2)
        )
        for state in answer.rates
    ]
    rounded = msgspec.structs.replace(answer, rates=tuple(rates))
    if isinstance(rounded, Refusal) and rounded.retry_after is not None:
        return msgspec.structs.replace(rounded, retry_after=round(rounded.retry_after, 2))
    return rounded


@pytest.mark.parametrize("seed", range(12))
async def test_memory_and_redis_tell_the_same_of_random_calls(
    shared: RedisCounters, tenant: str, seed: int
) -> None:
    chance, memory, now = random.Random(seed), MemoryCounters(), 1_900_000_000.0
    told = 0
    for at in range(300):
        now += chance.choice([0.0, 0.000001, 0.001, 0.5, 7.0, 61.0])
        demands = tuple(
            [
                shown(demand) if demand.kind in ("requests", "tokens") else demand
                for demand in drawn(chance, 0.0)
            ]
        )
        request = ask(f"call{at}", tenant, *demands, expires=now + chance.choice([0.5, 10.0, 600]))
        answer = await memory.admit(request, now)
        shared_answer = await shared.admit(request, now)
        told += len(getattr(answer, "rates", ()))
        assert _rounded(shared_answer) == _rounded(answer)
        if chance.random() < 0.5:
            tokens = chance.choice([None, 0, 1, 900])
            await memory.settle(tenant, f"call{at}", tokens, None)
            await shared.settle(tenant, f"call{at}", tokens, None)
    assert told > 100
