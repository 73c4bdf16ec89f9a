"""Memory and Redis answer the same to the same story, to the microsecond."""

import random
import time
from collections.abc import AsyncIterator
from itertools import count

import msgspec
import pytest

from gateway.core.target import Tier
from gateway.limits.memory import Memory
from gateway.limits.meter import Ask, Form, Kind, Need, Over, Passed, Unseeded
from gateway.limits.shared import Shared

_RUN = count()
_KINDS: tuple[Kind, ...] = ("requests", "tokens", "concurrency", "usd", "share")


@pytest.fixture
async def shared(redis_url: str) -> AsyncIterator[Shared]:
    notes: list[str] = []
    made = Shared.at(
        redis_url, note=notes.append, clock=time.monotonic, deadline=10.0, time="caller"
    )
    yield made
    await made.close()
    assert notes == []


def need(chance: random.Random, kind: Kind, at: int) -> Need:
    then: Tier | None = chance.choice([None, "fast", "smart"])
    name = f"{kind}{at}"
    if kind in {"requests", "tokens"}:
        limit, period = chance.choice([(0, 60.0), (3, 1.0), (7, 60.0), (1000, 86_400.0)])
        amount = 1 if kind == "requests" else chance.choice([1, 2, 700])
        return Need(
            kind=kind, name=name, field=name, limit=limit, period=period, amount=amount, then=then
        )
    if kind == "concurrency":
        return Need(kind=kind, name=name, field=name, limit=chance.choice([0, 1, 3]))
    if kind == "usd":
        return Need(
            kind=kind, name=name, field=f"{name}|2030-03", seeded=chance.random() < 0.3,
            limit=chance.choice([0, 50, 10**7, 2**53]),
            amount=chance.choice([0, 1, 20, 999_999, 2**40]),
            soft=chance.choice([None, 30, 10**6]), then=then,
        )  # fmt: skip
    return Need(
        kind=kind, name=name, field=f"{name}|2030-03", whole="calls|2030-03",
        limit=chance.choice([0, 100, 500, 1000]), amount=chance.choice([0, 1]),
        soft=chance.choice([None, 80, 400]),
    )  # fmt: skip


def drawn(chance: random.Random) -> tuple[Need, ...]:
    kinds = chance.sample(_KINDS, chance.randint(0, 4))
    return tuple(need(chance, kind, chance.randint(0, 1)) for kind in kinds)


def formed(chance: random.Random, needs: tuple[Need, ...]) -> tuple[Form, tuple[int, ...]]:
    """The same needs of a form that has some amounts of its own, and the rest."""
    varies = tuple(sorted(chance.sample(range(len(needs)), chance.randint(0, len(needs)))))
    amounts = tuple([needs[at].amount for at in varies])
    form = Form(tuple([msgspec.structs.replace(one, amount=7) if at in varies else one for at, one in enumerate(needs)]), varies)  # fmt: skip
    assert form.of(amounts) == needs
    return form, amounts


@pytest.mark.parametrize("seed", range(30))
async def test_the_same_story_has_the_same_answers(shared: Shared, seed: int) -> None:
    chance = random.Random(seed)
    memory, tenant = Memory(), f"same:{next(_RUN)}:{{{seed}"
    asked: dict[str, Ask] = {}
    choices = set[int]()
    now, ids = 1_900_000_000.0, [f"call{at}" for at in range(30)]
    for _ in range(300):
        now += chance.choice([0.0, 0.000001, 0.001, 0.5, 7.0, 61.0, -0.5])
        id = chance.choice(ids)
        if chance.random() < 0.4:
            asked.pop(id, None)
            tokens = chance.choice([None, 0, 1, 900, -1])
            micro = chance.choice([None, 0, 10, 10**6, -5])
            settled = await memory.settle(tenant, id, tokens, micro)
            assert await shared.settle(tenant, id, tokens, micro) is settled
        else:
            needs = drawn(chance)
            tiers: list[Tier] = chance.choice([[], [], ["fast"], ["smart", "fast"]])
            seeds = (("usd0|2030-03", 3),) if chance.random() < 0.02 else ()
            life = chance.choice([0.5, 10.0, 600.0])
            others = tuple((tier, drawn(chance)) for tier in tiers)
            ask = Ask(
                id=id, tenant=tenant, needs=needs, expires=now + life, others=others, seeds=seeds
            )
            adds = chance.random() < 0.2
            if not adds:
                ask = asked.get(id, ask)  # whoever asks again asks for the same
            if adds or ask.others or ask.seeds or chance.random() < 0.3:
                told = await (memory.extend if adds else memory.admit)(ask, now)
                assert await (shared.extend if adds else shared.admit)(ask, now) == told
            else:
                form, amounts = formed(chance, ask.needs)
                call = (form, amounts, ask.id, tenant, ask.expires - now, now)
                told = await memory.take(*call)
                assert await shared.take(*call) == told
            if isinstance(told, Passed) and needs:
                asked.setdefault(id, ask)
            if isinstance(told, Unseeded):
                spent = chance.choice([0, 17])
                for meter in (memory, shared):
                    for one in (told.need, *told.more):
                        await meter.seed(tenant, one.field, spent)
            choices.add(told.choice if isinstance(told, Passed | Over) else -1)
        assert await shared.used(tenant) == await memory.used(tenant)
    assert {0, 1} <= choices
