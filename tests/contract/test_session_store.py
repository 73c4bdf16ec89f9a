"""The contract of every SessionStore: in this process, in its store, and in a real Redis."""

import time
from collections.abc import AsyncIterator
from itertools import count

import pytest

from gateway.cache.session_store import LocalSessionStore, SessionStore, SharedSessionStore
from gateway.core.call import Key
from gateway.core.decision_context import Session
from gateway.state import StateStore
from gateway.state.memory import MemoryStore
from gateway.state.redis.store import RedisStore

ONE, TWO = Key(name="one"), Key(name="two")
SEAT = Session(
    lab="acme", tier="smart", target="acme/able-1", account="main", model="able-1", tokens=20_000,
    turns=3, first="f00d", calls=7, output=900, keeps=1800.0, at=1e9,
)  # fmt: skip
_RUN = count()


@pytest.fixture(params=["here", "memory", "redis"])
async def seats(request: pytest.FixtureRequest) -> AsyncIterator[SessionStore]:
    if request.param == "here":
        yield LocalSessionStore(clock=time.monotonic)
        return
    store: StateStore = MemoryStore(64_000_000, clock=time.monotonic)
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        store = RedisStore(url, note=lambda _: None, clock=time.monotonic, deadline=10.0)
    yield SharedSessionStore(store, secret=b"s" * 32)
    await store.close()


@pytest.fixture
def name() -> str:
    """Return a conversation that no other test has used: the whole run shares one Redis."""
    return f"contract {next(_RUN)} \udc80 ü\n"


async def test_an_unknown_conversation_has_no_session(seats: SessionStore, name: str) -> None:
    assert await seats.find(ONE, name) is None


async def test_the_store_returns_a_session_unchanged(seats: SessionStore, name: str) -> None:
    seats.save(ONE, name, SEAT, 60)
    assert await seats.find(ONE, name) == SEAT


async def test_the_last_saved_session_counts(seats: SessionStore, name: str) -> None:
    other_session = Session(lab="acme", tier="fast", target="acme/swift-1")
    seats.save(ONE, name, SEAT, 60)
    seats.save(ONE, name, other_session, 60)
    assert await seats.find(ONE, name) == other_session


async def test_a_key_has_its_own_conversations(seats: SessionStore, name: str) -> None:
    seats.save(ONE, name, SEAT, 60)
    assert await seats.find(TWO, name) is None
    assert await seats.find(Key(name="one", tenant="other"), name) is None


async def test_a_session_expires(seats: SessionStore, name: str) -> None:
    seats.save(ONE, name, SEAT, 0)
    assert await seats.find(ONE, name) is None
