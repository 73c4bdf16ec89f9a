"""A Redis store whose server half works: slow, misnamed, denied, or lying."""

import asyncio
import socket
from typing import Any

import pytest
import redis.asyncio as client

from gateway.state.redis.health import _CALM_SECONDS, _MAX_FAILURES
from gateway.state.redis.store import _MAX_BYTES, RedisStore
from tests.state.line import RedisLine
from tests.state.store_fixture import StoreFixture, quiet
from tests.state.test_memory import at_once


async def fail(store: RedisStore, line: RedisLine) -> None:
    """Make one call during a moment of silence that is over before the probe."""
    line.mode = "silent"
    assert await store.get("slow") is None
    line.mode = "through"
    await store.drain()


async def test_a_redis_that_fails_repeatedly_is_left_alone_longer_each_time(
    line: RedisLine, world: StoreFixture
) -> None:
    """The probes succeed, but each return to the server would cost the next call a deadline."""
    store = world.store(line.url)
    for _ in range(_MAX_FAILURES):
        await fail(store, line)
        assert store.alive
    assert world.notes == []
    place = line.url[8:-2]
    for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 32.0):
        world.notes.clear()
        await fail(store, line)
        assert world.notes == [f"redis is gone: it fails again and again ({place})"]
        world.now += pause - 0.01
        assert at_once(store.get("slow")) is None
        assert not await quiet(store)
        world.now += 0.01
        assert at_once(store.get("slow")) is None
        assert await quiet(store)
        assert world.notes[1:] == [f"redis is back ({place})"]
    world.now += _CALM_SECONDS
    await fail(store, line)
    assert store.alive
    await store.close()


async def test_the_probe_repeats_the_failed_command(
    line: RedisLine, world: StoreFixture, admin: client.Redis
) -> None:
    """A proxy answers pings itself and routes by key, so the probe repeats the failed command."""
    store = world.store(line.url)
    await store.put("probe", b"value", 60)
    async with admin.monitor() as monitor:
        await fail(store, line)
        async with asyncio.timeout(10):
            async for command in monitor.listen():
                if command["command"].startswith("EXISTS"):
                    break
    assert command["command"] == "EXISTS tiergate:slow"
    await store.close()


async def test_protected_mode_counts_as_an_outage(line: RedisLine, world: StoreFixture) -> None:
    """Otherwise the gateway would connect for each call, and the server would refuse each."""
    store = world.store(line.url)
    line.mode, line.nonsense = "nonsense", b"-DENIED Redis is running in protected mode\r\n"
    assert await store.get("denied") is None
    assert not await quiet(store)
    assert world.notes == [f"redis is gone: it is in protected mode ({line.url[8:-2]})"]
    await store.close()


@pytest.mark.parametrize(("length", "fits"), [(_MAX_BYTES, True), (_MAX_BYTES + 1, False)])
async def test_the_store_neither_puts_nor_gets_a_value_over_the_limit(
    redis_url: str, admin: client.Redis, world: StoreFixture, length: int, fits: bool
) -> None:
    """A foreign value of 50 MB would use up the deadline of each call."""
    store = world.patient(redis_url)
    value = bytes(length)
    await store.put("most", value, 60)
    assert (await store.get("most") == value) is fits
    await admin.set("tiergate:most", value)
    assert (await store.get("most") == value) is fits
    await admin.delete("tiergate:most")
    await store.close()


class NameServer:
    """A name server that answers when a test says so."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.lookups = 0
        self.answers = asyncio.Event()
        self.unknown = False
        self._really = asyncio.get_running_loop().getaddrinfo
        patch.setattr(asyncio.get_running_loop(), "getaddrinfo", self._look_up)

    async def _look_up(self, host: str, port: Any, **more: Any) -> Any:
        assert host == "redis.example"
        self.lookups += 1
        await self.answers.wait()
        if self.unknown:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return await self._really("127.0.0.1", port, **more)


async def test_a_silent_name_server_gets_one_lookup(
    line: RedisLine, world: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each lookup takes one of the few threads that also look up providers' names."""
    names = NameServer(monkeypatch)
    store = world.store(line.url.replace("127.0.0.1", "redis.example"))
    assert await asyncio.gather(*(store.get("name") for _ in range(50))) == [None] * 50
    for _ in range(3):
        assert not await quiet(store)
        world.now += 1.0
        assert at_once(store.get("name")) is None
    assert not await quiet(store)
    assert names.lookups == 1
    assert len(world.notes) == 1
    assert "no answer in time" in world.notes[0]

    names.answers.set()
    world.now += 1.0
    assert at_once(store.get("name")) is None
    assert await quiet(store)
    await store.put("name", b"value", 60)
    assert await store.get("name") == b"value"
    await store.close()


async def test_closing_does_not_wait_for_a_lookup(
    line: RedisLine, world: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = NameServer(monkeypatch)
    store = world.store(line.url.replace("127.0.0.1", "redis.example"))
    assert await store.get("name") is None
    await store.close()
    assert names.lookups == 1


async def test_an_unknown_host_name_is_reported(
    line: RedisLine, world: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = NameServer(monkeypatch)
    names.unknown = True
    names.answers.set()
    store = world.store(line.url.replace("127.0.0.1", "redis.example"))
    assert await store.get("name") is None
    assert not await quiet(store)
    assert world.notes == [
        f"redis is gone: its name is not known (redis.example:{line.url[18:-2]})"
    ]
    await store.close()
