"""Redis as a store: what an outage costs, how the store recovers, and what it reports."""

import asyncio
from pathlib import Path

import pytest
import redis.asyncio as client

from gateway.state.redis.store import _LARGE_BYTES
from tests.state.line import Mode, RedisLine
from tests.state.store_fixture import StoreFixture, in_time, quiet
from tests.state.test_memory import at_once


async def test_values_have_the_prefix_and_a_time_to_live(
    redis_url: str, admin: client.Redis, world: StoreFixture
) -> None:
    store = world.patient(redis_url)
    await store.put("prefix", b"value", 60)
    assert await admin.get("tiergate:prefix") == b"value"
    assert 0 < await admin.pttl("tiergate:prefix") <= 60_000
    await store.close()


async def test_two_processes_share_the_store(redis_url: str, world: StoreFixture) -> None:
    store, other_store = world.patient(redis_url), world.patient(redis_url)
    await store.put("shared", b"value", 60)
    assert await other_store.get("shared") == b"value"
    await store.close()
    await other_store.close()


async def test_the_store_works_over_a_unix_socket(
    redis_url: str, tmp_path: Path, world: StoreFixture
) -> None:
    line = RedisLine(redis_url, path=str(tmp_path / "socket"))
    await line.up()
    store = world.store(line.url)
    await store.put("unix", b"value", 60)
    assert await store.get("unix") == b"value"
    await line.cut()
    assert await store.get("unix") is None
    assert not await quiet(store)
    assert world.notes == [f"redis is gone: no connection ({tmp_path}/socket)"]
    await store.close()


FAULTS: list[tuple[Mode | None, bytes, str]] = [
    (None, b"", "no connection"),
    ("silent", b"", "no answer in time"),
    (
        "nonsense",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        "the server does not speak the Redis protocol",
    ),
    ("nonsense", b"\x00\xff\xfe\x00", "the server does not speak the Redis protocol"),
    ("nonsense", b"\x00\xff\xfe\x00\r\n", "the server does not speak the Redis protocol"),
    ("nonsense", b"$536870912\r\nabc", "no answer in time"),  # the rest may come
    ("nonsense", b"$many\r\n", "the server does not speak the Redis protocol"),
    ("nonsense", b"-LOADING Redis is loading\r\n", "it is still loading its data"),
]


@pytest.mark.parametrize(("mode", "nonsense", "why"), FAULTS)
@pytest.mark.parametrize("warm", [False, True], ids=["from the start", "later"])
async def test_an_outage_of_redis_costs_no_request(
    line: RedisLine, world: StoreFixture, mode: Mode | None, nonsense: bytes, why: str, warm: bool
) -> None:
    """One call waits for its deadline, the next wait for nothing, and the store recovers."""
    store = world.store(line.url)
    if warm:
        await store.put("lost", b"value", 60)
        assert await store.get("lost") == b"value"
    if mode is None:
        await line.cut()
    else:
        line.mode, line.nonsense = mode, nonsense

    assert await in_time(store.get("lost"))
    assert not store.alive
    assert not await quiet(store)
    assert world.notes == [f"redis is gone: {why} ({line.url[8:-2]})"]
    dialled = line.dialled
    assert at_once(store.get("lost")) is None
    at_once(store.put("lost", b"value", 60))
    assert line.dialled == dialled

    world.now += 1.0
    assert at_once(store.get("lost")) is None  # starts a ping that finds it still gone
    assert not await quiet(store)
    assert len(world.notes) == 1

    if mode is None:
        await line.up()
    line.mode = "through"
    assert at_once(store.get("lost")) is None  # a second has not passed since the last ping
    assert not store._health.tasks
    world.now += 1.0
    assert at_once(store.get("lost")) is None
    assert await world.next_note() == f"redis is back ({line.url[8:-2]})"
    assert await quiet(store)
    await store.put("lost", b"again", 60)
    assert await store.get("lost") == b"again"
    assert len(world.notes) == 2
    await store.close()


@pytest.mark.parametrize(("mode", "nonsense", "why"), FAULTS)
async def test_put_nowait_notices_an_outage(
    line: RedisLine, world: StoreFixture, mode: Mode | None, nonsense: bytes, why: str
) -> None:
    store = world.store(line.url)
    await store.put("posted", b"value", 60)
    if mode is None:
        await line.cut()
    else:
        line.mode, line.nonsense = mode, nonsense
    store.put_nowait("posted", b"second", 60)
    store.put_nowait("posted", b"third", 60)
    await store.drain()
    assert not await quiet(store)
    assert world.notes == [f"redis is gone: {why} ({line.url[8:-2]})"]
    dialled, world.now = line.dialled, world.now + 1.0
    store.put_nowait("posted", b"fourth", 60)  # probes the server, and is lost
    assert not await quiet(store)
    assert line.dialled == dialled + (mode is not None)
    if mode is None:
        await line.up()
    line.mode, world.now = "through", world.now + 1.0
    store.put_nowait("posted", b"fifth", 60)
    assert await world.next_note() == f"redis is back ({line.url[8:-2]})"
    store.put_nowait("posted", b"sixth", 60)
    await store.drain()
    assert await store.get("posted") == b"sixth"
    await store.close()


async def test_refused_background_puts_are_logged_once(
    line: RedisLine, world: StoreFixture
) -> None:
    store = world.store(line.url)
    await store.put("posted", b"value", 60)
    line.mode, line.nonsense = "nonsense", b"-OOM too much\r\n"
    store.put_nowait("posted", b"second", 60)
    await store.drain()
    store.put_nowait("posted", b"third", 60)
    await store.drain()
    assert store.alive
    assert world.notes == [f"redis refuses: OOM ({line.url[8:-2]})"]
    await store.close()


async def test_a_moment_of_silence_is_not_reported(line: RedisLine, world: StoreFixture) -> None:
    """A stall of the network or of this process costs the calls in flight, and is not reported."""
    store = world.store(line.url)
    await store.put("moment", b"value", 60)
    line.mode = "silent"
    assert await store.get("moment") is None
    line.mode = "through"
    assert not store.alive
    assert at_once(store.get("moment")) is None
    assert await quiet(store)
    assert await store.get("moment") == b"value"
    assert world.notes == []
    await store.close()


async def test_waiting_calls_end_at_once_when_redis_is_lost(
    line: RedisLine, world: StoreFixture
) -> None:
    store = world.store(line.url)
    line.mode = "silent"
    calls = [asyncio.create_task(store.get("wait")) for _ in range(100)]
    await calls[0]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    dialled = line.dialled
    assert await in_time(asyncio.gather(*calls))
    assert not await quiet(store)
    assert line.dialled <= dialled + 1 <= 33
    await store.close()


async def test_many_running_calls_report_one_outage(line: RedisLine, world: StoreFixture) -> None:
    store = world.store(line.url)
    await asyncio.gather(*(store.get("many") for _ in range(50)))
    line.mode = "silent"
    values = await asyncio.gather(*(store.get("many") for _ in range(100)))
    assert set(values) == {None}
    assert not await quiet(store)
    assert world.notes == [f"redis is gone: no answer in time ({line.url[8:-2]})"]
    await store.close()


async def test_all_calls_share_one_connection(line: RedisLine, world: StoreFixture) -> None:
    store = world.patient(line.url)
    keys = [f"few:{number}" for number in range(100)]
    await asyncio.gather(*(store.put(key, key.encode(), 60) for key in keys))
    values = await asyncio.gather(*(store.get(key) for key in keys))
    assert values == [key.encode() for key in keys]
    assert line.dialled == 1
    await store.close()


async def test_large_values_have_their_own_connection(line: RedisLine, world: StoreFixture) -> None:
    """No call waits behind a large value; its connection opens when one is first needed."""
    store = world.patient(line.url)
    small, large = b"x" * (_LARGE_BYTES - 1), b"y" * _LARGE_BYTES
    for value in (small, small, large, large, b"again"):
        await store.put("large", value, 60)
        assert await store.get("large") == value
        assert line.dialled == 1 + (value is large)
        if value is large:
            break
    values = await asyncio.gather(*(store.get("large") for _ in range(9)), store.get("none"))
    assert values == [large] * 9 + [None]
    assert line.dialled == 2
    await store.close()


async def test_after_an_outage_the_store_uses_only_new_connections(
    line: RedisLine, world: StoreFixture
) -> None:
    """If an address died silently, each old connection would cost a deadline of its own."""
    store = world.store(line.url)
    await asyncio.gather(*(store.get("old") for _ in range(20)))
    line.mode = "silent"
    await store.get("old")
    assert not await quiet(store)
    async with asyncio.timeout(10):
        await line.idle.wait()
    before = line.dialled
    line.mode = "through"
    world.now += 1.0
    at_once(store.get("old"))
    await world.next_note()
    assert await store.get("old") is None
    assert store.alive
    assert line.dialled == before + 1
    await store.close()


async def test_the_store_sends_one_ping_at_a_time(line: RedisLine, world: StoreFixture) -> None:
    store = world.store(line.url)
    line.mode = "silent"
    await store.get("ping")
    await quiet(store)
    before = line.dialled
    for _ in range(20):
        world.now += 5.0
        at_once(store.get("ping"))
    assert len(store._health.tasks) == 1
    await quiet(store)
    assert line.dialled == before + 1
    await store.close()


@pytest.mark.parametrize(("length", "alive"), [(1000, False), (1_000_000, True)])
async def test_a_slow_long_value_does_not_count_as_an_outage(
    line: RedisLine, world: StoreFixture, length: int, alive: bool
) -> None:
    store = world.store(line.url)
    line.mode = "silent"
    await store.put("long", bytes(length), 60)
    assert store.alive is alive
    await store.close()


async def test_closing_during_an_outage_leaves_no_task_or_connection(
    line: RedisLine, world: StoreFixture
) -> None:
    store = world.store(line.url)
    line.mode = "silent"
    await store.get("close")
    await quiet(store)
    world.now += 1.0
    at_once(store.get("close"))
    await store.close()
    assert not store._health.tasks
    assert not store.alive
    world.now += 1.0
    at_once(store.get("close"))
    assert not store._health.tasks
    async with asyncio.timeout(10):
        await line.idle.wait()


async def test_a_value_of_another_type_is_a_miss_and_can_be_replaced(
    redis_url: str, admin: client.Redis, world: StoreFixture
) -> None:
    store = world.patient(redis_url)
    await admin.lpush("tiergate:type", "x")
    assert await store.get("type") is None
    assert store.alive
    await store.put("type", b"value", 60)
    assert await store.get("type") == b"value"
    await store.close()


async def test_a_full_server_is_still_read_and_reported_once_a_minute(
    redis_url: str, admin: client.Redis, world: StoreFixture
) -> None:
    store = world.patient(redis_url)
    await store.put("full", b"before", 60)
    await admin.config_set("maxmemory", "1")
    try:
        for _ in range(3):
            await store.put("full", b"after", 60)
        assert await store.get("full") == b"before"
        assert store.alive
        message = f"redis refuses: OOM ({redis_url[8:-2]})"
        assert world.notes == [message]
        world.now += 60.0
        await store.put("full", b"after", 60)
        assert world.notes == [message, message]
    finally:
        await admin.config_set("maxmemory", "0")
    await store.put("full", b"after", 60)
    assert await store.get("full") == b"after"
    await store.close()


async def test_a_primary_that_became_a_replica_is_still_read_and_looked_up_again(
    line: RedisLine, admin: client.Redis, world: StoreFixture
) -> None:
    store = world.patient(line.url)
    await store.put("replica", b"before", 60)
    assert line.dialled == 1
    await admin.replicaof("127.0.0.1", "1")
    try:
        for later, dialled in ((0.0, 2), (0.5, 2), (0.5, 3)):  # once a second, no more often
            world.now += later
            await store.put("replica", b"after", 60)
            assert await store.get("replica") == b"before"
            assert line.dialled == dialled
    finally:
        await admin.replicaof("NO", "ONE")
    assert world.notes == [f"redis refuses: READONLY ({line.url[8:-2]})"]
    await store.close()


async def test_credentials_are_used_and_never_reported(
    redis_url: str, admin: client.Redis, world: StoreFixture
) -> None:
    await admin.config_set("requirepass", "hunter2")
    try:
        right = world.patient(redis_url.replace("//", "//:hunter2@"))
        await right.put("pass", b"value", 60)
        assert await right.get("pass") == b"value"
        for url in (redis_url, redis_url.replace("//", "//someone:hunter3@")):
            world.notes.clear()
            wrong = world.patient(url)
            assert await wrong.get("pass") is None
            assert not await quiet(wrong)
            place = redis_url[8:-2]
            assert world.notes == [f"redis is gone: it does not accept the credentials ({place})"]
            await wrong.close()
        await right.close()
    finally:
        await admin.config_set("requirepass", "")


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@host",
        "host:6379",
        "",
        "redis://user:hun/ter2@host",
        "redis://user:hunter2@host:many",
        "redis://user:hunter2@host?db=hunter2",
        "rediss://user:hunter2@host?ssl_ca_certs=/no/such/hunter2",
        "redis://user:hunter2@host?no_such_option=1",
    ],
)
def test_the_error_of_a_wrong_url_does_not_quote_it(world: StoreFixture, url: str) -> None:
    with pytest.raises(ValueError, match=r"^REDIS_URL ") as refused:
        world.store(url)
    assert "hun" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("url", ["rediss://host", "unix:///a"])
def test_the_store_accepts_tls_and_unix_urls(world: StoreFixture, url: str) -> None:
    assert world.store(url).alive


async def test_options_in_the_url_cannot_lift_the_deadline(
    line: RedisLine, world: StoreFixture
) -> None:
    """The URL may carry the options of other clients; they change nothing."""
    options = "socket_timeout=60&socket_connect_timeout=60&timeout=60&max_connections=9999"
    more = "&retry_on_timeout=yes&health_check_interval=1&decode_responses=yes&protocol=3"
    store = world.store(f"{line.url}?{options}{more}")
    await store.put("bounds", b"value", 60)
    assert await store.get("bounds") == b"value"
    line.mode = "silent"
    assert await in_time(store.get("bounds"))
    assert not store.alive
    await store.close()
