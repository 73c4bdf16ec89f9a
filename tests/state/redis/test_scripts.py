"""Counters in Redis: what a loss costs, how the store recovers, and what it reports."""

import asyncio
from pathlib import Path

import pytest
import redis.asyncio as client

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.scripts import Script, ScriptRunner, make_key, make_tag
from tests.state.line import Mode, RedisLine
from tests.state.redis.test_store import FAULTS
from tests.state.store_fixture import StoreFixture, in_time

SETTLE = Script("settle")
NOTHING = b"\x91\x93\xa1x\xff\xff"
"""A call that reserves nothing."""


def counters(world: StoreFixture, url: str, deadline: float = 0.1) -> ScriptRunner:
    return ScriptRunner(url, note=world.note, clock=lambda: world.now, deadline=deadline)


async def is_unavailable(runner: ScriptRunner) -> bool:
    try:
        await runner.run(SETTLE, "acme", NOTHING)
    except StoreUnavailable:
        return True
    return False


async def quiet(runner: ScriptRunner) -> bool:
    await runner.drain()
    return runner.alive


@pytest.mark.parametrize(("mode", "nonsense", "why"), FAULTS)
@pytest.mark.parametrize("warm", [False, True], ids=["from the start", "later"])
async def test_an_outage_of_redis_costs_one_deadline(
    line: RedisLine, world: StoreFixture, mode: Mode | None, nonsense: bytes, why: str, warm: bool
) -> None:
    """One call waits for its deadline, the next wait for nothing, and the store recovers."""
    slow = why in {"ValueError", "no answer in time"}
    runner = counters(world, line.url, 0.1 if slow else 10.0)
    if warm:
        assert not await is_unavailable(runner)
    if mode is None:
        await line.cut()
    else:
        line.mode, line.nonsense = mode, nonsense
    assert await in_time(is_unavailable(runner))
    assert not runner.alive
    assert not await quiet(runner)
    if slow:
        why = world.notes[0].partition(": ")[2].partition(" (")[0]
        assert why in {"no answer in time", "the server does not speak the Redis protocol"}
    assert world.notes == [f"redis is gone: {why} ({line.url[8:-2]})"]
    dialled = line.dialled
    assert await is_unavailable(runner)
    assert line.dialled == dialled
    if mode is None:
        await line.up()
    line.mode = "through"
    assert await is_unavailable(runner)
    world.now += 1.0
    assert await is_unavailable(runner)
    assert await world.next_note() == f"redis is back ({line.url[8:-2]})"
    assert await quiet(runner)
    assert not await is_unavailable(runner)
    await runner.close()


async def test_a_moment_of_silence_is_no_outage(line: RedisLine, world: StoreFixture) -> None:
    runner = counters(world, line.url)
    assert not await is_unavailable(runner)
    line.mode = "silent"
    assert await is_unavailable(runner)
    line.mode = "through"
    assert await quiet(runner)
    assert not await is_unavailable(runner)
    assert world.notes == []
    await runner.close()


async def test_many_calls_share_one_connection_and_report_one_outage(
    line: RedisLine, world: StoreFixture
) -> None:
    patient = counters(world, line.url, 10.0)
    assert set(await asyncio.gather(*(is_unavailable(patient) for _ in range(200)))) == {False}
    assert line.dialled == 1
    await patient.close()
    runner = counters(world, line.url)
    assert not await is_unavailable(runner)
    line.mode = "silent"
    assert set(await asyncio.gather(*(is_unavailable(runner) for _ in range(200)))) == {True}
    assert not await quiet(runner)
    assert world.notes == [f"redis is gone: no answer in time ({line.url[8:-2]})"]
    await runner.close()
    async with asyncio.timeout(10):
        await line.idle.wait()


async def test_counters_work_over_a_unix_socket(
    redis_url: str, tmp_path: Path, world: StoreFixture
) -> None:
    line = RedisLine(redis_url, path=str(tmp_path / "socket"))
    await line.up()
    runner = counters(world, line.url)
    assert not await is_unavailable(runner)
    await line.cut()
    assert await is_unavailable(runner)
    assert not await quiet(runner)
    assert world.notes == [f"redis is gone: no connection ({tmp_path}/socket)"]
    await runner.close()


async def test_a_host_name_is_looked_up(line: RedisLine, world: StoreFixture) -> None:
    runner = counters(world, line.url.replace("127.0.0.1", "localhost"))
    assert not await is_unavailable(runner)
    await runner.close()


async def test_credentials_and_the_database_are_used(
    redis_url: str, admin: client.Redis, world: StoreFixture
) -> None:
    await admin.config_set("requirepass", "hunter2")
    try:
        right = counters(
            world, redis_url.replace("//", "//:hunter2@").removesuffix("0") + "3", 10.0
        )
        await right.run_command("acme", b"HSETNX", b"spent", b"f", b"1")
        await right.close()
        database = client.Redis.from_url(f"{redis_url[:-1]}3", password="hunter2")
        assert await database.exists(make_key(make_tag("acme"), b"spent"))
        await database.flushdb()
        await database.aclose()
        for url in (redis_url, redis_url.replace("//", "//someone:hunter3@")):
            world.notes.clear()
            wrong = counters(world, url, 10.0)
            assert await is_unavailable(wrong)
            assert not await quiet(wrong)
            assert len(world.notes) == 1
            assert "hunter" not in world.notes[0]
            assert not wrong.alive
            await wrong.close()
    finally:
        await admin.config_set("requirepass", "")


async def test_a_refusal_is_reported_once_a_minute_and_redis_stays_in_use(
    redis_url: str, admin: client.Redis, world: StoreFixture
) -> None:
    runner = counters(world, redis_url, 10.0)
    await admin.set(make_key(make_tag("acme"), b"holds"), "of another type")
    try:
        for _ in range(3):
            assert await is_unavailable(runner)
        assert runner.alive
        assert len(world.notes) == 1
        assert world.notes[0].startswith("redis refuses: ")
    finally:
        await admin.delete(make_key(make_tag("acme"), b"holds"))
    assert not await is_unavailable(runner)
    await runner.close()


async def test_a_primary_that_became_a_replica_counts_as_an_outage(
    redis_url: str, admin: client.Redis, world: StoreFixture
) -> None:
    runner = counters(world, redis_url, 10.0)
    await admin.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreUnavailable):
            await runner.run_command("acme", b"HSETNX", b"spent", b"f", b"1")
    finally:
        await admin.replicaof("NO", "ONE")
    assert await quiet(runner)
    assert not await is_unavailable(runner)
    await runner.close()


async def test_a_closed_runner_is_unavailable(redis_url: str, world: StoreFixture) -> None:
    runner = counters(world, redis_url)
    assert not await is_unavailable(runner)
    await runner.close()
    assert await is_unavailable(runner)
    await runner.close()


@pytest.mark.parametrize(
    ("tenant", "tag"), [("acme", b"acme"), ("{a}", b"%7Ba%7D"), ("", b"%"), ("a:b", b"a%3Ab")]
)
def test_all_keys_of_a_tenant_have_one_hash_tag(tenant: str, tag: bytes) -> None:
    assert make_tag(tenant) == tag
    assert make_key(tag, b"spent") == b"tiergate:{%b}:1:spent" % tag
