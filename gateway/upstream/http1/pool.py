"""The connections of one origin: the newest idle one first, a limit, a queue."""

import asyncio
from collections import deque

import httpx

from gateway.upstream.http1.connection import Connection, Loop
from gateway.upstream.http1.dial import Dial


class Pool:
    """Lends connections. What is lent comes back through `give`, whatever became of it."""

    def __init__(self, loop: Loop, dial: Dial, *, limit: int, most_idle: int, keep: float) -> None:
        """Hold at most `limit` connections; keep `most_idle` idle ones, each for `keep` seconds."""
        self._loop = loop
        self._dial = dial
        self._limit = limit
        self._most_idle = most_idle
        self._keep = keep
        self._idle: list[Connection] = []
        self._queue: deque[asyncio.Future[None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self.lent = 0
        """Connections in use or being made."""

    @property
    def idle(self) -> int:
        """Connections that wait for work."""
        return len(self._idle)

    async def take(self, *, connect: float, wait: float, sni: str | None) -> Connection:
        """A connection. Raises httpx.PoolTimeout, ConnectTimeout, ConnectError, ProxyError."""
        while True:
            connection = self._newest()
            if connection is not None:
                self.lent += 1
                return connection
            if self.lent < self._limit:
                break
            await self._turn(wait)
        self.lent += 1
        try:
            async with asyncio.timeout(connect or None):
                return await self._dial(self._loop, sni)
        except TimeoutError:
            self._leave()
            raise httpx.ConnectTimeout(f"no connection within {connect:g} s") from None
        except BaseException:
            self._leave()
            raise

    def give(self, connection: Connection) -> None:
        """Take a connection back: to be kept where it can be used again."""
        if connection.rest() and not self._closed and len(self._idle) < self._most_idle:
            connection.reused = True
            self._idle.append(connection)
            if self._sweep is None and self._keep:
                self._sweep = self._loop.call_later(self._keep, self._expire)
        else:
            connection.close()
        self._leave()

    async def close(self) -> None:
        """Close what is idle; what is lent is closed when it comes back."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _newest(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        return None

    async def _turn(self, wait: float) -> None:
        place = self._loop.create_future()
        self._queue.append(place)
        try:
            async with asyncio.timeout(wait or None):
                await place
        except TimeoutError:
            raise httpx.PoolTimeout(f"no connection was free within {wait:g} s") from None
        except BaseException:
            if place.done() and not place.cancelled():
                self._next()  # the turn was given to somebody who has left
            raise
        finally:
            if not place.done():
                self._queue.remove(place)

    def _leave(self) -> None:
        self.lent -= 1
        self._next()

    def _next(self) -> None:
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return

    def _expire(self) -> None:
        """Close what has been idle for too long; a provider would close it in mid-request."""
        self._sweep = None
        oldest = self._loop.time() - self._keep
        stale = [connection for connection in self._idle if connection.since <= oldest]
        self._idle = [connection for connection in self._idle if connection.since > oldest]
        for connection in stale:
            connection.close()
        if self._idle:
            due = self._idle[0].since + self._keep
            self._sweep = self._loop.call_at(due, self._expire)
