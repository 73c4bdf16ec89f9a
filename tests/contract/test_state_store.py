"""The contract of every StateStore, in memory and in a real Redis."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from itertools import count

import pytest

from gateway.state import StateStore
from gateway.state.memory import MemoryStore
from gateway.state.redis.store import RedisStore

_RUN = count()


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[StateStore]:
    notes: list[str] = []
    state_store: StateStore
    if request.param == "memory":
        state_store = MemoryStore(64_000_000, clock=time.monotonic)
    else:
        url = request.getfixturevalue("redis_url")
        state_store = RedisStore(url, note=notes.append, clock=time.monotonic, deadline=10.0)
    yield state_store
    await state_store.close()
    assert notes == []


@pytest.fixture
def name() -> str:
    """Return a key that no other test has used: the whole run shares one Redis."""
    return f"contract:{next(_RUN)}"


async def test_an_unknown_key_has_no_value(store: StateStore, name: str) -> None:
    assert await store.get(name) is None
    assert store.alive


@pytest.mark.parametrize(
    "value",
    [b"text", bytes(range(256)), b"$-1\r\n+OK\r\n", b"\xff" * 1_000_000],
    ids=["text", "every byte", "protocol", "long"],
)
async def test_the_store_returns_bytes_unchanged(
    store: StateStore, name: str, value: bytes
) -> None:
    await store.put(name, value, 60)
    assert await store.get(name) == value


async def test_an_empty_value_is_none(store: StateStore, name: str) -> None:
    await store.put(name, b"before", 60)
    await store.put(name, b"", 60)
    assert await store.get(name) is None
    assert store.alive


async def test_the_last_value_counts(store: StateStore, name: str) -> None:
    await store.put(name, b"first", 60)
    await store.put(name, b"second", 60)
    assert await store.get(name) == b"second"


async def test_a_value_expires(store: StateStore, name: str) -> None:
    await store.put(name, b"short", 0.001)
    deadline = time.monotonic() + 5
    while await store.get(name) is not None:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("ttl", [0, -1])
async def test_a_put_without_time_to_live_changes_nothing(
    store: StateStore, name: str, ttl: float
) -> None:
    await store.put(name, b"before", 60)
    await store.put(name, b"after", ttl)
    assert await store.get(name) == b"before"


@pytest.mark.parametrize("value", [b"value", b"x" * 100_000], ids=["short", "long"])
async def test_put_nowait_stores_a_value(store: StateStore, name: str, value: bytes) -> None:
    """The caller does not wait, even for the first request to a store."""
    await store.drain()
    store.put_nowait(name, value, 60)
    await store.drain()
    assert await store.get(name) == value
    store.put_nowait(name, b"other", 0)
    store.put_nowait(name, b"second", 60)
    store.put_nowait(f"{name}:more", b"third", 60)
    await asyncio.gather(store.drain(), store.drain())
    assert [await store.get(name), await store.get(f"{name}:more")] == [b"second", b"third"]


async def test_concurrent_reads_each_get_their_own_value(store: StateStore, name: str) -> None:
    keys = [f"{name}:{number}" for number in range(200)]
    await asyncio.gather(*(store.put(key, key.encode(), 60) for key in keys))
    values = await asyncio.gather(*(store.get(key) for key in keys))
    assert values == [key.encode() for key in keys]


async def test_a_cancelled_read_leaves_no_reply_to_the_next(store: StateStore, name: str) -> None:
    """SEC-CACHE 8: clients leave at any moment; another client must not get their answer."""
    chance = random.Random(5)
    keys = [f"{name}:{number}" for number in range(20)]
    for key in keys:
        await store.put(key, key.encode(), 60)
    cancelled = 0
    for _ in range(300):
        cancelled_read = asyncio.ensure_future(store.get(chance.choice(keys)))
        for _ in range(chance.randrange(8)):
            await asyncio.sleep(0)
        cancelled_read.cancel()
        cancelled += (await asyncio.gather(cancelled_read, return_exceptions=True))[0] is not None
        key = chance.choice(keys)
        assert await store.get(key) == key.encode()
    assert cancelled
    assert store.alive


async def test_a_closed_store_stores_and_returns_nothing(store: StateStore, name: str) -> None:
    await store.put(name, b"value", 60)
    await store.close()
    store.put_nowait(name, b"other", 60)
    await store.drain()
    assert await store.get(name) is None
    await store.put(name, b"value", 60)
    assert await store.get(name) is None
    await store.close()
