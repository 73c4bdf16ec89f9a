"""Vector indexes: what every kind promises, and what each kind does by itself."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
import redis

from gateway.cache.semantic.cache import VectorIndex
from gateway.cache.semantic.vector_index import (
    MAX_GROUP_NAMES,
    LocalVectorIndex,
    RedisVectorIndex,
    compute_cosine,
)
from gateway.state.redis.replies import RedisError
from gateway.state.redis.store import RedisStore
from tests.conftest import redis_program
from tests.e2e.redis_port import Place

_RUN = count()
EAST, NORTH, BETWEEN = [1.0, 0.0], [0.0, 1.0], [0.8, 0.6]


@pytest.fixture(params=["memory", "redis"])
async def places(request: pytest.FixtureRequest) -> AsyncIterator[VectorIndex]:
    """Yield an index; Redis 8 uses vector sets, and without them each process has its own."""
    if request.param == "memory":
        yield LocalVectorIndex(clock=time.monotonic)
        return
    notes: list[str] = []
    url = request.getfixturevalue("redis_url")
    server = RedisStore(url, note=notes.append, clock=time.monotonic, deadline=10.0)
    yield RedisVectorIndex(server, LocalVectorIndex(clock=time.monotonic), notes.append)
    await server.close()
    assert len(notes) <= 1  # at most a message that vector sets are missing


@pytest.fixture
def group() -> str:
    return f"near:{next(_RUN)}"


async def test_an_index_is_empty_at_first(places: VectorIndex, group: str) -> None:
    assert not await places.has_entries(group)
    assert await places.find_nearest(group, EAST) == []


async def test_the_nearest_comes_first(places: VectorIndex, group: str) -> None:
    """The score is the cosine."""
    await places.add(group, "east", EAST, 60)
    await places.add(group, "north", NORTH, 60)
    assert await places.has_entries(group)
    names = await places.find_nearest(group, BETWEEN)
    assert [name for name, _ in names] == ["east", "north"]
    assert [near for _, near in names] == pytest.approx([0.8, 0.6], abs=0.01)
    assert not await places.has_entries(f"{group}-other")


async def test_adding_a_name_again_replaces_its_vector(places: VectorIndex, group: str) -> None:
    await places.add(group, "a", EAST, 60)
    await places.add(group, "a", NORTH, 60)
    ((name, near),) = await places.find_nearest(group, NORTH)
    assert name == "a"
    assert near == pytest.approx(1.0)


async def test_a_removed_name_is_not_found(places: VectorIndex, group: str) -> None:
    await places.remove(group, "a")
    await places.add(group, "a", EAST, 60)
    await places.add(group, "b", EAST, 60)
    await places.remove(group, "a")
    assert [name for name, _ in await places.find_nearest(group, EAST)] == ["b"]


async def test_a_group_keeps_a_maximum_number_of_names(places: VectorIndex, group: str) -> None:
    for at in range(MAX_GROUP_NAMES + 3):
        await places.add(group, str(at), EAST, 60)
    assert await places.has_entries(group)
    assert len(await places.find_nearest(group, EAST)) == 3


async def test_a_blocked_group_accepts_no_name(places: VectorIndex, group: str) -> None:
    await places.add(group, "a", EAST, 60)
    await places.block_group(group, 60)
    assert not await places.has_entries(group)
    await places.add(group, "b", EAST, 60)
    await places.remove(group, "b")
    assert not await places.has_entries(group)
    assert await places.find_nearest(group, EAST) == []


async def test_a_vector_of_another_length_matches_nothing(places: VectorIndex, group: str) -> None:
    await places.add(group, "a", EAST, 60)
    await places.add(group, "b", [1.0, 0.0, 0.0], 60)
    assert all(near <= 0 for _, near in await places.find_nearest(group, [1.0, 0.0, 0.0, 0.0]))


async def test_the_local_index_evicts_the_least_recently_used_group() -> None:
    places = LocalVectorIndex(clock=lambda: 0.0, max_bytes=2_500)
    for group in ("a", "b"):
        await places.add(group, "x", EAST, 60)
    assert await places.has_entries("a")
    await places.add("c", "x", EAST, 60)
    assert [await places.has_entries(group) for group in ("a", "b", "c")] == [True, False, True]


async def test_names_and_blocks_of_the_local_index_expire() -> None:
    """Names expire by their own time, and a closed group opens again."""
    now = [0.0]
    places = LocalVectorIndex(clock=lambda: now[0])
    await places.add("g", "old", EAST, 10)
    now[0] = 5.0
    await places.add("g", "new", EAST, 10)
    now[0] = 10.0
    assert [name for name, _ in await places.find_nearest("g", EAST)] == ["new"]
    await places.block_group("g", 10)
    now[0] = 20.0
    assert not await places.has_entries("g")
    await places.add("g", "a", EAST, 10)
    assert await places.has_entries("g")


def test_compute_cosine_returns_the_cosine_of_two_vectors() -> None:
    assert compute_cosine(EAST, EAST) == 1.0
    assert (
        compute_cosine(EAST, NORTH)
        == compute_cosine(EAST, [0.0, 0.0])
        == compute_cosine(EAST, [1.0])
        == 0.0
    )
    assert compute_cosine(EAST, [-2.0, 0.0]) == -1.0


def _url(place: Place) -> str:
    return f"redis://127.0.0.1:{place.port}/0"


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Place]:
    """A server without vector sets, such as Valkey, or with none for us, such as some hosts."""
    program = redis_program()
    if program is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    server = Place(program, tmp_path)
    server.start()
    with redis.Redis.from_url(_url(server)) as admin:
        for name in ("vcard", "vadd", "vsim", "vrem"):
            with suppress(redis.ResponseError):  # the server does not know the command
                admin.execute_command("ACL", "SETUSER", "default", f"-{name}")
    yield server
    server.kill()


@pytest.mark.parametrize("first_command", ["any", "nearest", "add", "remove"])
async def test_without_vector_sets_each_process_has_its_own_index(
    bare: Place, first_command: str
) -> None:
    """The first command may be any: the gateway logs it once, and nothing fails.

    A closed group is closed for all processes.
    """
    notes: list[str] = []
    server = RedisStore(_url(bare), note=notes.append, clock=time.monotonic, deadline=10.0)
    index, other_index = (
        RedisVectorIndex(server, LocalVectorIndex(clock=time.monotonic), notes.append)
        for _ in range(2)
    )
    if first_command == "any":
        assert not await index.has_entries("near:g")
    elif first_command == "nearest":
        assert await index.find_nearest("near:g", EAST) == []
    elif first_command == "remove":
        await index.remove("near:g", "a")
    await index.add("near:g", "a", EAST, 60)
    assert await index.has_entries("near:g")
    ((name, close),) = await index.find_nearest("near:g", EAST)
    assert name == "a"
    assert close == pytest.approx(1.0)
    assert not await other_index.has_entries("near:g")
    await index.remove("near:g", "a")
    assert not await index.has_entries("near:g")
    await index.block_group("near:g", 60)
    await index.add("near:g", "a", EAST, 60)
    assert not await index.has_entries("near:g")
    assert len(notes) == 2  # one for each index
    await server.close()


async def test_during_an_outage_of_redis_nothing_is_near(bare: Place) -> None:
    """No command fails."""
    url = _url(bare)
    bare.kill()
    server = RedisStore(url, note=lambda _: None, clock=time.monotonic, deadline=10.0)
    places = RedisVectorIndex(server, LocalVectorIndex(clock=time.monotonic), lambda _: None)
    await places.add("near:g", "a", EAST, 60)
    assert not await places.has_entries("near:g")
    assert await places.find_nearest("near:g", EAST) == []


class Strange:
    """A server that claims to be Redis and answers anything."""

    def __init__(self, reply: object) -> None:
        self._reply = reply

    async def execute_raw(self, name: bytes, *words: bytes) -> object:
        return self._reply


@pytest.mark.parametrize("reply", [None, 7, [b"a"], [b"a", b"x"], [1, 2], [b"a", None]])
async def test_an_invalid_reply_of_redis_finds_nothing(reply: object) -> None:
    places = RedisVectorIndex(
        Strange(reply),  # type: ignore[arg-type]
        LocalVectorIndex(clock=time.monotonic),
        lambda _: None,
    )
    assert await places.find_nearest("near:g", EAST) == []


async def test_a_server_without_the_commands_is_reported_once() -> None:
    notes: list[str] = []
    unknown = Strange(RedisError("ERR unknown command 'VCARD', with args beginning with: "))
    places = RedisVectorIndex(unknown, LocalVectorIndex(clock=time.monotonic), notes.append)  # type: ignore[arg-type]
    for _ in range(2):
        assert not await places.has_entries("near:g")
    assert len(notes) == 1
