"""Opening connections to Redis: how long it may take, and which servers get the password."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.state.redis.store import _LARGE_BYTES, RedisStore
from tests.state.scripted import Answer, Scripted
from tests.state.store_fixture import StoreFixture, in_time, quiet

FORMS = [
    "redis://:hunter2@127.0.0.1:{}/1",
    "redis+sentinel://:hunter2@127.0.0.1:{}/main?sentinel_password=hunter2",
    "redis+cluster://:hunter2@127.0.0.1:{}",
]


class Slow:
    """A server that delays passwords until a test lets it, and answers all else at once."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.server = Scripted(self.answer)

    async def answer(self, words: list[bytes]) -> bytes:
        port = self.server.port
        if words[0] == b"AUTH":
            await self.let.wait()
        return {
            b"SENTINEL": b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(port)), port),
            b"CLUSTER": slots(port),
            b"ROLE": b"*1\r\n$6\r\nmaster\r\n",
            b"GETRANGE": b"$5\r\nvalue\r\n",
            b"EXISTS": b":1\r\n",
        }.get(words[0], b"+OK\r\n")


def slots(port: int) -> bytes:
    """Write a CLUSTER SLOTS reply in which one node has all keys."""
    return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % port


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    slow_server = Slow()
    await slow_server.server.up()
    yield slow_server
    await slow_server.server.down()


def opened(world: StoreFixture, url: str, connect: float) -> RedisStore:
    return RedisStore(url, note=world.note, clock=lambda: world.now, connect_timeout=connect)


@pytest.mark.parametrize("form", FORMS, ids=["single", "sentinel", "cluster"])
async def test_a_slow_connection_delays_no_call_beyond_its_deadline(
    slow: Slow, world: StoreFixture, form: str
) -> None:
    """A call waits for its own deadline at most; later calls use the connection."""
    store = opened(world, form.format(slow.server.port), 60.0)
    assert await in_time(store.get("slow"))
    assert not store.alive
    slow.let.set()
    assert await quiet(store)
    assert world.notes == []
    assert await store.get("slow") == b"value"
    await store.close()


@pytest.mark.parametrize("form", FORMS, ids=["single", "sentinel", "cluster"])
async def test_the_connection_for_long_values_opens_in_the_background(
    slow: Slow, world: StoreFixture, form: str
) -> None:
    """If it does not open in time for its first value, it is kept for the next."""
    slow.let.set()
    store = opened(world, form.format(slow.server.port), 60.0)
    assert await store.get("long") == b"value"
    slow.let.clear()
    assert await in_time(store.put("long", b"x" * _LARGE_BYTES, 60))
    assert store.alive
    dialled = slow.server.dialled
    assert await in_time(store.put("long", b"x" * _LARGE_BYTES, 60))
    assert slow.server.dialled == dialled, "no second one is opened"
    slow.let.set()
    assert slow.server.commands.count(b"SET") == 0
    for _ in range(100):  # each call gives the connection a turn to open
        await store.put("long", b"x" * _LARGE_BYTES, 60)
        if slow.server.commands.count(b"SET"):
            break
    assert slow.server.commands.count(b"SET") == 1
    await store.close()


async def test_a_connection_that_never_opens_is_reported_after_its_timeout(
    slow: Slow, world: StoreFixture
) -> None:
    store = opened(world, FORMS[0].format(slow.server.port), 0.2)
    assert await in_time(store.get("never"))
    assert not await quiet(store)
    assert world.notes == [f"redis is gone: no answer in time (127.0.0.1:{slow.server.port})"]
    await store.close()


async def test_a_single_server_cannot_redirect_the_password_elsewhere(world: StoreFixture) -> None:
    """A single server may not choose where the gateway connects; it is no node of a Cluster."""
    stranger = Scripted(reply_always(b"+OK\r\n"))
    await stranger.up()
    moved = Moving(stranger)
    await moved.up()
    for kind in ("MOVED", "ASK"):
        moved.commands.clear()
        store = opened(world, f"redis://:hunter2@127.0.0.1:{moved.port}", 20.0)
        assert await store.get(kind) is None
        store.put_nowait(kind, b"value", 60)
        await store.drain()
        assert not await quiet(store)
        assert b"AUTH" in moved.commands
        await store.close()
    why = "it is a node of a Cluster, which redis+cluster:// names"
    assert world.notes == [f"redis is gone: {why} (127.0.0.1:{moved.port})"] * 2
    assert (stranger.dialled, stranger.commands) == (0, [])
    await moved.down()
    await stranger.down()


async def test_nodes_of_a_cluster_redirect_background_commands_too(world: StoreFixture) -> None:
    """Commands whose answer no caller waits for are redirected too."""
    node = Scripted(reply_always(b"+OK\r\n"))
    await node.up()
    moved = Moving(node)
    await moved.up()
    store = opened(world, f"redis+cluster://:hunter2@127.0.0.1:{moved.port}", 20.0)
    store.put_nowait("one", b"value", 60)
    await store.drain()
    await store.put("ASK", b"value", 60)
    assert node.commands == [b"AUTH", b"SET", b"ASKING", b"SET"]
    assert (store.alive, world.notes) == (True, [])
    await store.close()
    await moved.down()
    await node.down()


def reply_always(reply: bytes) -> Answer:
    """Answer every command with one reply."""

    async def answer(_: list[bytes]) -> bytes:
        return reply

    return answer


class Moving(Scripted):
    """Accepts every password and redirects every call, with ASK if the key says so."""

    def __init__(self, to: Scripted) -> None:
        super().__init__(self.move)
        self._to = to

    async def move(self, words: list[bytes]) -> bytes:
        if words[0] == b"AUTH":
            return b"+OK\r\n"
        if words[0] == b"CLUSTER":
            return slots(self.port)
        kind = b"ASK" if words[1].endswith(b"ASK") else b"MOVED"
        return b"-%b 1 127.0.0.1:%d\r\n" % (kind, self._to.port)
