"""Turns that several processes count together in Redis."""

import pytest
import redis.asyncio as client

from gateway.limits.errors import CountersUnavailable
from gateway.limits.tier_share import RedisTurnPool
from gateway.routing.tier_share import REASONED, SIZE, TURNS, WIDTH
from tests.state.line import Line
from tests.state.world import World


async def test_redis_counts_for_all(redis_url: str, world: World, admin: client.Redis) -> None:
    """One hash a name, which ends by itself; after `TURNS` those before are let go."""
    store = world.patient(redis_url)
    pool = RedisTurnPool(store)
    hard, easy = [0] * WIDTH, [0] * WIDTH
    hard[3], hard[REASONED], easy[SIZE - 1] = 7, TURNS, TURNS
    assert (await pool.add("acme", "key:ann", [0] * WIDTH)).counts == [0] * WIDTH
    assert await admin.keys("tiergate:{acme}:*turns*") == []  # to ask leaves nothing
    assert (await pool.add("acme", "key:ann", hard)).now == hard
    assert (await pool.add("acme", "key:ann", hard)).now[3] == 14
    found = await pool.add("acme", "key:ann", easy)
    assert (found.before[3], found.before[SIZE - 1], found.now) == (14, TURNS, [0] * WIDTH)
    found = await pool.add("acme", "key:ann", hard)
    assert (found.before[3], found.now[3]) == (14, 7)
    assert (await pool.add("acme", "key:ann", easy)).before[3] == 7
    assert (await pool.add("acme", "key:bob", [0] * WIDTH)).counts == [0] * WIDTH
    await pool.add("acme", "key:eve", hard)
    names = await admin.keys("tiergate:{acme}:1:turns:*")
    assert len(names) == 2
    for name in names:
        assert 0 < await admin.ttl(name) <= 30 * 86_400
    await store.close()


async def test_losing_redis_is_a_loss(line: Line, world: World) -> None:
    store = world.store(line.url)
    await line.cut()
    with pytest.raises(CountersUnavailable):
        await RedisTurnPool(store).add("acme", "key:ann", [0] * WIDTH)
    await store.close()


async def test_a_key_of_somebody_else_is_a_loss(
    redis_url: str, world: World, admin: client.Redis
) -> None:
    store = world.patient(redis_url)
    pool = RedisTurnPool(store)
    one = [0] * WIDTH
    one[0] = 1
    await pool.add("beta", "key:ann", one)
    [name] = await admin.keys("tiergate:{beta}:1:turns:*")
    await admin.set(name, "something")
    with pytest.raises(CountersUnavailable):
        await pool.add("beta", "key:ann", one)
    await store.close()
