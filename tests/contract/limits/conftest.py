"""Real Redis servers to count in: one server, a primary with three sentinels, a Cluster of six."""

import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count

import pytest

from gateway.limits.counters import CounterStore
from gateway.limits.memory import MemoryCounters
from gateway.limits.redis import RedisCounters
from tests.conftest import redis_program
from tests.simulation.redis_server import RedisServer
from tests.state.redis_groups import Nodes, Sentinels

type Make = Callable[[], RedisCounters]

KINDS = ("redis", "sentinel", "cluster")
_RUN = count()


@pytest.fixture(scope="session")
def several_program() -> str:
    """Find the program of a server that speaks the Redis protocol."""
    program = redis_program()
    if program is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    return program


@pytest.fixture(scope="session")
def sentinels(
    several_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sentinels]:
    """Start three sentinels, a primary and its replica."""
    with Sentinels(several_program, tmp_path_factory.mktemp("sentinels")) as servers:
        yield servers


@pytest.fixture(scope="session")
def nodes(several_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Start a Cluster."""
    with Nodes(several_program, tmp_path_factory.mktemp("nodes")) as servers:
        yield servers


@pytest.fixture(params=KINDS)
def shared_url(request: pytest.FixtureRequest) -> str:
    """Return a REDIS_URL of each kind."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    name = "sentinels" if request.param == "sentinel" else "nodes"
    return str(request.getfixturevalue(name).url)


@pytest.fixture
async def make(shared_url: str) -> AsyncIterator[Make]:
    """Return a function that makes counter stores on one server, as processes would."""
    notes: list[str] = []
    stores: list[RedisCounters] = []

    def make() -> RedisCounters:
        stores.append(
            RedisCounters.from_url(
                shared_url,
                note=notes.append,
                clock=time.monotonic,
                deadline=10.0,
                quiet_seconds=0.0,
                time="caller",
            )
        )
        return stores[-1]

    yield make
    for store in stores:
        await store.close()
    assert notes == []


@pytest.fixture(params=["memory", *KINDS, "simulated"])
async def meter(request: pytest.FixtureRequest) -> AsyncIterator[CounterStore]:
    """Make a CounterStore of each kind."""
    if request.param == "memory":
        memory: CounterStore = MemoryCounters()
        yield memory
        await memory.close()
        return
    if request.param == "simulated":  # it must do as a real one does
        listener = await RedisServer(time.time, "contract").listen(0)
        url = f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"
    else:
        names = {"redis": "redis_url", "sentinel": "sentinels", "cluster": "nodes"}
        server = request.getfixturevalue(names[request.param])
        listener, url = None, server if isinstance(server, str) else server.url
    notes: list[str] = []
    shared = RedisCounters.from_url(
        url,
        note=notes.append,
        clock=time.monotonic,
        deadline=10.0,
        quiet_seconds=0.0,
        time="caller",
    )
    yield shared
    await shared.close()
    if listener is not None:
        listener.close()
    assert notes == []


@pytest.fixture
def tenant() -> str:
    """Return a tenant that no other test has used, with every character that a name may have."""
    return f"{{acme}}:{next(_RUN)}:{random.SystemRandom().getrandbits(32)}"
