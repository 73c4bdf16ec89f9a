"""Read the open calls of the journals, for counters that the counter store may have forgotten."""

import asyncio
import math
from collections.abc import Callable

from gateway.core.ledger_rows import FinalRow

_SHARED_SECONDS = 1.0
"""Seconds for which counters that begin share one look. In a longer time more of these calls would
end: a counter reserves for an hour what it cannot settle."""


class OpenCallsReader:
    """Reads the open calls once for all counters that begin at about the same time.

    `read` reads whole files, in a thread. `clock` returns seconds since the epoch.
    """

    def __init__(self, read: Callable[[], list[FinalRow]], clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._lock = asyncio.Lock()
        self._read_at = -math.inf
        self._rows: list[FinalRow] = []

    async def __call__(self, lost_at: float) -> list[FinalRow]:
        """Return the open calls as they were at a moment from `lost_at` on. Raises OSError."""
        async with self._lock:
            now = self._clock()
            if not lost_at <= self._read_at <= now < self._read_at + _SHARED_SECONDS:
                self._rows = await asyncio.to_thread(self._read)
                self._read_at = now
            return self._rows
