"""Seats in one process are bounded by time and number; what others wrote into a store is none."""

from gateway.cache.seat import Here, Shared
from gateway.core.call import OPEN
from gateway.core.evidence import Seat
from gateway.state.memory import Memory

SEAT = Seat(lab="acme", tier="smart", target="acme/able-1")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_those_kept_last_are_remembered() -> None:
    seats = Here(clock=Clock(), most=2)
    for name in ("one", "two", "one", "three"):
        seats.keep(OPEN, name, SEAT, 60)
    found = [await seats.find(OPEN, name) for name in ("one", "two", "three")]
    assert found == [SEAT, None, SEAT]


async def test_they_are_forgotten_in_time() -> None:
    clock = Clock()
    seats = Here(clock=clock)
    seats.keep(OPEN, "one", SEAT, 60)
    clock.now = 159.9
    assert await seats.find(OPEN, "one") == SEAT
    clock.now = 160.0
    assert await seats.find(OPEN, "one") is None


async def test_values_of_others_are_none() -> None:
    """Of another secret, changed, and of another name; nothing of a name is seen in the store."""
    memory = Memory(1_000_000, clock=Clock())
    seats = Shared(memory, secret=b"s")
    seats.keep(OPEN, "my conversation", SEAT, 60)
    (name,) = memory._items
    assert "conversation" not in name
    assert await Shared(memory, secret=b"t").find(OPEN, "my conversation") is None
    value = await memory.get(name)
    assert value is not None
    await memory.put(name, value[:-1] + b"x", 60)
    assert await seats.find(OPEN, "my conversation") is None
