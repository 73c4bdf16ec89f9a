"""The store in this process: which values it keeps, how long, and in how many bytes."""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.state.memory import OVERHEAD_BYTES, MemoryStore


def at_once[T](call: Coroutine[Any, Any, T]) -> T:
    """Return the result of a call that never waits."""
    with pytest.raises(StopIteration) as stop:
        call.send(None)
    result: T = stop.value.value
    return result


def test_the_memory_store_never_waits() -> None:
    store = MemoryStore(10_000, clock=lambda: 0.0)
    at_once(store.put("k", b"v", 1))
    assert at_once(store.get("k")) == b"v"
    at_once(store.close())


def test_a_value_expires_at_its_time() -> None:
    now = 100.0
    store = MemoryStore(10_000, clock=lambda: now)
    at_once(store.put("k", b"v", 60))
    now = 159.9
    assert at_once(store.get("k")) == b"v"
    now = 160.0
    assert at_once(store.get("k")) is None
    assert (store.count, store.size) == (0, 0)


def test_the_least_recently_used_value_is_evicted_first() -> None:
    store = MemoryStore(3 * (OVERHEAD_BYTES + 2), clock=lambda: 0.0)
    for key in "abc":
        at_once(store.put(key, b"1", 60))
    at_once(store.get("a"))
    at_once(store.put("d", b"1", 60))
    remaining = [key for key in "abcd" if at_once(store.get(key))]
    assert remaining == ["a", "c", "d"]


def test_a_value_that_never_fits_evicts_no_other_and_removes_its_old_one() -> None:
    store = MemoryStore(1000, clock=lambda: 0.0)
    at_once(store.put("a", b"1", 60))
    at_once(store.put("b", b"old", 60))
    at_once(store.put("b", b"x" * 1000, 60))
    assert at_once(store.get("a")) == b"1"
    assert at_once(store.get("b")) is None


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 900)), max_size=60))
def test_the_size_is_the_sum_of_the_entries_and_within_bounds(puts: list[tuple[str, int]]) -> None:
    store = MemoryStore(2000, clock=lambda: 0.0)
    for key, length in puts:
        at_once(store.put(key, bytes(length), 60))
        assert store.size <= 2000
    values = {key: at_once(store.get(key)) for key in "abcdefgh"}
    sizes = [1 + len(value) + OVERHEAD_BYTES for value in values.values() if value is not None]
    assert store.size == sum(sizes)
    assert store.count == len(sizes)


def test_the_overhead_covers_the_real_memory_of_an_entry() -> None:
    async def fill(store: MemoryStore) -> None:
        for number in range(5000):
            await store.put(f"{number:048}", b"%100d" % number, 60)

    store = MemoryStore(100_000_000, clock=time.monotonic)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        asyncio.run(fill(store))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert store.count == 5000
    assert after - before <= store.size
