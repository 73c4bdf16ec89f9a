"""The connections of one origin: the newest idle one first, a limit, a fair queue."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import httpx

from gateway.upstream.http1.connection import Loop, ProviderConnection

_UNCHECKED_SECONDS = 0.005
"""Seconds for which an idle connection needs no check: about an iteration of a busy loop."""
_EARLY_CLOSE_SECONDS = 1.0
"""Seconds after an answer in which no provider that keeps connections closes one."""

_TIMER_TOLERANCE = 0.001
"""Seconds by which a timer may be early."""

type Connect = Callable[[Loop], Awaitable[ProviderConnection]]


class ConnectionPool:
    """A pool that lends connections; each comes back through `release`, whatever became of it.

    A slot is the right to a connection. A request that leaves hands its slot to the first in the
    queue, so that no later request takes it.
    """

    def __init__(
        self, loop: Loop, connect: Connect, *, limit: int, max_idle: int, keepalive_expiry: float
    ) -> None:
        """Hold at most `limit` connections; keep `max_idle` idle for `keepalive_expiry` seconds."""
        self._loop = loop
        self._connect = connect
        self._limit = limit
        self._max_idle = max_idle
        self._keepalive_expiry = keepalive_expiry
        self._idle: dict[ProviderConnection, None] = {}  # the newest last
        self._queue: deque[asyncio.Future[None]] = deque()
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._unchecked_seconds = _UNCHECKED_SECONDS
        self.in_use_count = 0
        """Slots in use: connections that serve a request or are being made."""

    @property
    def idle_count(self) -> int:
        """The number of idle connections."""
        return len(self._idle)

    @property
    def queued_count(self) -> int:
        """The number of requests that wait for a slot."""
        return len(self._queue)

    def acquire_idle(self) -> ProviderConnection | None:
        """Return an idle connection that can be used at once, else None; `acquire` can make one.

        For callers that can resend: a connection that was used a moment ago may have closed since.
        """
        if self.in_use_count < self._limit:
            connection = self._pop_usable(self._unchecked_seconds)
            if connection is not None:
                self.in_use_count += 1
                return connection
        return None

    async def acquire(self, *, connect_timeout: float, wait_timeout: float) -> ProviderConnection:
        """Return a connection.

        Raises httpx.PoolTimeout, ConnectTimeout, ConnectError, ProxyError.
        """
        if self.in_use_count < self._limit:
            self.in_use_count += 1
        else:
            await self._wait_for_slot(wait_timeout)
        connection = self._pop_usable()
        if connection is not None:
            return connection
        try:
            async with asyncio.timeout(connect_timeout or None):
                return await self._connect(self._loop)
        except TimeoutError:
            self._release_slot()
            raise httpx.ConnectTimeout(f"no connection within {connect_timeout:g} s") from None
        except BaseException:
            self._release_slot()
            raise

    def release(self, connection: ProviderConnection) -> None:
        """Take a connection back, and keep it if it can be used again."""
        if connection.finish_exchange():
            if self._closed or len(self._idle) >= self._max_idle:
                connection.abort()
            else:
                connection.on_lost = self._forget
                self._idle[connection] = None
                if self._expiry_timer is None:
                    self._expiry_timer = self._loop.call_later(self._keepalive_expiry, self._expire)
        self._release_slot()

    def close(self) -> None:
        """Close idle connections now; a lent one closes when it comes back."""
        self._closed = True
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
            self._expiry_timer = None
        while self._idle:
            self._idle.popitem()[0].abort()

    def _pop_usable(self, unchecked_seconds: float = 0.0) -> ProviderConnection | None:
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.is_usable(unchecked_seconds):
                return connection
            connection.abort()
        return None

    async def _wait_for_slot(self, wait_timeout: float) -> None:
        """Wait for another request to release a slot. Raises httpx.PoolTimeout."""
        slot = self._loop.create_future()
        self._queue.append(slot)
        try:
            async with asyncio.timeout(wait_timeout or None):
                await slot
        except TimeoutError:
            if _is_granted(slot):
                return  # the slot came at the last moment
            raise httpx.PoolTimeout(f"no connection was free within {wait_timeout:g} s") from None
        except BaseException:
            if _is_granted(slot):
                self._release_slot()
            raise
        finally:
            if not _is_granted(slot):
                self._queue.remove(slot)

    def _release_slot(self) -> None:
        """Hand a slot to the first request that still waits for one, or free it."""
        for slot in self._queue:
            if not slot.done():
                self._queue.remove(slot)
                slot.set_result(None)
                return
        self.in_use_count -= 1

    def check_every_connection(self) -> None:
        """Check every connection before its use from now on: here some close without notice."""
        self._unchecked_seconds = 0.0

    def _forget(self, connection: ProviderConnection) -> None:
        self._idle.pop(connection, None)
        if self._loop.time() - connection.idle_since < _EARLY_CLOSE_SECONDS:
            self.check_every_connection()

    def _expire(self) -> None:
        """Close connections that were idle too long; a provider would close them in mid-request."""
        self._expiry_timer = None
        # Sums of times are rounded: without the tolerance a timer could be too early for ever.
        cutoff = self._loop.time() - self._keepalive_expiry + _TIMER_TOLERANCE
        while self._idle:
            connection = next(iter(self._idle))
            if connection.idle_since > cutoff:
                self._expiry_timer = self._loop.call_at(
                    connection.idle_since + self._keepalive_expiry, self._expire
                )
                return
            del self._idle[connection]
            connection.abort()


def _is_granted(slot: asyncio.Future[None]) -> bool:
    return slot.done() and not slot.cancelled()
