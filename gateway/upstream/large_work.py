"""Work on JSON that takes so long that other calls would wait: in a thread, one at a time.

A thread helps with code in Python: it passes the interpreter's lock on every 5 ms. A JSON library
keeps the lock, so the number of values is bounded before (`gateway.core.json_size`).
"""

import asyncio
from collections.abc import Callable


class LargeWork:
    """Runs work on the loop if it is short, else in a thread."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run[T](self, work: Callable[[], T], *, is_large: bool) -> T:
        """Run work on JSON, as `json_size.is_large` says of it. Raises what the work raises."""
        if not is_large:
            return work()
        async with self._lock:
            return await asyncio.to_thread(work)
