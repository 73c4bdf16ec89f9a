"""Helpers for tests of the Redis store: a clock that stands still, and recorded messages."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from gateway.state.redis.health import DEADLINE_SECONDS
from gateway.state.redis.store import RedisStore

_GRACE = 20
"""Iterations of the event loop that a call may take to end after its own timer."""


class StoreFixture:
    """A clock that stands still, and the messages about Redis."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.notes: list[str] = []
        self.noted = asyncio.Event()

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.noted.set()

    def store(self, url: str, deadline: float = DEADLINE_SECONDS) -> RedisStore:
        return RedisStore(url, note=self.note, clock=lambda: self.now, deadline=deadline)

    def patient(self, url: str) -> RedisStore:
        """Make a store for tests in which only the machine is slow."""
        return self.store(url, deadline=20.0)

    async def next_note(self) -> str:
        """Return the next message from the background."""
        self.noted.clear()
        async with asyncio.timeout(10):
            await self.noted.wait()
        return self.notes[-1]


async def in_time(call: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> bool:
    """True if a call ends before a timer of five deadlines on the same event loop.

    A busy machine delays both alike, so only the order of the two counts.
    """
    task = asyncio.ensure_future(call)
    timer = asyncio.create_task(asyncio.sleep(5 * DEADLINE_SECONDS))
    await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
    for _ in range(_GRACE):  # a late loop runs both timers in one iteration
        if task.done():
            break
        await asyncio.sleep(0)
    timer.cancel()
    ended = task.done()
    await task
    return ended


async def quiet(store: RedisStore) -> bool:
    """True if the store works once no background task is left."""
    await store.drain()
    return store.alive
