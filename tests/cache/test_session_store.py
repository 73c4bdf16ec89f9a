"""Sessions in one process are bounded by time and number; foreign values in a store are ignored."""

import msgspec

from gateway.cache.codec import VersionedCodec
from gateway.cache.session_store import LocalSessionStore, SharedSessionStore
from gateway.core.call import OPEN_KEY
from gateway.core.decision_context import Session
from gateway.state.memory import MemoryStore

SEAT = Session(lab="acme", tier="smart", target="acme/able-1")


class SessionClock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_the_store_keeps_the_most_recent_sessions() -> None:
    seats = LocalSessionStore(clock=SessionClock(), max_sessions=2)
    for name in ("one", "two", "one", "three"):
        seats.save(OPEN_KEY, name, SEAT, 60)
    sessions = [await seats.find(OPEN_KEY, name) for name in ("one", "two", "three")]
    assert sessions == [SEAT, None, SEAT]


async def test_sessions_expire() -> None:
    clock = SessionClock()
    seats = LocalSessionStore(clock=clock)
    seats.save(OPEN_KEY, "one", SEAT, 60)
    clock.now = 159.9
    assert await seats.find(OPEN_KEY, "one") == SEAT
    clock.now = 160.0
    assert await seats.find(OPEN_KEY, "one") is None


async def test_foreign_values_are_no_sessions() -> None:
    """Values of another secret, changed ones, and those of another name; names stay secret."""
    memory = MemoryStore(1_000_000, clock=SessionClock())
    seats = SharedSessionStore(memory, secret=b"s")
    seats.save(OPEN_KEY, "my conversation", SEAT, 60)
    (name,) = memory._items
    assert "conversation" not in name
    assert await SharedSessionStore(memory, secret=b"t").find(OPEN_KEY, "my conversation") is None
    value = await memory.get(name)
    assert value is not None
    await memory.put(name, value[:-1] + b"x", 60)
    assert await seats.find(OPEN_KEY, "my conversation") is None


OLD = (
    b"\x01\x8a\xa3lab\xa6openai\xa4tier\xa5smart\xa6target\xabopenai/able\xa7account\xa4main\xa6tokens\xcd#("
    b"\xa5turns\x02\xa5first\xa1f\xa5calls\x04\xa6outputd\xa2at\xcb@\x8f@\x00\x00\x00\x00\x00"
)
"""A session as gateways wrote it before they counted turns that need less than the tier."""


def test_the_gateway_reads_a_session_of_an_older_version() -> None:
    assert VersionedCodec(Session).read(OLD) == Session(
        lab="openai", tier="smart", target="openai/able", account="main", tokens=9_000, turns=2,
        first="f", calls=4, output=100, turns_below=0, at=1_000.0,
    )  # fmt: skip


def test_an_older_gateway_reads_a_session_of_this_version() -> None:
    """The older gateway skips unknown members: the gateway replaces its workers one after the other."""

    class Old(msgspec.Struct):
        lab: str
        tier: str

    new = VersionedCodec(Session).write(Session(lab="acme", tier="fast", target="t", turns_below=3))
    assert VersionedCodec(Old).read(new) == Old("acme", "fast")
