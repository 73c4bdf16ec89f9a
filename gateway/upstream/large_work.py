"""Work on JSON that takes so long that other calls would wait: in a thread, one at a time.

A thread helps with code in Python: it passes the interpreter's lock on every 5 ms. A JSON library
keeps the lock, so the number of values is bounded before (`gateway.core.json_size`). So does a
search for cycles among objects: it took up to 54 ms where a request has 200,000 values.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from gateway.core import json_size
from gateway.telemetry.process import pause_cycle_search


class LargeWork:
    """Runs work on the loop if it is short, else in a thread."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run[T](self, work: Callable[[], T], *, is_large: bool) -> T:
        """Run work on JSON, as `json_size.is_large` says of it. Raises what the work raises."""
        if not is_large:
            return work()
        async with self._lock:
            return await asyncio.to_thread(_run_without_cycle_search, work)

    async def read[T](self, read: Callable[[bytes], T], data: bytes) -> T:
        """Read JSON, or frames with it: on the loop if they are as short as most frames are."""
        is_large = len(data) > json_size.LARGE_FRAME_BYTES
        return await self.run(partial(read, data), is_large=is_large)


def _run_without_cycle_search[T](work: Callable[[], T]) -> T:
    """Run work that makes many objects: a search for cycles among them would stop all threads."""
    with pause_cycle_search():
        return work()
