"""The memory store and Redis give the same answers to the same calls, to the microsecond."""

import random
import time
from collections.abc import AsyncIterator
from itertools import count

import msgspec
import pytest
import redis

from gateway.core.target import Tier
from gateway.limits.counters import (
    ALL_SCOPES,
    AdmissionRequest,
    Admitted,
    CounterDemand,
    CounterStore,
    Kind,
    MissingCounter,
    Refusal,
    Scopes,
    collect_scopes,
)
from gateway.limits.memory import MemoryCounters
from gateway.limits.redis import RedisCounters
from gateway.state.redis.scripts import make_keys

_RUN = count()
_KINDS: tuple[Kind, ...] = ("requests", "tokens", "concurrency", "usd", "share")


@pytest.fixture
async def shared(redis_url: str) -> AsyncIterator[RedisCounters]:
    notes: list[str] = []
    with redis.Redis.from_url(redis_url) as admin:  # other tests use counters of all tenants too
        admin.delete(*make_keys(None))
    store = RedisCounters.from_url(
        redis_url,
        note=notes.append,
        clock=time.monotonic,
        deadline=10.0,
        quiet_seconds=0.0,
        time="caller",
    )
    yield store
    await store.close()
    assert notes == []


def need(chance: random.Random, kind: Kind, at: int) -> CounterDemand:
    then: Tier | None = chance.choice([None, "fast", "smart"])
    name = f"{kind}{at}"
    if kind in {"requests", "tokens"}:
        limit, period = chance.choice([(0, 60.0), (3, 1.0), (7, 60.0), (1000, 86_400.0)])
        amount = 1 if kind == "requests" else chance.choice([0, 1, 2, 700])
        return CounterDemand(
            kind=kind, name=name, field=name, limit=limit, period=period, amount=amount, then=then
        )
    if kind == "concurrency":
        return CounterDemand(kind=kind, name=name, field=name, limit=chance.choice([0, 1, 3]))
    if kind == "usd":
        return CounterDemand(
            kind=kind, name=name, needs_seed=at == 1,
            field=f"{name}|2030-03" if at else f"unseeded|{name}|user=k/u|2030-03",
            limit=chance.choice([0, 50, 10**7, 2**53]),
            amount=chance.choice([0, 1, 20, 999_999, 2**40]),
            soft=chance.choice([None, (30, 10**6)[at]]), then=then,
        )  # fmt: skip
    return CounterDemand(
        kind=kind, name=name, field=f"{name}|2030-03", total_field="calls|2030-03",
        limit=chance.choice([0, 100, 500, 1000]), amount=chance.choice([0, 1]),
        soft=chance.choice([None, (80, 400)[at]]),
    )  # fmt: skip


NOTHING = CounterDemand(kind="concurrency", name="n", field="nothing", limit=0)
"""A demand that every store refuses."""


def drawn(chance: random.Random, share: float) -> tuple[CounterDemand, ...]:
    """Draw demands on the tenant, on all tenants (`share` 1), or on both."""
    kinds = chance.sample(_KINDS, chance.randint(0, 4))
    needs = [need(chance, kind, chance.randint(0, 1)) for kind in kinds]
    share = chance.choice([0.0, share, share, 1.0]) if 0 < share < 1 else share
    mixed = [
        msgspec.structs.replace(demand, all_tenants=chance.random() < share) for demand in needs
    ]
    return tuple(sorted(mixed, key=lambda demand: not demand.all_tenants))


async def probe(meter: CounterStore, tenant: str, now: float) -> None:
    """Make both owners expire old reservations."""
    for nothing in (NOTHING, msgspec.structs.replace(NOTHING, all_tenants=True)):
        ask = AdmissionRequest(id="probe", tenant=tenant, demands=(nothing,), expires_at=now)
        assert await meter.admit(ask, now) == Refusal(nothing, None)


async def used(meter: CounterStore, tenant: str) -> list[dict[str, int]]:
    """Read the counters above zero: one that was given back may exist at zero."""
    counters = [await meter.read_counters(owner) for owner in (None, tenant)]
    return [
        {field: spent for field, spent in owner_counters.items() if spent}
        for owner_counters in counters
    ]


@pytest.mark.parametrize("seed", range(20, 40))
async def test_memory_and_redis_give_the_same_answers_to_random_calls(
    shared: RedisCounters, seed: int
) -> None:
    """The stores agree for one owner, for the other, and for both.

    In Redis a call expires reservations of its own owners alone. So where there are both, each step
    probes both. No step extends a call there, since one owner's refusal leaves the other's
    reservation with a later end.
    """
    chance, share = random.Random(seed), (0.0, 0.5, 0.5, 1.0)[seed % 4]
    both = share == 0.5
    memory, tenant = MemoryCounters(), f"same:{next(_RUN)}:{{{seed}"
    requests: dict[str, AdmissionRequest] = {}
    held_scopes: dict[str, Scopes] = {}
    choices = set[int]()
    now, ids = 1_900_000_000.0, [f"call{at}" for at in range(30)]
    for _ in range(300):
        now += chance.choice([0.0, 0.000001, 0.001, 0.5, 7.0, 61.0, -0.5])
        for meter in (memory, shared) if both else ():
            await probe(meter, tenant, now)
        id = chance.choice(ids)
        if chance.random() < 0.4:
            requests.pop(id, None)
            held_scopes.pop(id, None)
            tokens = chance.choice([None, 0, 1, 900, -1])
            micro = chance.choice([None, 0, 10, 10**6, -5])
            settled = await memory.settle(tenant, id, tokens, micro)
            assert await shared.settle(tenant, id, tokens, micro) is settled
        else:
            needs = drawn(chance, share)
            tiers: list[Tier] = chance.choice([[], [], ["fast"], ["smart", "fast"]])
            first = collect_scopes(needs)[:1]
            owner = None if True in first else tenant
            seeds = ((owner, "usd1|2030-03", 3),) if first and chance.random() < 0.03 else ()
            adds = not both and chance.random() < 0.2
            life = 600.0 if adds else chance.choice([0.5, 10.0, 600.0])  # extensions last longer
            others = tuple((tier, drawn(chance, share)) for tier in tiers)
            ask = AdmissionRequest(
                id=id, tenant=tenant, demands=needs, expires_at=now + life, fallbacks=others, seeds=seeds,
                held_scopes=held_scopes.get(id, ()),
            )  # fmt: skip
            if not adds:
                ask = requests.get(id, ask)  # a repeated call asks for the same
                if (
                    id in requests
                    and len(collect_scopes([item for way in ask.options for item in way])) > 1
                ):
                    continue  # a repeated call does not learn which option it had
            answer = await (memory.extend if adds else memory.admit)(ask, now)
            assert await (shared.extend if adds else shared.admit)(ask, now) == answer
            if isinstance(answer, Admitted) and (needs and ask.options[answer.choice]):
                requests.setdefault(id, ask)
                mine = collect_scopes(ask.options[answer.choice])
                held_scopes[id] = tuple(
                    [item for item in ALL_SCOPES if item in {*mine, *held_scopes.get(id, ())}]
                )
            if isinstance(answer, MissingCounter):
                spent = chance.choice([0, 17])
                for meter in (memory, shared):
                    for item in (answer.demand, *answer.other_demands):
                        await meter.seed(item.owner(tenant), item.field, spent)
            choices.add(answer.choice if isinstance(answer, Admitted | Refusal) else -1)
        assert await used(shared, tenant) == await used(memory, tenant)
    assert {0, 1} <= choices
