"""Counters of end users: as exact as all others, read by nobody, and bounded in number."""

import asyncio

import msgspec
import pytest

from gateway.limits.counters import (
    Admitted,
    CounterDemand,
    CounterStore,
    Kind,
    MissingCounter,
    Refusal,
)
from gateway.limits.redis import RedisCounters
from gateway.limits.window import TOTAL, Window
from gateway.state.redis.scripts import make_key, make_tag
from tests.contract.limits.conftest import Make
from tests.contract.limits.test_counter_store import NOW, admitted, ask, need

DAY = Window("2026-11-18", NOW - 3_600, NOW + 3_600)
FIELD = "usd|x|user=ann/3f9a|2026-11-18"
OTHER = need("usd", limit=1, field="usd|y|all|2026-11-18", all_tenants=True)


def money(limit: int = 10, amount: int = 4, **more: object) -> CounterDemand:
    return need("usd", limit=limit, amount=amount, field=FIELD, **more)


async def left(meter: CounterStore, tenant: str, limit: int) -> int:
    """Return how much of the user's budget is left: the counter itself is in no list."""
    for amount in range(limit, 0, -1):
        probe = ask(f"probe-{amount}", tenant, money(limit, amount))
        if isinstance(await meter.admit(probe, NOW), Admitted):
            await meter.settle(tenant, probe.id, None, 0)
            return amount
    return 0


async def test_a_user_spends_only_what_the_budget_allows(meter: CounterStore, tenant: str) -> None:
    assert await admitted(meter, tenant, 50, money(limit=10, amount=4)) == 2
    another = msgspec.structs.replace(money(), field="usd|x|user=ann/others|2026-11-18")
    assert await admitted(meter, tenant, 50, another) == 2
    assert await meter.read_counters(tenant) == {}


async def test_a_users_counter_is_seeded_settled_and_extended(
    meter: CounterStore, tenant: str
) -> None:
    demand = money(needs_seed=True)
    assert await meter.admit(ask("a", tenant, demand), NOW) == MissingCounter(demand)
    seeded = msgspec.structs.replace(ask("a", tenant, demand), seeds=((tenant, FIELD, 3),))
    assert await meter.admit(seeded, NOW) == Admitted()
    await meter.seed(tenant, FIELD, 9)
    assert await left(meter, tenant, 10) == 3
    assert await meter.extend(ask("a", tenant, money(amount=2)), NOW) == Admitted()
    assert await left(meter, tenant, 10) == 1
    assert await meter.settle(tenant, "a", None, 5)
    assert await left(meter, tenant, 10) == 2
    answer = await meter.admit(ask("b", tenant, money(amount=3)), NOW)
    assert isinstance(answer, Refusal)
    assert not answer.busy


async def test_a_seed_alone_starts_a_users_counter(meter: CounterStore, tenant: str) -> None:
    await meter.seed(tenant, FIELD, 7)
    assert await left(meter, tenant, 10) == 3


async def test_a_refusal_by_all_tenants_gives_a_users_counter_back(
    meter: CounterStore, tenant: str
) -> None:
    full = msgspec.structs.replace(OTHER, limit=0)
    for number in range(3):
        answer = await meter.admit(ask(f"{tenant}-{number}", tenant, full, money()), NOW)
        assert answer == Refusal(full, None, left=0)
    assert await left(meter, tenant, 10) == 10


@pytest.mark.parametrize("kind", ["requests", "tokens", "concurrency", "share"])
async def test_each_kind_of_limit_counts_users(
    meter: CounterStore, tenant: str, kind: Kind
) -> None:
    limit, name = (500, "calls|x|user=ann/3f9a|2026-11-18") if kind == "share" else (3, "")
    demand = need(kind, limit, field=f"{kind}|x|user=ann/3f9a|2026-11-18", total_field=name)
    passed = await admitted(meter, tenant, 9, demand)
    assert passed == (0 if kind == "share" else 3)
    assert await meter.read_counters(tenant) == {}


async def test_a_users_soft_limit_is_reported_once(meter: CounterStore, tenant: str) -> None:
    demand = money(soft=4)
    assert await meter.admit(ask("a", tenant, demand), NOW) == Admitted((demand,))
    assert await meter.admit(ask("b", tenant, demand), NOW) == Admitted()


async def test_so_many_users_have_counters_of_their_own_for_each_key_and_window(
    meter: CounterStore, tenant: str
) -> None:
    async def claim(user: str, key: str = "ann", window: Window = DAY, most: int = 3) -> bool:
        return await meter.claim_user(tenant, key, user, window, most, NOW)

    answers = await asyncio.gather(*(claim(f"u{number}") for number in range(20)))
    assert sum(answers) == 3
    known = [f"u{number}" for number, has_counters in enumerate(answers) if has_counters]
    assert all([await claim(user) for user in known])
    assert not await claim("new")
    assert await claim("new", most=4)
    assert await claim("u19", key="bob")
    assert await claim("u19", window=TOTAL)
    assert await claim("u19", window=Window("2026-11-19", NOW, NOW + 86_400))


async def test_ended_windows_leave_no_counter_of_a_user(make: Make, tenant: str) -> None:
    meter = make()
    fields = [f"usd|x|user=ann/{number:04}|2026-11-18" for number in range(1_200)]
    for field in (*fields, "usd|x|user=ann/kept|2030-01-01", "usd|x|user=ann/kept|total"):
        await meter.seed(tenant, field, 1)
    await meter.sweep(tenant, NOW)
    assert await count_users(meter, tenant) == 1_202
    await meter.sweep(tenant, NOW + 10 * 86_400)
    assert await count_users(meter, tenant) == 2


async def test_the_users_of_a_window_are_forgotten_after_it(make: Make, tenant: str) -> None:
    meter = make()
    await meter.claim_user(tenant, "a|b", "u", DAY, 3, NOW)
    await meter.claim_user(tenant, "a|b", "u", TOTAL, 3, NOW)
    assert 86_400 < await remaining(meter, tenant, b"users:a%7Cb|2026-11-18") <= 86_400 + 3_600
    assert await remaining(meter, tenant, b"users:a%7Cb|total") == -1


async def count_users(meter: RedisCounters, tenant: str) -> int:
    reply = await meter._scripts.run_command(tenant, b"HLEN", b"users")
    assert isinstance(reply, int)
    return reply


async def remaining(meter: RedisCounters, tenant: str, name: bytes) -> int:
    redis_key = make_key(make_tag(tenant), name)
    reply = await meter._scripts.execute(redis_key, b"TTL", redis_key)
    assert isinstance(reply, int)
    return reply
