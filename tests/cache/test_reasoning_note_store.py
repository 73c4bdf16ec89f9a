"""Reasoning notes in a store: which key owns them, how long they last, and foreign values."""

from typing import Any

from gateway.cache.codec import MAX_VALUE_BYTES, SealedStore
from gateway.cache.reasoning_note_store import TTL_SECONDS, ReasoningNoteStore
from gateway.core.call import Key
from gateway.dialects.tool_reasoning import KeptReasoning, ReasoningNote, ToolCallReasoning
from gateway.state.memory import MemoryStore

ONE, TWO = Key(name="one"), Key(name="two")
NOTE = ReasoningNote(
    maker="me",
    provider="here",
    model="m",
    account="main",
    calls={"a": ToolCallReasoning((KeptReasoning("x", "s"),), "t"), "b": ToolCallReasoning()},
)
ASKED: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
LOOP = [
    *ASKED,
    {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}, {"id": "b"}]},
    {"role": "tool", "tool_call_id": "a", "content": "x"},
]


class NoteClock:
    def __init__(self) -> None:
        self.now = 0.0
        self.memory = MemoryStore(20_000_000, clock=lambda: self.now)

    def notes(self, secret: bytes = b"s" * 32) -> ReasoningNoteStore:
        return ReasoningNoteStore(self.memory, secret=secret)


async def test_a_note_is_found_in_its_own_tool_loop_alone() -> None:
    """The first call of its turn finds the note, for an hour, with its own key alone."""
    clock = NoteClock()
    notes = clock.notes()
    await notes.save(ONE, ASKED, NOTE)
    assert await notes.find(ONE, LOOP) == {"a": NOTE}
    assert await notes.find(TWO, LOOP) == {}
    assert await notes.find(Key(name="one", tenant="other"), LOOP) == {}
    assert await notes.find(ONE, ASKED) == {}
    assert await notes.find(ONE, [{"role": "user", "content": "ho"}, *LOOP[1:]]) == {}
    assert await clock.notes(b"t" * 32).find(ONE, LOOP) == {}
    clock.now = TTL_SECONDS - 1
    assert await notes.find(ONE, LOOP) == {"a": NOTE}
    clock.now = TTL_SECONDS
    assert await notes.find(ONE, LOOP) == {}


async def test_foreign_values_are_no_notes() -> None:
    """Values that are changed, moved, cut, of another version, or sealed and of another shape."""
    clock = NoteClock()
    notes = clock.notes()
    await notes.save(ONE, ASKED, NOTE)
    (name,) = clock.memory._items
    value = await clock.memory.get(name)
    assert value is not None
    for foreign in (value[:-1] + b"x", value[:10], b"x", b"\x00" + value):
        await clock.memory.put(name, foreign, TTL_SECONDS)
        assert await notes.find(ONE, LOOP) == {}
    sealed = SealedStore(clock.memory, secret=b"s" * 32, kind="note")
    for data in (b"\x02" + value[17:], b"\x01", b"\x01\x80"):
        await sealed.put(name, data, TTL_SECONDS)
        assert await notes.find(ONE, LOOP) == {}
    await sealed.put(name, value[16:], TTL_SECONDS)
    assert await notes.find(ONE, LOOP) == {"a": NOTE}


async def test_names_reveal_nothing_and_differ() -> None:
    """The parts of a name do not run together, and two kinds never share a name."""
    clock = NoteClock()
    notes, others = (SealedStore(clock.memory, secret=b"s" * 32, kind=kind) for kind in "ab")
    names = [notes.make_name("xy", "z"), notes.make_name("x", "yz"), others.make_name("xy", "z")]
    assert len(set(names)) == 3
    assert all(name.isascii() and "xy" not in name for name in names)
    assert len(notes.make_name("\ud800")) == len(names[0])


async def test_a_value_over_the_limit_is_not_stored() -> None:
    clock = NoteClock()
    sealed = SealedStore(clock.memory, secret=b"s" * 32, kind="a")
    name = sealed.make_name("x")
    await sealed.put(name, bytes(MAX_VALUE_BYTES + 1), TTL_SECONDS)
    assert await sealed.get(name) is None
    await sealed.put(name, bytes(MAX_VALUE_BYTES), TTL_SECONDS)
    assert await sealed.get(name) == bytes(MAX_VALUE_BYTES)
