"""The connections of one origin: the newest idle one first, a limit, a fair queue."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import httpx

from gateway.upstream.http1.connection import Loop, ProviderConnection

_LATELY = 0.005
"""Seconds for which an idle connection need not be looked at: about a turn of a busy loop."""
_SOON = 1.0
"""Seconds after an answer in which nobody closes the connection who wants to keep it."""

type Dialling = Callable[[Loop], Awaitable[ProviderConnection]]


class ConnectionPool:
    """Lends connections. What is lent comes back through `give`, whatever became of it.

    A place is the right to a connection. Who leaves hands the place to the first in the queue, so
    nobody who comes later takes it.
    """

    def __init__(
        self, loop: Loop, dial: Dialling, *, limit: int, most_idle: int, keep: float
    ) -> None:
        """Hold at most `limit` connections; keep `most_idle` idle ones, each for `keep` seconds."""
        self._loop = loop
        self._dial = dial
        self._limit = limit
        self._most_idle = most_idle
        self._keep = keep
        self._idle: dict[ProviderConnection, None] = {}  # the newest last
        self._queue: deque[asyncio.Future[None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self._lately = _LATELY
        self.lent = 0
        """Places in use: connections that serve a request or are being made."""

    @property
    def idle(self) -> int:
        """Connections that wait for work."""
        return len(self._idle)

    @property
    def queued(self) -> int:
        """Requests that wait for a place."""
        return len(self._queue)

    def find(self) -> ProviderConnection | None:
        """A connection, where one is kept that can be used at once; else `take` makes one.

        For who can ask once more: one that was used a moment ago may have been closed since.
        """
        if self.lent < self._limit:
            connection = self._kept(self._lately)
            if connection is not None:
                self.lent += 1
                return connection
        return None

    async def take(self, *, connect: float, wait: float) -> ProviderConnection:
        """A connection. Raises httpx.PoolTimeout, ConnectTimeout, ConnectError, ProxyError."""
        if self.lent < self._limit:
            self.lent += 1
        else:
            await self._turn(wait)
        connection = self._kept()
        if connection is not None:
            return connection
        try:
            async with asyncio.timeout(connect or None):
                return await self._dial(self._loop)
        except TimeoutError:
            self._leave()
            raise httpx.ConnectTimeout(f"no connection within {connect:g} s") from None
        except BaseException:
            self._leave()
            raise

    def give(self, connection: ProviderConnection) -> None:
        """Take a connection back: to be kept where it can be used again."""
        if connection.rest():
            if self._closed or len(self._idle) >= self._most_idle:
                connection.abort()
            else:
                connection.gone = self._forget
                self._idle[connection] = None
                if self._sweep is None:
                    self._sweep = self._loop.call_later(self._keep, self._expire)
        self._leave()

    def close(self) -> None:
        """Close what is idle; what is lent is closed when it comes back."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._idle:
            self._idle.popitem()[0].abort()

    def _kept(self, lately: float = 0.0) -> ProviderConnection | None:
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable(lately):
                return connection
            connection.abort()
        return None

    async def _turn(self, wait: float) -> None:
        """Wait for a place that somebody hands on."""
        place = self._loop.create_future()
        self._queue.append(place)
        try:
            async with asyncio.timeout(wait or None):
                await place
        except TimeoutError:
            if _given(place):
                return  # it came at the last moment
            raise httpx.PoolTimeout(f"no connection was free within {wait:g} s") from None
        except BaseException:
            if _given(place):
                self._leave()
            raise
        finally:
            if not _given(place):
                self._queue.remove(place)

    def _leave(self) -> None:
        """Hand a place on to the first who still waits for one."""
        for place in self._queue:
            if not place.done():
                self._queue.remove(place)
                place.set_result(None)
                return
        self.lent -= 1

    def doubt(self) -> None:
        """Connections are closed here of which nobody was told: look at each before its use."""
        self._lately = 0.0

    def _forget(self, connection: ProviderConnection) -> None:
        self._idle.pop(connection, None)
        if self._loop.time() - connection.since < _SOON:
            self.doubt()

    def _expire(self) -> None:
        """Close what has been idle for too long; a provider would close it in mid-request."""
        self._sweep = None
        oldest = self._loop.time() - self._keep
        while self._idle:
            connection = next(iter(self._idle))
            if connection.since > oldest:
                self._sweep = self._loop.call_at(connection.since + self._keep, self._expire)
                return
            del self._idle[connection]
            connection.abort()


def _given(place: asyncio.Future[None]) -> bool:
    return place.done() and not place.cancelled()
