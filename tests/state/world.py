"""What tests of Redis as a store share: a clock that stands still, and what was noted."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from gateway.state.redis.health import DEADLINE_SECONDS
from gateway.state.redis.store import RedisStore

_GRACE = 20
"""Iterations of the loop that a call may take to end after its own timer."""


class World:
    """A clock that stands still, and what was noted of Redis."""

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
        """A store for tests in which nothing is slow but the machine."""
        return self.store(url, deadline=20.0)

    async def next_note(self) -> str:
        """The next thing that is said of it, in the background."""
        self.noted.clear()
        async with asyncio.timeout(10):
            await self.noted.wait()
        return self.notes[-1]


async def in_time(call: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> bool:
    """True if a call ends before a timer of five deadlines on the same loop.

    A busy machine delays both alike, so only the order of the two is judged.
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
    """Whether it is alive once nothing goes on in the background."""
    await store.drain()
    return store.alive
