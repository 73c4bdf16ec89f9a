"""What tests of Redis as a store share: a clock that stands still, and what was noted."""

import asyncio
import time
from typing import Any

from gateway.state.doubt import DEADLINE
from gateway.state.redis import Redis


class World:
    """A clock that stands still, and what was noted of Redis."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.notes: list[str] = []
        self.noted = asyncio.Event()

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.noted.set()

    def store(self, url: str, deadline: float = DEADLINE) -> Redis:
        return Redis(url, note=self.note, clock=lambda: self.now, deadline=deadline)

    def patient(self, url: str) -> Redis:
        """A store for tests in which nothing is slow but the machine."""
        return self.store(url, deadline=20.0)

    async def next_note(self) -> str:
        """The next thing that is said of it, in the background."""
        self.noted.clear()
        async with asyncio.timeout(10):
            await self.noted.wait()
        return self.notes[-1]


async def seconds(call: Any) -> float:
    started = time.perf_counter()
    await call
    return time.perf_counter() - started


async def quiet(store: Redis) -> bool:
    """Whether it is alive once nothing goes on in the background."""
    await store.settle()
    return store.alive
