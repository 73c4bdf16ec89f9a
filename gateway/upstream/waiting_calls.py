"""Calls that wait until a provider takes them again: a limited number, ended by a shutdown."""

import asyncio
import sys
from collections.abc import Awaitable

from gateway.core.errors import DRAINING, ProblemError


class WaitingCalls:
    """A counter of the calls of a process that wait.

    A waiting call holds no connection to a provider.
    """

    def __init__(self, max_calls: int = sys.maxsize) -> None:
        """Let at most `max_calls` calls wait at a time."""
        self.max_calls = max_calls
        self.calls = 0
        """The number of calls that wait now."""
        self._closed = asyncio.Event()

    @property
    def has_free_slot(self) -> bool:
        """True if one more call may wait."""
        return self.calls < self.max_calls and not self._closed.is_set()

    async def wait(self, sleep: Awaitable[None]) -> None:
        """Wait for `sleep`. Raises ProblemError (draining) as soon as the gateway stops."""
        sleep_future = asyncio.ensure_future(sleep)
        close_future = asyncio.ensure_future(self._closed.wait())
        self.calls += 1
        try:
            await asyncio.wait((sleep_future, close_future), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.calls -= 1
            sleep_future.cancel()
            close_future.cancel()
            await asyncio.gather(sleep_future, close_future, return_exceptions=True)
        if self._closed.is_set():
            raise ProblemError(DRAINING)

    def close(self) -> None:
        """End every wait: the gateway stops."""
        self._closed.set()
