"""Turns that several processes count together in Redis."""

import pytest
import redis.asyncio as client

from gateway.limits.tier_share import RedisTurnPool
from gateway.routing.tier_share import CELL_COUNT, COUNTER_COUNT, MIN_TURNS, REASONING_INDEX
from gateway.state.errors import StoreUnavailable
from tests.state.line import RedisLine
from tests.state.store_fixture import StoreFixture


async def test_processes_count_turns_together_in_redis(
    redis_url: str, world: StoreFixture, admin: client.Redis
) -> None:
    """Each name has one hash, which expires; after `TURNS` turns the earlier ones are dropped."""
    store = world.patient(redis_url)
    pool = RedisTurnPool(store)
    hard, easy = [0] * COUNTER_COUNT, [0] * COUNTER_COUNT
    hard[3], hard[REASONING_INDEX], easy[CELL_COUNT - 1] = 7, MIN_TURNS, MIN_TURNS
    assert (await pool.add("acme", "key:ann", [0] * COUNTER_COUNT)).counts == [0] * COUNTER_COUNT
    assert await admin.keys("tiergate:{acme}:*turns*") == []  # a read leaves nothing behind
    assert (await pool.add("acme", "key:ann", hard)).current == hard
    assert (await pool.add("acme", "key:ann", hard)).current[3] == 14
    turns = await pool.add("acme", "key:ann", easy)
    assert (turns.previous[3], turns.previous[CELL_COUNT - 1], turns.current) == (
        14,
        MIN_TURNS,
        [0] * COUNTER_COUNT,
    )
    turns = await pool.add("acme", "key:ann", hard)
    assert (turns.previous[3], turns.current[3]) == (14, 7)
    assert (await pool.add("acme", "key:ann", easy)).previous[3] == 7
    assert (await pool.add("acme", "key:bob", [0] * COUNTER_COUNT)).counts == [0] * COUNTER_COUNT
    await pool.add("acme", "key:eve", hard)
    names = await admin.keys("tiergate:{acme}:1:turns:*")
    assert len(names) == 2
    for name in names:
        assert 0 < await admin.ttl(name) <= 30 * 86_400
    await store.close()


async def test_the_pool_is_unavailable_without_redis(line: RedisLine, world: StoreFixture) -> None:
    store = world.store(line.url)
    await line.cut()
    with pytest.raises(StoreUnavailable):
        await RedisTurnPool(store).add("acme", "key:ann", [0] * COUNTER_COUNT)
    await store.close()


async def test_a_foreign_value_makes_the_pool_unavailable(
    redis_url: str, world: StoreFixture, admin: client.Redis
) -> None:
    store = world.patient(redis_url)
    pool = RedisTurnPool(store)
    counts = [0] * COUNTER_COUNT
    counts[0] = 1
    await pool.add("beta", "key:ann", counts)
    [name] = await admin.keys("tiergate:{beta}:1:turns:*")
    await admin.set(name, "something")
    with pytest.raises(StoreUnavailable):
        await pool.add("beta", "key:ann", counts)
    await store.close()
