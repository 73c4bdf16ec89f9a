"""A Redis cache uses the servers of the counters: one server, Sentinel's primary or a Cluster."""

import asyncio
import time
from pathlib import Path

from gateway.state.redis.store import RedisStore
from tests.state.redis_groups import Sentinels


async def test_the_cache_returns_stored_values_on_each_kind_of_server(
    shared_url: str, tenant: str
) -> None:
    notes: list[str] = []
    store = RedisStore(shared_url, note=notes.append, clock=time.monotonic)
    keys = [f"{tenant}{number}" for number in range(50)]
    async with asyncio.timeout(60):  # the first put may be late and store nothing
        while await store.get(keys[0]) is None:
            await store.put(keys[0], keys[0].encode(), 60)
    for key in keys:
        await store.put(key, key.encode(), 60)
    assert [await store.get(key) for key in keys] == [key.encode() for key in keys]
    await store.close()


async def test_the_cache_follows_a_failover(several_program: str, tmp_path: Path) -> None:
    """A failover loses only requests in flight; the operator reconfigures nothing."""
    notes: list[str] = []
    with Sentinels(several_program, tmp_path) as sentinels:
        store = RedisStore(sentinels.url, note=notes.append, clock=time.monotonic, deadline=1.0)
        await store.put("key", b"value", 60)
        with sentinels.primary.admin() as admin:
            assert admin.wait(1, 10_000) == 1
        sentinels.primary.kill()
        assert await store.get("key") is None
        async with asyncio.timeout(60):
            while await store.get("key") is None:  # noqa: ASYNC110 - the server sends no event
                await asyncio.sleep(0.02)
        await store.put("key", b"again", 60)
        assert await store.get("key") == b"again"
        await store.close()
    assert [note.partition(" (")[0] for note in notes] == [
        "redis is gone: no connection", "redis is back",
    ]  # fmt: skip
